"""Whatever goes wrong, the page says it in one sentence; and it never talks to a network."""

import base64
import json
import struct

import pytest
from chromium import PageError, find
from scenes import cloud, moving, path

from lyra.io import packed
from lyra.view import build
from lyra.view.page import shell

_SENTENCE = "document.querySelector('#message').textContent"


def _failure(browser, file, page: str, before: str = "") -> str:
    """The sentence that a page shows instead of a scene. `before` is JavaScript that runs first."""
    file.write_text(page, encoding="utf-8")
    tab = browser.tab()
    try:
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=before)
        tab.open(file.as_uri())
        tab.wait("document.querySelector('#cover').getAttribute('role') === 'alert'")
        with pytest.raises(PageError):
            tab.ready()
        shown = tab.evaluate(_SENTENCE)
        assert tab.evaluate("getComputedStyle(document.querySelector('#cover')).opacity") == "1"
    finally:
        tab.close()
    assert shown.endswith(".") and 20 < len(shown) < 120 and "undefined" not in shown
    return shown


def _page(data: bytes) -> str:
    return shell(cloud(300, 1), None, "Broken", "black", data=base64.b64encode(data).decode())


def _with_header(data: bytes, **changes) -> bytes:
    header, begin = packed.read_header(data, "scene")
    text = json.dumps(header | changes).encode()
    return data[:8] + struct.pack("<I", len(text)) + text + data[begin:]


@pytest.fixture(scope="module")
def data() -> bytes:
    return packed.pack(cloud(300, 1))


def test_damaged_data_is_told(browser, tmp_path, data):
    _, begin = packed.read_header(data, "scene")
    flipped = bytearray(data)
    flipped[begin + (len(data) - begin) // 2] ^= 0x55
    cases = {
        "nothing": b"",
        "another format": b"ply\n" + data[4:],
        "cut short": data[:-40],
        "a flipped bit": bytes(flipped),
        "a count that is too large": _with_header(data, count=301),
        "another degree": _with_header(data, sh_degree=2),
        "an absurd count": _with_header(data, count=10**12),
    }
    for name, damaged in cases.items():
        assert "damaged" in _failure(browser, tmp_path / "broken.html", _page(damaged)), name
    assert "damaged" in _failure(
        browser, tmp_path / "broken.html", shell(cloud(300, 1), None, "x", "black", data="%%%%")
    )


def test_an_empty_scene_is_told(browser, tmp_path, data):
    empty = _with_header(data, count=0, chunks=[])
    assert "empty" in _failure(browser, tmp_path / "empty.html", _page(empty))


def test_a_browser_that_cannot_is_told_why(browser, tmp_path, data):
    no_webgl = "HTMLCanvasElement.prototype.getContext = () => null"
    assert "WebGL 2" in _failure(browser, tmp_path / "page.html", _page(data), no_webgl)
    too_old = "delete window.DecompressionStream"
    assert "too old" in _failure(browser, tmp_path / "page.html", _page(data), too_old)


def test_a_lost_graphics_context_is_told(show):
    tab = show(cloud(100, 0))
    tab.evaluate(
        "document.querySelector('#stage').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    tab.wait("document.querySelector('#cover').getAttribute('role') === 'alert'")
    assert "reload" in tab.evaluate(_SENTENCE)


def test_the_page_is_offline(show):
    tab = show(moving(), cameras=path())
    tab.key("]")
    tab.picture()
    asked = [event["request"]["url"] for event in tab.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [tab.evaluate("location.href")]
    assert tab.happened("Network.webSocketCreated") == []
    refused = tab.evaluate(
        "new Promise(done => { addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        "fetch('http://127.0.0.1:9/').catch(() => 0) })"
    )
    assert refused == "connect-src", "the page's own policy forbids every connection"
    assert not tab.happened("Runtime.exceptionThrown")


def test_the_page_names_no_address():
    page = build(cloud(50, 3), path())
    assert "http://" not in page and "https://" not in page and "src=" not in page


def test_without_chromium_the_tests_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LYRA_CHROMIUM", raising=False)
    with pytest.raises(PageError, match="apt-get install chromium"):
        find()
