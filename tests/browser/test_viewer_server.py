"""`serve`: the scene in a browser, from a server that only this machine reaches."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import webbrowser

import pytest
from scenes import cloud, path, picture_of, psnr

from lyra.io import packed, save
from lyra.scene import InputError
from lyra.view.page import shell
from lyra.view.server import make_server, serve


@pytest.fixture
def server():
    data = packed.pack(cloud(500, 1))
    with make_server(shell(cloud(500, 1), path(), "Served", "black", source="scene.lyra4d").encode(), data) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running, data
        running.shutdown()


def _get(port: int, path: str, method: str = "GET", **headers) -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, dict(answer.getheaders())


def test_it_serves_two_things_to_this_machine_only(server):
    running, data = server
    host, port = running.server_address
    assert host == "127.0.0.1"
    status, body, headers = _get(port, "/scene.lyra4d")
    assert (status, body) == (200, data) and headers["Content-Length"] == str(len(data))
    assert _get(port, "/")[0] == 200 and _get(port, "/", "HEAD")[:2] == (200, b"")
    for wrong in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/scene.lyra4d/..", "/index.html"):
        assert _get(port, wrong)[0] == 404
    assert _get(port, "/", "POST")[0] == 501
    assert _get(port, "/", Host="scenes.example:80")[0] == 404, "another site's name for this machine"
    assert _get(port, "/", Host=f"localhost:{port}")[0] == 200


def test_the_browser_shows_what_is_served(server, browser):
    running, _ = server
    tab = browser.tab()
    tab.open(f"http://127.0.0.1:{running.server_address[1]}/")
    tab.ready()
    assert psnr(tab.picture(), picture_of(cloud(500, 1), path()[0])) > 50  # measured: 57
    tab.close()


def test_a_server_that_went_away_is_told(server, browser):
    _, data = server
    page = shell(cloud(300, 1), None, "Gone", "black", source="gone.lyra4d").encode()
    with make_server(page, data) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        tab = browser.tab()
        tab.open(f"http://127.0.0.1:{other.server_address[1]}/")
        tab.wait("document.querySelector('#cover').getAttribute('role') === 'alert'")
        assert "could not be fetched" in tab.evaluate("document.querySelector('#message').textContent")
        tab.close()
        other.shutdown()


def test_ports_that_cannot_be_used(server, tmp_path):
    port = server[0].server_address[1]
    file = tmp_path / "scene.lyra4d"
    packed.save(cloud(10, 0), file)
    for wrong in (port, 99999):
        with pytest.raises(InputError, match=f"port {wrong} cannot be used"):
            serve(file, wrong, open_browser=False)


def test_serve_prints_its_address_and_stops_on_ctrl_c(tmp_path):
    file = tmp_path / "scene.ply"
    save(cloud(50, 0), file)
    code = f"from lyra.view import serve; serve({str(file)!r}, open_browser=False)"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    try:
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert port, process.stderr.read()
        assert b"<title>scene</title>" in _get(int(port[1]), "/")[1]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "\nstopped\n", "")


def test_serve_reads_any_format_and_opens_the_browser(tmp_path, monkeypatch):
    seen = []

    def visit(address: str) -> None:
        thread = threading.Thread(
            target=lambda: seen.append(_get(int(address.rstrip("/").split(":")[-1]), "/scene.lyra4d"))
        )
        thread.start()
        monkeypatch.setattr(server_class, "service_actions", lambda self: _interrupt_after(thread))

    def _interrupt_after(thread: threading.Thread) -> None:
        if not thread.is_alive():
            raise KeyboardInterrupt

    server_class = type(_closed_server())
    monkeypatch.setattr(webbrowser, "open", visit)
    for name in ("scene.spz", "scene.lyra4d"):
        save(cloud(50, 0), tmp_path / name)
        serve(tmp_path / name)
    assert len(packed.unpack(seen[0][1])) == 50
    assert seen[1][1] == (tmp_path / "scene.lyra4d").read_bytes(), "our own container goes out as it is"


def _closed_server():
    with make_server(b"", b"") as server:
        return server


def test_a_scene_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        serve(tmp_path / "nothing.ply", open_browser=False)
