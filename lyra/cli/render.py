"""`lyra render`: a scene along a camera path, as video, images, depth, or a folder with everything to look at."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, Out, SceneIn, finish, progress, reading_seconds, waiting

Show = Literal["rgb", "depth", "depth16", "alpha"]


@dataclass(frozen=True, kw_only=True)
class View:
    """How to look at the scene.

    Args:
        path: A preset (`lyra paths` lists them) or a camera file (.json, transforms.json, COLMAP, RealEstate10K).
        frames: Number of frames; 96 by default, one loop of a moving scene, or what the camera file holds.
        fps: Frames a second; 24 by default, or the rate of a moving scene.
        width: Pixels across; 1280 by default, or what the camera file says.
        height: Pixels down; 704 by default, or what the camera file says.
        fov: Horizontal field of view of a preset path, degrees.
        amount: How much of a preset path to travel: 0.5 is half as far, -1 the other way.
        limit: Shorten a preset path inside a scene before it runs into a surface or loses what it looks at.
        at: Freeze a moving scene at this many seconds.
        background: black, grey, white or #rrggbb.
        backend: Who renders; auto takes an NVIDIA GPU if gsplat is there, else the CPU.
    """

    path: str = "swing"
    frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    fov: float = 60.0
    amount: float = 1.0
    limit: bool = True
    at: float | None = None
    background: str = "black"
    backend: Literal["auto", "cpu", "cuda", "reference"] = "auto"


def render(
    scene: SceneIn,
    out: Out,
    *,
    show: Show = "rgb",
    view: Annotated[View, tyro.conf.arg(name="")] = View(),
    json: AsJson = False,
) -> None:
    """Render a scene. OUT says what is made: a video, one image, numbered images, or a folder with all there is to see.

    A folder (a name without suffix) gets viewer.html, orbit.mp4, preview.png and cameras.json.

    Args:
        scene: Any scene that `lyra` reads, standing still or moving.
        out: .mp4 .mov .webm .gif (video), .png .jpg (first frame), name_%04d.png (every frame), or a folder.
        show: Colour, depth as colours, depth as 16-bit .png (1/1000 world unit a step), or coverage.
        view: How to look at the scene.
        json: Print one JSON object instead of text.
    """
    from lyra.cli.shot import plan
    from lyra.io import load

    began = time.perf_counter()
    with waiting(f"reading {scene}", reading_seconds(scene)):
        shot = plan(load(scene), view)
    made = _make(shot, out, show, scene.stem)
    seconds = time.perf_counter() - began
    cameras = shot.cameras
    facts = {"out": [str(p) for p in made], "frames": len(cameras), "size": [cameras.width, cameras.height]}
    names = ", ".join(str(p) for p in made[:4]) + (f" and {len(made) - 4} more" if len(made) > 4 else "")
    finish(facts | {"seconds": round(seconds, 2)}, f"wrote {names} in {seconds:.1f} s", json)


def _make(shot, out: Path, show: Show, title: str) -> list[Path]:
    """Write what the name `out` asks for; returns the files."""
    from lyra.scene import require

    require(
        show != "depth16" or out.suffix == ".png",
        f"--show depth16 writes 16-bit .png images, not {out.name}; use a name that ends in .png, or --show depth",
    )
    if out.suffix == "":
        require(show == "rgb", f"a folder shows colour; for --show {show} name a video or an image")
        return _folder(shot, out, title)
    if "%" in out.name:
        return _numbered(shot, out, show)
    if out.suffix.lower() in (".png", ".jpg", ".jpeg"):
        _save_image(shot.picture(0, show), out, show)
    else:
        _save_video(shot, out, show)
    return [out]


def _folder(shot, out: Path, title: str) -> list[Path]:
    from lyra.io.cameras import save_cameras
    from lyra.view.page import save_html

    out.mkdir(parents=True, exist_ok=True)
    made = [out / name for name in ("viewer.html", "orbit.mp4", "preview.png", "cameras.json")]
    save_html(shot.scene, made[0], shot.cameras, title, shot.view.background)
    _save_video(shot, made[1], "rgb")
    _save_image(shot.picture(0, "rgb"), made[2], "rgb")
    save_cameras(shot.cameras, made[3])
    return made


def _numbered(shot, out: Path, show: Show) -> list[Path]:
    from lyra.scene import InputError

    try:
        made = [out.with_name(out.name % i) for i in range(len(shot.cameras))]
    except (TypeError, ValueError) as error:
        raise InputError(f"{out.name}: a numbered name holds one %d, like frame_%04d.png") from error
    for i in progress(range(len(made)), "rendering", len(made)):
        _save_image(shot.picture(i, show), made[i], show)
    return made


def _save_image(picture, out: Path, show: Show) -> None:
    from lyra.io.images import colour_depth, save_depth, save_image

    if show == "depth16":
        save_depth(picture[0], out)
    else:
        save_image(colour_depth(picture[0]) if show == "depth" else picture, out)


def _save_video(shot, out: Path, show: Show) -> None:
    import torch

    from lyra.io.images import colour_depth
    from lyra.io.video_writer import VideoWriter

    with VideoWriter(out, shot.fps) as writer:
        count = len(shot.cameras)
        pictures = (shot.picture(i, show) for i in progress(range(count), "rendering", count))
        if show == "depth":  # one scale of colours for the whole video, so that it does not flicker
            pictures = colour_depth(torch.cat(list(pictures)))
        for picture in pictures:
            writer.write(picture.expand(3, -1, -1))
