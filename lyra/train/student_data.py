"""What a training step sees: a pool of teacher samples with decoded frames, and the draw of inputs and targets."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.decoder.maps import Times
from lyra.scene import Cameras, require
from lyra.scene.lyra_paths import STUDENT_ORDER
from lyra.train.student_recipe import Stage
from lyra.train.synthesis import DEPTH_STEP, SKY, RawCodec, TeacherSample, decode_frames


@dataclass(frozen=True, eq=False)
class Entry:
    """A teacher sample and its frames as the teacher's RGB decoder shows them."""

    sample: TeacherSample
    frames: UInt8[Tensor, "v t 3 h w"]

    def lesson(self, stage: Stage, codec: RawCodec, generator: torch.Generator) -> "Lesson":
        """See `draw_lesson`."""
        return draw_lesson(self, stage, codec, generator)


@dataclass(frozen=True, eq=False)
class Lesson:
    """One sample of a step: what the student reads, and n views that it is to draw, images in [0, 1].

    `guide` is the cache's depth in the frames that are read, for students that take it; `depth` that of the targets, 0
    where unknown or sky. `times` are those of the frames and of the targets in scenes that move.
    """

    latents: Float[Tensor, "v c lt lh lw"]
    cameras: Cameras
    guide: Float[Tensor, "v t h4 w4"]
    target_cameras: Cameras
    images: Float[Tensor, "n 3 h w"]
    depth: Float[Tensor, "n h4 w4"]
    times: Times | None = None


@runtime_checkable
class Material(Protocol):
    """What a pool holds: something that a lesson can be drawn from."""

    def lesson(self, stage: Stage, codec: RawCodec, generator: torch.Generator) -> Lesson:
        """Inputs and targets of one step; every draw is from `generator` (CPU)."""
        ...


class TeacherPool:
    """The newest samples of an endless numbered series, in the memory of one device.

    `make` gives number i, the same at every call, so a pool is a function of how many were drawn and can be made again
    after a pause. Samples of still scenes are decoded here; other material comes ready from `make`.
    """

    def __init__(self, make: Callable[[int], TeacherSample | Material], codec: RawCodec, device: torch.device) -> None:
        self._make, self._codec, self._device = make, codec, device
        self.entries: list[Material] = []
        self.drawn = 0

    def __len__(self) -> int:
        return len(self.entries)

    def _entry(self, index: int) -> Material:
        made = self._make(index)
        if not isinstance(made, TeacherSample):
            return made
        sample = made.to(self._device)
        return Entry(sample, decode_frames(self._codec, sample.latents))

    def fill(self, size: int, until: float = float("inf")) -> None:
        """Draw samples up to `size`, but only one more once the time `until` (time.monotonic) has passed."""
        while len(self.entries) < size and (time.monotonic() < until or not self.entries):
            self.entries.append(self._entry(self.drawn))
            self.drawn += 1

    def resize(self, size: int) -> None:
        """Exactly the first `size` samples, so that all processes hold equally many."""
        self.fill(size)
        del self.entries[size:]
        self.drawn = size

    def renew(self) -> None:
        """Replace the oldest sample by the next one."""
        self.entries[self.drawn % len(self.entries)] = self._entry(self.drawn)
        self.drawn += 1

    def restore(self, size: int, drawn: int) -> None:
        """As it was after `drawn` samples with room for `size`."""
        self.entries = [self._entry(index) for index in range(drawn - size, drawn)]
        turn = (drawn - size) % size
        self.entries = self.entries[size - turn :] + self.entries[: size - turn]
        self.drawn = drawn


def draw_paths(stage: Stage, count: int, generator: torch.Generator) -> list[int]:
    """Which of `count` paths the student reads, in the student's order."""
    low, high = (min(limit, count) for limit in stage.trajectories)
    number = low + int(torch.randint(high - low + 1, (), generator=generator))
    order = [index for index in STUDENT_ORDER if index < count]
    chosen = set(torch.randperm(count, generator=generator)[:number].tolist())
    return [index for index in order if index in chosen]


def draw_frames(stage: Stage, count: int, generator: torch.Generator) -> list[int]:
    """Target frames 1 .. count - 1 of one path, without repetition, late ones preferred as the stage says."""
    position = torch.arange(1, count) / (count - 1)
    weights = (stage.far * position).exp()
    return torch.multinomial(weights, min(stage.views, count - 1), generator=generator).tolist()


def draw_lesson(entry: Entry, stage: Stage, codec: RawCodec, generator: torch.Generator) -> Lesson:
    """Inputs and targets of one sample; every draw is from `generator` (CPU)."""
    sample = entry.sample
    paths = draw_paths(stage, len(sample.latents), generator)
    views = [(paths[0], 0)]
    for path in paths:
        views += [(path, 1 + frame) for frame in draw_frames(stage, sample.cameras.shape[1], generator)]
    place = tuple(torch.tensor(side, device=sample.latents.device) for side in zip(*views, strict=True))
    images, depth = entry.frames[place].float() / 255, sample.depth[place].float()
    depth = torch.where(depth < 0.9 * SKY, depth, 0)  # no loss asks for the depth of the sky
    targets = sample.cameras[place].to("cpu")  # cameras check their values, and each check would wait for the GPU
    chosen = torch.tensor(paths, device=sample.latents.device)
    latents, cameras, guide = sample.latents[chosen].float(), sample.cameras[chosen], sample.depth[chosen].float()
    if stage.size is not None:
        height, width = stage.size
        require(
            height <= images.shape[-2] and width <= images.shape[-1],
            f"stage {stage.name} wants {width}x{height} pixels, the samples have {images.shape[-1]}x{images.shape[-2]}",
        )
        kept = window(cameras.shape[1], stage.inputs, generator).to(chosen.device)
        latents = encode_again(entry.frames[chosen][:, kept], height, width, codec)
        cameras, targets = cameras[:, kept].resize(height, width), targets.resize(height, width)
        images = _shrink(images, height, width)
        size = (height // DEPTH_STEP, width // DEPTH_STEP)
        depth = functional.interpolate(depth[:, None], size, mode="nearest-exact")[:, 0]
        guide = functional.interpolate(guide[:, kept], size, mode="nearest-exact")
    return Lesson(latents, cameras, guide, targets, images, depth)


def window(count: int, inputs: int, generator: torch.Generator) -> Tensor:
    """`inputs` of `count` frames in order: the first, the last, and random ones between them."""
    require(2 <= inputs <= count, f"cannot choose {inputs} of {count} frames")
    between = 1 + torch.randperm(count - 2, generator=generator)[: inputs - 2]
    return torch.cat([torch.zeros(1).long(), between.sort().values, torch.full((1,), count - 1)])


@torch.no_grad()
def encode_again(
    frames: UInt8[Tensor, "v t 3 h w"], height: int, width: int, codec: RawCodec
) -> Float[Tensor, "v c lt lh lw"]:
    """Raw latents of the teacher's frames at another size or frame rate."""
    small = _shrink(frames.flatten(0, 1).float() / 255, height, width)
    videos = rearrange(2 * small - 1, "(v t) c h w -> v c t h w", v=len(frames))
    return torch.cat([codec.encode_raw(video) for video in videos.split(1)])


def _shrink(images: Float[Tensor, "n 3 h w"], height: int, width: int) -> Float[Tensor, "n 3 h2 w2"]:
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(images, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
