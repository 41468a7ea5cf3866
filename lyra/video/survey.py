"""Everything that is known of a video before anything is imagined: cameras, depth in one world, and what moves."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.depth.load import DepthModel
from lyra.scene import Cameras, require
from lyra.video.depths import align, moving_parts, of_still, upright
from lyra.video.footage import Footage
from lyra.video.given import Given
from lyra.video.track import solve
from lyra.video.triangulate import anchors_of

_LOST = 0.3  # share of frames that may keep the camera of the frame before


@dataclass(frozen=True, eq=False)
class Survey:
    """Frames' cameras [t] (the first one is the world), depth along z (infinite: sky or unknown), and what moves.

    `scale` is that of the depth, metric or relative; `still` whether the camera stands still; `lost` counts frames that
    could not be placed and keep the camera before them.
    """

    cameras: Cameras
    depth: Float[Tensor, "t h w"]
    moving: Bool[Tensor, "t h w"]
    scale: str
    still: bool
    lost: int = 0

    def to(self, device: torch.device) -> "Survey":
        """The same on another device."""
        names = ("cameras", "depth", "moving")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""
        notes = ["the camera is taken to stand still"] if self.still else []
        if self.lost:
            notes.append(f"{self.lost} of {len(self.depth)} frames could not be placed and keep the camera before them")
        return notes

    @property
    def unit(self) -> float:
        """Median depth of the first frame; 1 if it shows only sky."""
        known = self.depth[0][self.depth[0].isfinite()]
        return float(known.median()) if len(known) else 1.0


def survey(
    footage: Footage,
    depth_model: DepthModel | None,
    given: Given | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> Survey:
    """Cameras and depth of all frames; `tell` hears of every frame whose depth is known.

    Without `given` both are found here; given cameras without depth set the world's unit if they move. `depth_model`
    may be None if depth is given. Depth and motion are computed on the device of the frames and stay there; cameras are
    on the CPU. Raises InputError if there is no way to find the cameras.
    """
    given = None if given is None else given.of(footage)
    if given is not None and given.depth is not None:
        return _given_whole(footage, given)
    K = None if given is None else given.cameras.K
    depth, lens, scale = _measured(footage.frames, depth_model, K, tell)
    found = _tracked(footage, depth, lens, scale) if given is None else _given_cameras(footage, given, depth, scale)
    return replace(found, depth=upright(found.depth, found.moving, found.still))


def _tracked(footage: Footage, depth: Float[Tensor, "t h w"], lens: Float[Tensor, "3 3"], scale: str) -> Survey:
    """Cameras found here, depth of the network at one scale."""
    track = solve(footage.frames, depth, lens)
    require(
        len(track.lost) <= _LOST * len(footage),
        f"{footage.name}: the camera cannot be followed ({len(track.lost)} of {len(footage)} frames fit nowhere; is "
        "there a cut?); choose a stretch in one take with --start and --seconds, or give --cameras",
    )
    if track.still:
        depth, moving = of_still(footage.frames, depth)
    else:
        depth = align(depth, track.anchors)
        moving = moving_parts(footage.frames, depth, track.cameras)
    return Survey(track.cameras, _open(depth), moving, scale, track.still, len(track.lost))


def _measured(
    frames: Float[Tensor, "t 3 h w"], model: DepthModel, K: Float[Tensor, "t 3 3"] | None, tell: Callable[[int], None]
) -> tuple[Float[Tensor, "t h w"], Float[Tensor, "3 3"], str]:
    """Depth of every frame by itself, with one lens for all: the median of those that the network guesses."""
    maps = []
    for index, frame in enumerate(frames):
        maps.append(model(frame) if K is None else model(frame, K[index].to(frame)))
        tell(index + 1)
    lens = maps[0].K.float().cpu().clone()
    depth = [torch.where(each.valid, each.depth, torch.inf).to(frames) for each in maps]
    if K is None:  # depth of the network follows the focal length
        focal = torch.stack([each.K[0, 0].float().cpu() for each in maps])
        lens[0, 0] = lens[1, 1] = focal.median()
        depth = [each * float(lens[0, 0] / own) for each, own in zip(depth, focal, strict=True)]
    return torch.stack(depth), lens, maps[0].scale


def _given_whole(footage: Footage, given: Given) -> Survey:
    """Cameras and depth of another program, as they are."""
    require(
        bool((given.depth[0] > 0).any()),
        f"{given.what}: the depth of the first frame is nowhere known, so it is no use",
    )
    depth = torch.where(given.depth > 0, given.depth, torch.inf).to(footage.frames)
    return _surveyed(footage, given.cameras, depth)


def _given_cameras(footage: Footage, given: Given, depth: Float[Tensor, "t h w"], scale: str) -> Survey:
    """Cameras of the user, depth of the network at their scale; at its own `scale` if they stand still."""
    if _stands_still(given.cameras):
        depth, moving = of_still(footage.frames, depth)
        return Survey(replace(given.cameras.relative_to_first(), times=None), _open(depth), moving, scale, True)
    anchors = anchors_of(footage.frames, given.cameras)
    met = sum(len(each) for each in anchors)
    require(
        met >= 50,
        f"{given.what}: the pictures hardly agree with these cameras ({met} points meet), so depth cannot be put to "
        "scale; check that they belong to this video, or leave them out",
    )
    return _surveyed(footage, given.cameras, align(depth, anchors))


def _surveyed(footage: Footage, cameras: Cameras, depth: Float[Tensor, "t h w"]) -> Survey:
    """Depth is taken as it is, in the unit of the cameras."""
    cameras = replace(cameras.relative_to_first(), times=None)
    still = _stands_still(cameras)
    moving = of_still(footage.frames, depth)[1] if still else moving_parts(footage.frames, depth, cameras)
    return Survey(cameras, _open(depth), moving, "relative", still)


def _stands_still(cameras: Cameras) -> bool:
    return bool((cameras.c2w - cameras.c2w[:1]).abs().max() < 1e-4)


def _open(depth: Float[Tensor, "t h w"]) -> Float[Tensor, "t h w"]:
    """Unknown depth as infinity."""
    return torch.where(depth.isfinite() & (depth > 0), depth, torch.inf)
