"""One browser for all tests of the viewer, and pages that show a scene in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, Tab

from lyra.view import save_html


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


@pytest.fixture(scope="module")
def show(browser: Chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """show(scene, cameras=..., size=(w, h), mobile=..., **save_html's) -> a ready Tab."""
    tabs = []

    def _show(scene, *, size: tuple[int, int] = (320, 180), mobile: bool = False, **options) -> Tab:
        file: Path = tmp_path_factory.mktemp("page") / "scene.html"
        save_html(scene, file, **options)
        tab = browser.tab(*size, mobile)
        tabs.append(tab)
        tab.open(file.as_uri())
        tab.ready()
        return tab

    yield _show
    for tab in tabs:
        tab.close()
