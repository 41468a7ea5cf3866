"""A planned rendering: which cameras, at which moments, and who draws."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.cli.render import View
from lyra.io.cameras import load_cameras
from lyra.render import backends, render
from lyra.scene import Cameras, DynamicGaussians, Gaussians, InputError, require
from lyra.scene.framing import first_view
from lyra.scene.keyframes import spline
from lyra.scene.limits import limit
from lyra.scene.trajectories import PRESETS
from lyra.view.page import BACKGROUNDS

_FRAMES, _FPS, _WIDTH, _HEIGHT = 96, 24.0, 1280, 704
_AROUND_DEG, _CLEARANCE = 130.0, 0.15  # degrees; share of the depth that the path keeps free around it


@dataclass(frozen=True)
class Shot:
    """`cameras` [t] with times in seconds look at `scene`."""

    scene: Gaussians | DynamicGaussians
    cameras: Cameras
    fps: float
    view: View

    @torch.no_grad()
    def picture(self, index: int, show: str) -> Float[Tensor, "c h w"]:
        """Frame `index` on the CPU: [3, h, w] colour, or [1, h, w] depth in world units or coverage."""
        camera = self.cameras[index]
        still = self.scene
        if isinstance(still, DynamicGaussians):
            still = still.at(float(camera.times) if self.view.at is None else self.view.at)
        device = _device(self.view.backend)
        background = _colour(self.view.background).to(device)
        drawn = render(still.to(device), camera.to(device), background, backend=self.view.backend)
        return {"rgb": drawn.rgb.clamp(0, 1), "alpha": drawn.alpha}.get(show, drawn.depth).cpu()


def plan(scene: Gaussians | DynamicGaussians, view: View) -> Shot:
    """Resolve everything that `view` leaves open. Raises InputError on what cannot be done."""
    moving = isinstance(scene, DynamicGaussians)
    fps = view.fps or (scene.fps if moving else _FPS)
    require(0 < fps <= 1000, f"--fps must lie between 0 and 1000, got {fps}")
    require(view.frames is None or view.frames >= 1, f"--frames must be at least 1, got {view.frames}")
    for name, pixels in (("width", view.width), ("height", view.height)):
        require(pixels is None or 1 <= pixels <= 16384, f"--{name} must lie between 1 and 16384 pixels, got {pixels}")
    _colour(view.background)
    if view.path in PRESETS:
        frames = view.frames or (max(1, round(scene.duration * fps)) if moving else _FRAMES)
        first = scene.at(0.0) if moving else scene
        start, depth = first_view(first, view.fov, view.width or _WIDTH, view.height or _HEIGHT)
        cameras = _preset(view, first, start, frames, depth, fps)
    else:
        cameras = _from_file(view, fps)
    if moving:  # a path longer than the scene plays it again
        cameras = replace(cameras, times=cameras.times.remainder(scene.duration))
    return Shot(scene, cameras, fps, view)


@torch.no_grad()
def _preset(view: View, first: Gaussians, start: Cameras, frames: int, depth: float, fps: float) -> Cameras:
    """The preset path; inside a scene (the camera stands at the origin) not so far that it runs into what it sees."""

    def travel(share: float) -> Cameras:
        return PRESETS[view.path].cameras(start, frames, depth, view.amount * share, fps)

    inside = torch.equal(start.c2w, torch.eye(4).to(start.c2w))
    if not (view.limit and inside):
        return travel(1.0)
    around = Cameras.from_fov(start.c2w, _AROUND_DEG, 256, 256)  # wider than the view: what it can move into
    seen = render(first, around, backend="cpu")
    return limit(travel, around, seen.depth[0], seen.alpha[0] > 0.5, clearance=_CLEARANCE * depth)[0]


def _from_file(view: View, fps: float) -> Cameras:
    """Cameras of a file at the asked size, interpolated if another number of frames is asked for."""
    require(
        Path(view.path).exists(),
        f"--path {view.path}: is neither a camera file nor one of the presets {', '.join(PRESETS)}",
    )
    stand_in = Cameras.from_fov(torch.eye(4), view.fov, view.width or _WIDTH, view.height or _HEIGHT)
    cameras = load_cameras(view.path, like=stand_in)  # formats that store no image size or lens take it from there
    if view.frames is not None and view.frames != len(cameras):
        cameras = spline(cameras, view.frames)
    if view.width or view.height:
        scale = view.width / cameras.width if view.width else view.height / cameras.height
        height, width = view.height or round(cameras.height * scale), view.width or round(cameras.width * scale)
        cameras = cameras.resize(max(1, height), max(1, width))
    if cameras.times is None:
        cameras = replace(cameras, times=torch.arange(len(cameras), dtype=cameras.c2w.dtype) / fps)
    return cameras


def _device(backend: str) -> str:
    """The device that a backend draws on; auto takes the GPU if it can be used."""
    if backend == "cuda":
        problem = backends()["cuda"]
        if problem:
            raise InputError(f"--backend cuda: {problem}")
    fast = backend == "cuda" or (backend == "auto" and backends()["cuda"] is None)
    return "cuda" if fast else "cpu"


def _colour(name: str) -> Float[Tensor, "3"]:
    """black, grey, white or #rrggbb as [3] in [0, 1]."""
    code = BACKGROUNDS.get(name, name)
    require(
        re.fullmatch(r"#[0-9a-fA-F]{6}", code) is not None,
        f"--background must be black, grey, white or #rrggbb, got {name!r}",
    )
    return torch.tensor([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
