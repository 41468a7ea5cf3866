"""`lyra view`: open a scene in the browser."""

from pathlib import Path

from lyra.cli.report import SceneIn


def view(
    scene: SceneIn,
    *,
    port: int = 0,
    cameras: Path | None = None,
    browser: bool = True,
) -> None:
    """Serve a scene to the browser on this machine until Ctrl-C.

    Args:
        scene: Any scene that `lyra` reads.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        cameras: A camera file; the viewer starts at its first camera and can step along its path.
        browser: Open the default browser; with --no-browser only the address is printed.
    """
    from lyra.io.cameras import load_cameras
    from lyra.view.server import serve

    serve(scene, port=port, cameras=None if cameras is None else load_cameras(cameras), open_browser=browser)
