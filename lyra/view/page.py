"""A scene as one HTML page that needs nothing else: no network, no install, no build step.

The player in `client/` is plain JavaScript and GLSL for WebGL 2 (docs/viewer.md). The page carries it, the scene as a
`.lyra4d` container in base64, and the camera path; its content security policy forbids every network connection.
"""

import base64
import html
import json
import os
import re
from functools import cache
from importlib import resources
from string import Template

from lyra.io import packed
from lyra.io.atomic import replacing_file
from lyra.scene import Cameras, DynamicGaussians, Gaussians, require
from lyra.scene.framing import first_view, focus

BACKGROUNDS = {"black": "#000000", "grey": "#808080", "white": "#ffffff"}
_SCRIPTS = ("scene.js", "camera.js", "sorter.js", "renderer.js", "panel.js", "input.js", "player.js")
_SHADERS = ("splats.vert.glsl", "splats.frag.glsl", "screen.vert.glsl", "screen.frag.glsl")


def build(
    scene: Gaussians | DynamicGaussians,
    cameras: Cameras | None = None,
    title: str = "Scene",
    background: str = "black",
    container: bytes | None = None,
) -> str:
    """One self-contained offline HTML page that shows `scene`.

    `cameras` is the path that the page starts on and can step along; without it the page looks for a good view.
    `background` is black, grey, white or #rrggbb. `container` is the scene as `lyra.io.packed.pack` gives it, if that
    is at hand. Raises InputError for scenes that are empty or not finite and for any other background.
    """
    container = packed.pack(scene, path=title) if container is None else container
    return shell(scene, cameras, title, background, data=base64.b64encode(container).decode())


def save_html(
    scene: Gaussians | DynamicGaussians,
    path: str | os.PathLike,
    cameras: Cameras | None = None,
    title: str | None = None,
    background: str = "black",
    container: bytes | None = None,
) -> None:
    """Write `build(...)` to `path`, whole or not at all; the title is the file's name unless given."""
    name = os.path.splitext(os.path.basename(path))[0]
    text = build(scene, cameras, name if title is None else title, background, container)
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def shell(
    scene: Gaussians | DynamicGaussians,
    cameras: Cameras | None,
    title: str,
    background: str,
    *,
    data: str = "",
    source: str | None = None,
) -> str:
    """The page around a scene that is inside it (`data`, base64) or that it fetches from its own server (`source`)."""
    color = BACKGROUNDS.get(background, background)
    require(
        re.fullmatch(r"#[0-9a-fA-F]{6}", color) is not None,
        f"the background must be black, grey, white or #rrggbb, got {background!r}",
    )
    path, distance = _start(scene, cameras)
    config = {"source": source, "background": color.lower(), "cameras": _stations(path), "distance": _short(distance)}
    return Template(_read("index.html")).substitute(
        title=html.escape(title),
        connect="'none'" if source is None else "'self'",
        style=_stripped(_read("style.css")),
        config=json.dumps(config, separators=(",", ":")).replace("<", "\\u003c"),
        data=data,
        script=_script(),
    )


def _start(scene: Gaussians | DynamicGaussians, cameras: Cameras | None) -> tuple[Cameras, float]:
    """The path, of one camera if none came with the scene, and how far before its first camera the subject lies."""
    whole = scene.gaussians if isinstance(scene, DynamicGaussians) else scene
    if cameras is None:
        return first_view(whole)
    middle, radius = focus(whole)
    require(
        cameras.c2w.numel() > 0, "the camera path is empty; give at least one camera, or none for an automatic view"
    )
    away = (middle - cameras.flatten().centers[0].to(middle)).norm()
    return cameras, max(float(away), 0.1 * radius)


def _stations(cameras: Cameras) -> list:
    """The path as the player reads it: [c2w, K, width, height] or [c2w, K, width, height, seconds] a camera."""
    path = cameras.flatten()
    times = [[]] * len(path) if path.times is None else [[_short(t)] for t in path.times.tolist()]
    poses = zip(path.c2w.tolist(), path.K.tolist(), times, strict=True)
    return [[_short(c2w[:3]), _short(K), path.width, path.height, *time] for c2w, K, time in poses]


def _short(value):
    """Nested numbers at nine significant digits, which hold a float32 exactly."""
    return [_short(item) for item in value] if isinstance(value, list) else float(f"{value:.9g}")


@cache
def _script() -> str:
    """All of the player as one function, so that the page around it sees nothing but `window.lyra`."""
    shaders = {name: _stripped(_read(name)) for name in _SHADERS}
    code = [f"const SHADERS = {json.dumps(shaders)};", *(_stripped(_read(name)) for name in _SCRIPTS)]
    return '(() => {\n"use strict";\n' + "\n".join(code) + "\n})();"


def _stripped(source: str) -> str:
    """Source without indentation, blank lines and comment lines: a fifth smaller and as readable as a page needs."""
    lines = (re.sub(r"  // .*$", "", line).strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


@cache
def _read(name: str) -> str:
    return (resources.files("lyra.view") / "client" / name).read_text(encoding="utf-8")
