"""Still scenes whose truth is known: pictures, depth and cameras on the paths a teacher takes, and off them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras, require
from lyra.train.student_cases import public_case
from lyra.train.student_scenes import FirstView, decode_depth, rendered_view, true_frames

OFF_PATH = -1  # place of a view that lies on no path


@dataclass(frozen=True, eq=False)
class TrueScene:
    """The first view with the paths [v, t] to take, and n true pictures with cameras and depth along z (sky infinite).

    Lengths are those of the recording; the world is the first camera. `places` are (path, frame) of every picture,
    (OFF_PATH, OFF_PATH) for those at other cameras.
    """

    view: FirstView
    places: Int64[Tensor, "n 2"]
    cameras: Cameras
    images: UInt8[Tensor, "n 3 h w"]
    depth: Float[Tensor, "n h w"]

    @property
    def name(self) -> str:
        """Name of the scene."""
        return self.view.name

    @property
    def whole(self) -> bool:
        """Whether every frame of every path is there."""
        return len(self.places) == self.view.paths.c2w[..., 0, 0].numel()

    def select(self, keep: Tensor) -> "TrueScene":
        """Some of the pictures, by a mask or indices."""
        return replace(
            self, places=self.places[keep], cameras=self.cameras[keep], images=self.images[keep], depth=self.depth[keep]
        )

    def thinned(self, every: int) -> "TrueScene":
        """Pictures on the paths, first frames left out; of whole scenes only every so many frames."""
        frame = self.places[:, 1]
        return self.select((frame > 0) & (frame % every == 0) if self.whole else frame > 0)

    def off_path(self) -> "TrueScene":
        """Pictures at cameras on none of the paths."""
        return self.select(self.places[:, 0] == OFF_PATH)


def still_scenes(folder: Path, most: int | None = None) -> Iterator[TrueScene]:
    """Up to `most` still scenes of a folder: rendered scenes (scene.json) or the public evaluation set (cameras.json).

    Moving scenes are passed over. InputError if there is no still scene.
    """
    rendered = [path.parent for path in sorted(folder.glob("*/scene.json")) if '"dynamic": false' in path.read_text()]
    public = [path.parent for path in sorted(folder.glob("*/cameras.json")) if '"dynamic": false' in path.read_text()]
    require(
        bool(rendered or public),
        f"{folder} holds no still scene; give a folder of rendered scenes or the evaluation set",
    )
    for path in (rendered or public)[:most]:
        yield _recorded(path) if rendered else _public(path)


def _recorded(folder: Path) -> TrueScene:
    """A rendered scene with all frames of its six paths."""
    view, frames = rendered_view(folder), true_frames(folder)
    paths, length = frames.shape[:2]
    places = torch.cartesian_prod(torch.arange(paths), torch.arange(length))
    depth = decode_depth(np.load(folder / "depth.npy", mmap_mode="r")[:paths])
    cameras = replace(view.paths.flatten(), times=None)
    return TrueScene(view, places, cameras, frames.flatten(0, 1), depth.flatten(0, 1))


def _public(folder: Path) -> TrueScene:
    """A scene of the evaluation set, with its depth enlarged to full size."""
    case = public_case(folder)
    height, width = case.view.image.shape[1:]
    cameras, images, depths = [], [], []
    for views in case.truth.values():
        depths.append(enlarged(views.depth, height // views.depth.shape[1]))
        cameras.append(views.cameras)
        images.append(views.images)
    c2w, K = (torch.cat([getattr(part, name) for part in cameras]) for name in ("c2w", "K"))
    places = _places(c2w, case.view.paths)
    return TrueScene(case.view, places, Cameras(c2w, K, width, height), torch.cat(images), torch.cat(depths))


def enlarged(depth: Float[Tensor, "n h w"], step: int) -> Float[Tensor, "n h2 w2"]:
    """Depth at all pixels from that at every `step`-th, (0, 0) being the first.

    Inverse depth is linear on planes, so it is interpolated where the four neighbours are within 5 %; elsewhere, and
    beyond the last known row and column, the nearest known pixel up and left counts.
    """
    nearest = depth.repeat_interleave(step, 1).repeat_interleave(step, 2)
    inverse = functional.pad(1 / depth[:, None], (0, 1, 0, 1), mode="replicate")
    size = [step * n + 1 for n in depth.shape[1:]]
    smooth = functional.interpolate(inverse, size, mode="bilinear", align_corners=True)[:, 0, :-1, :-1]
    low, high = (sign * functional.max_pool2d(sign * inverse, 2, 1)[:, 0] for sign in (-1, 1))
    plane = ((high < 1.05 * low) & (low > 0)).repeat_interleave(step, 1).repeat_interleave(step, 2)
    return torch.where(plane, 1 / smooth.clamp_min(1e-12), nearest)


def _places(c2w: Float[Tensor, "n 4 4"], paths: Cameras) -> Int64[Tensor, "n 2"]:
    """Where on the paths each camera is: the first frame with the same pose."""
    length = paths.shape[1]
    away = (c2w[:, None] - paths.flatten().c2w[None]).abs().amax((-2, -1))
    same = away < 1e-3 * paths.centers.norm(dim=-1).max()
    index = same.int().argmax(1)
    on_path = torch.stack([index // length, index % length], 1)
    return torch.where(same.any(1)[:, None], on_path, torch.full_like(on_path, OFF_PATH))
