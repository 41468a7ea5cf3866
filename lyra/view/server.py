"""`lyra view`: the page and the scene from a server that only this machine can reach."""

import os
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lyra.io import load, packed
from lyra.scene import Cameras, InputError
from lyra.view.page import shell

_HOST = "127.0.0.1"
_SCENE = "scene.lyra4d"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers share a port


def serve(
    path: str | os.PathLike,
    port: int = 0,
    open_browser: bool = True,
    cameras: Cameras | None = None,
    background: str = "black",
) -> None:
    """Show a scene of any format that `lyra.io.load` reads, at an address that is printed, until Ctrl-C.

    `port` 0 takes a free one; `cameras` and `background` are those of `lyra.view.build`. Raises InputError if the
    scene cannot be read or the port is taken.
    """
    scene = load(path)
    data = Path(path).read_bytes() if Path(path).suffix.lower() == ".lyra4d" else packed.pack(scene, path=path)
    page = shell(scene, cameras, Path(path).stem, background, source=_SCENE).encode()
    with make_server(page, data, port) as server:
        address = f"http://{_HOST}:{server.server_address[1]}/"
        print(f"{path} is shown at {address} until Ctrl-C", flush=True)
        if open_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nstopped")


def make_server(page: bytes, data: bytes, port: int = 0) -> ThreadingHTTPServer:
    """A server, not yet running, of exactly two things: the page at / and the packed scene beside it.

    It listens on 127.0.0.1 alone, reads no file, and answers only requests addressed to this machine by name or
    number, so that no web page elsewhere can reach the scene through a host name of its own (DNS rebinding).
    """
    contents = {"/": ("text/html; charset=utf-8", page), f"/{_SCENE}": ("application/octet-stream", data)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            found = contents.get(self.path.split("?", 1)[0]) if host in (_HOST, "localhost") else None
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            kind, body = found
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *values) -> None:
            """Say nothing: the terminal shows the address and errors only."""

    try:
        return _Server((_HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port} cannot be used ({error}); choose another one, or 0 for any free one") from error
