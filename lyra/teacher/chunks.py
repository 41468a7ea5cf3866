"""Paths longer than one clip: chunk after chunk, each starting at the last frame of the one before (GEN3C).

A teacher makes clips of a fixed length n. A path of k (n - 1) + 1 cameras is cut into k clips that share one frame.
After each clip its last frame gets a depth, put to scale by what the cache shows there, and joins the cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import Cameras, require
from lyra.teacher.cache import Cache, warp_buffers, with_newest
from lyra.teacher.cosmos import CameraRequest, CosmosTeacher
from lyra.teacher.depth_align import align_depth


@runtime_checkable
class FrameDepth(Protocol):
    """What the depth of one frame must offer (as `lyra.depth.DepthMap` does)."""

    depth: Float[Tensor, "h w"]
    valid: Bool[Tensor, "h w"]


DepthModel = Callable[[Tensor], FrameDepth]
"""From an image [3, h, w] in [0, 1] to its depth along z, in any scale."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """One clip of a long path: its cameras [n], normalised latents, and frames in about [-1, 1].

    The first frame is the last one of the chunk before.
    """

    cameras: Cameras
    latents: Float[Tensor, "1 c lt lh lw"]
    video: Float[Tensor, "1 3 n h w"]


@dataclass(frozen=True, eq=False)
class LongPath:
    """What a long video starts from and follows.

    image [3, h, w] in [-1, 1] is the first frame, `cache` what is known of it, `cameras` the whole path, in the units
    of the cache; `frames` is the length of a clip of the teacher (GEN3C 121, mini 25).
    """

    image: Float[Tensor, "3 h w"]
    cache: Cache
    cameras: Cameras
    frames: int

    def __post_init__(self) -> None:
        count, step = len(self.cameras), self.frames - 1
        require(
            step >= 1 and count > step and (count - 1) % step == 0,
            f"a long path needs k x {step} + 1 cameras ({step + 1}, {2 * step + 1}, ...), got {count}",
        )


def continue_path(
    teacher: CosmosTeacher,
    path: LongPath,
    depth: DepthModel,
    seed: int,
    *,
    text: Float[Tensor, "1 tokens channels"] | None = None,
    negative_text: Float[Tensor, "1 tokens channels"] | None = None,
    **sampling: object,
) -> Iterator[Chunk]:
    """The chunks of a long path, one after the other; chunk i starts from noise of the seed `seed` + i.

    `sampling` goes to `CosmosTeacher.sample` (schedule, guidance, on_step). Everything must lie on the teacher's
    device. Raises InputError if a chunk ends where the cache shows nothing.
    """
    step = path.frames - 1
    image, caches = path.image, [path.cache]
    for index in range((len(path.cameras) - 1) // step):
        cameras = path.cameras[index * step : index * step + step + 1]
        warp, mask = warp_buffers(caches, cameras)
        cond = teacher.condition(CameraRequest(image[None], warp, mask, text, negative_text))
        latents = teacher.sample(cond, teacher.noise(cond, [seed + index]), **sampling)
        video = teacher.codec.decode(latents)
        yield Chunk(cameras, latents, video)
        image = video[0, :, -1].clamp(-1, 1)
        if (index + 1) * step + 1 < len(path.cameras):
            caches = _extended(teacher, caches, image, cameras[-1:], depth)


def _extended(
    teacher: CosmosTeacher, caches: list[Cache], image: Float[Tensor, "3 h w"], camera: Cameras, depth: DepthModel
) -> list[Cache]:
    """The caches with a new frame; a teacher with one buffer gets first and newest frame as one cache."""
    found = depth(0.5 + 0.5 * image)
    known = nearest(caches, camera)
    aligned = align_depth(found.depth.to(image), found.valid.to(image.device), known, camera[0])
    newest = Cache.from_depth(image[None], aligned[None], camera, caches[-1].options)
    if teacher.config.buffers > 1:
        return with_newest(caches, newest, teacher.config.buffers)
    first = caches[-1].frames(0, 1)
    return [newest.joined(first)]


def nearest(caches: list[Cache], camera: Cameras) -> Float[Tensor, "h w"]:
    """Depth of the nearest point that any cache shows to one camera, 0 where none shows anything.

    Pixels at the depth of the sky are left out, as their depth is not known but set.
    """
    depths = []
    for cache in caches:
        depth = cache.warp(camera).depth[0]
        depths.append(torch.where((depth > 0) & (depth < 0.99 * cache.options.max_depth), depth, torch.inf))
    found = torch.stack(depths).amin(0)
    return torch.where(found.isfinite(), found, 0)
