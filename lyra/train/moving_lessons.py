"""What a student of moving scenes sees in a step: all frames of some paths, and one moment from all twelve cameras."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lyra.decoder.maps import Times
from lyra.scene import Cameras, require
from lyra.train.moving_scenes import Recording, read_both, synthesize_moving
from lyra.train.student_data import Lesson, draw_paths
from lyra.train.student_recipe import Stage
from lyra.train.synthesis import SKY, LatentSource, RawCodec, TeacherSample, decode_frames

_AHEAD = 2  # recordings read ahead by a thread


@dataclass(frozen=True, eq=False)
class MovingEntry:
    """A teacher's videos of one source, and as targets the frames of both directions, numbered by source time.

    `frames`, `depth` and `cameras` hold the forward paths, then the reversed ones (2 v), or the forward ones alone.
    Cameras lie on the CPU, for renderers check them. Of the mini size an entry takes 107 MB.
    """

    sample: TeacherSample
    frames: UInt8[Tensor, "v2 t 3 h w"]
    depth: Float[Tensor, "v2 t h4 w4"]
    cameras: Cameras

    @property
    def forward_only(self) -> "MovingEntry":
        """The same without motion-reversed supervision; shares the memory."""
        count = len(self.sample.latents)
        return replace(self, frames=self.frames[:count], depth=self.depth[:count], cameras=self.cameras[:count])

    def lesson(self, stage: Stage, codec: RawCodec, generator: torch.Generator) -> Lesson:
        """Inputs: some forward paths. Targets: one moment, drawn evenly, from every camera.

        Nothing is encoded here: moving scenes are learnt at their own size.
        """
        sample = self.sample
        require(stage.size is None, f"stage {stage.name}: moving scenes are learnt at their own size")
        chosen = torch.tensor(draw_paths(stage, len(sample.latents), generator), device=sample.latents.device)
        count = sample.cameras.shape[1]
        moment = int(torch.randint(count, (), generator=generator))
        depth = self.depth[:, moment].float()
        return Lesson(
            latents=sample.latents[chosen].float(),
            cameras=sample.cameras[chosen],
            guide=sample.depth[chosen].float(),
            target_cameras=self.cameras[:, moment],
            images=self.frames[:, moment].float() / 255,
            depth=torch.where(depth < 0.9 * SKY, depth, 0),
            times=Times(torch.arange(count).float(), float(moment)),
        )


def entry_of(codec: RawCodec, forward: TeacherSample, backward: TeacherSample | None) -> MovingEntry:
    """The targets of imagined samples; `backward` is in the order in which it was imagined, the last moment first."""
    frames, depth, poses = [decode_frames(codec, forward.latents)], [forward.depth], [forward.cameras.c2w]
    if backward is not None:
        frames.append(decode_frames(codec, backward.latents).flip(1))
        depth.append(backward.depth.flip(1))
        poses.append(backward.cameras.c2w.flip(1))
    c2w = torch.cat(poses).cpu()
    K = forward.cameras.K[:1, :1].cpu().expand(*c2w.shape[:2], 3, 3)
    cameras = Cameras(c2w, K, forward.cameras.width, forward.cameras.height)
    return MovingEntry(forward, torch.cat(frames), torch.cat(depth), cameras)


def moving_entry(
    forward: Recording, backward: Recording | None, source: LatentSource, seed: int, device: torch.device | str = "cpu"
) -> MovingEntry:
    """Imagine both directions (`backward` None: without motion-reversed supervision)."""
    require(
        not forward.backwards and (backward is None or backward.backwards),
        "an entry needs a recording forwards and, if any, one backwards",
    )
    sample = synthesize_moving(forward, source, seed, device)
    if backward is None:
        return entry_of(source.codec, sample, None)
    other = synthesize_moving(backward, source, seed + len(sample.latents), device)
    return entry_of(source.codec, sample, other)


@dataclass(frozen=True, eq=False)
class MovingSeries:
    """Numbered entries of recorded scenes that move, imagined when asked for; number i is the same at every call.

    `size` is (frames, height, width); `seed` as in `LiveSeries`: of the run, rank, count.
    """

    source: LatentSource
    size: tuple[int, int, int]
    device: torch.device
    scenes: Sequence[Path]
    seed: tuple[int, int, int] = (0, 0, 1)
    _read: dict[int, Future] = field(default_factory=dict, init=False)
    _reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)

    def __post_init__(self) -> None:
        require(
            len(self.scenes) > 0,
            "there is no scene that moves to learn from; render some (python -m worlds render --dynamic 0.5)",
        )

    def __call__(self, index: int) -> MovingEntry:
        """Entry number `index`. The recordings of the next ones are read meanwhile."""
        for number in [number for number in self._read if not index <= number <= index + _AHEAD]:
            self._read.pop(number).cancel()
        for number in range(index, index + 1 + _AHEAD):
            if number not in self._read:
                self._read[number] = self._reader.submit(self._both, number)
        run, rank, count = self.seed
        seed = ((index * count + rank) * 7919 + run) % 2**31
        return moving_entry(*self._read.pop(index).result(), self.source, seed, self.device)

    def _both(self, index: int) -> tuple[Recording, Recording]:
        folder = self.scenes[index % len(self.scenes)]
        forward, backward = read_both(folder)
        frames, _, height, width = forward.source.shape
        require(
            (frames, height, width) == self.size,
            f"{folder} has {frames} frames of {width}x{height}, the training {self.size[0]} of "
            f"{self.size[2]}x{self.size[1]}",
        )
        return forward, backward


@dataclass(frozen=True)
class MixedSeries:
    """A numbered series of which `share` moves, evenly spread: any stretch of it has that share to within one."""

    still: Callable[[int], TeacherSample] | None
    moving: Callable[[int], MovingEntry]
    share: float

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"the share of moving scenes must be above 0 and at most 1, got {self.share}")
        require(self.share == 1 or self.still is not None, "a share below 1 needs still scenes too")

    def __call__(self, index: int) -> TeacherSample | MovingEntry:
        """Number `index`, counted on among its own kind."""
        before, after = (math.floor(number * self.share) for number in (index, index + 1))
        return self.moving(before) if after > before else self.still(index - before)
