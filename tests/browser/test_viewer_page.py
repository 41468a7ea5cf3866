"""The HTML page as a file: whole, safe, small."""

import html
import json
import re

import numpy as np
import pytest
import torch
from scenes import cloud, path

from lyra.scene import Cameras, Gaussians, InputError
from lyra.view import build, save_html


def _config(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="config">(.*?)</script>', page, re.S)[1])


def test_cameras_arrive_exactly():
    cameras = Cameras(path().c2w, path().K, 320, 180, times=torch.linspace(0, 1, 5))
    stations = _config(build(cloud(20, 0), cameras))["cameras"]
    assert len(stations) == 5
    for i, (c2w, K, width, height, time) in enumerate(stations):
        assert np.array_equal(np.float32(c2w), cameras.c2w[i, :3].numpy())
        assert np.array_equal(np.float32(K), cameras.K[i].numpy())
        assert (width, height, np.float32(time)) == (320, 180, cameras.times[i].item())


def test_titles_cannot_break_out_of_the_page(show):
    title = "</title><script>window.broken = 1</script> \"& 'x' $title"
    tab = show(cloud(20, 0), title=title)
    assert tab.evaluate("document.title") == title and tab.evaluate("window.broken") is None
    assert tab.evaluate("document.querySelector('h1').textContent") == title


def test_backgrounds():
    assert _config(build(cloud(5, 0), background="grey"))["background"] == "#808080"
    assert _config(build(cloud(5, 0), background="#A0b1c2"))["background"] == "#a0b1c2"
    for wrong in ("pink", "#12345", "#12345g", ""):
        with pytest.raises(InputError, match="background"):
            build(cloud(5, 0), background=wrong)


def test_a_path_without_cameras_is_told():
    with pytest.raises(InputError, match="path is empty"):
        build(cloud(5, 0), path()[:0])


def test_it_works_inside_another_page(browser, tmp_path):
    inner = build(cloud(300, 0), path())
    outer = tmp_path / "outer.html"
    outer.write_text(f'<iframe width="320" height="180" srcdoc="{html.escape(inner)}"></iframe>', encoding="utf-8")
    tab = browser.tab(400, 300)
    tab.open(outer.as_uri())
    tab.wait("frames[0].lyra && frames[0].lyra.ready.then(() => true)")
    assert tab.evaluate("frames[0].lyra.stats()")["shown"] > 100
    tab.close()


def test_a_bad_scene_leaves_the_old_page_whole(tmp_path):
    file = tmp_path / "my scene.html"
    save_html(cloud(20, 0), file)
    before = file.read_bytes()
    assert b"<title>my scene</title>" in before
    for wrong in (Gaussians.empty(), Gaussians(*[torch.full_like(t, float("nan")) for t in _tensors(cloud(5, 0))])):
        with pytest.raises(InputError):
            save_html(wrong, file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def _tensors(scene: Gaussians):
    return scene.means, scene.quats, scene.scales, scene.opacities, scene.sh


def test_the_player_stays_small():
    page = build(cloud(1, 0))
    assert len(page.encode()) < 52_000  # measured: 51.4 kB for player and a scene of one Gaussian
