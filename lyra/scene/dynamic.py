"""A scene that moves: Gaussians with a lifetime and a velocity each.

One representation serves every source of motion: the static part of a scene lives for ever, the per-time sets of a
feed-forward 4D decoder live for one frame each (a flip-book), and a velocity carries a Gaussian between frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene.errors import require
from lyra.scene.gaussians import Gaussians


@dataclass(frozen=True, eq=False)
class DynamicGaussians:
    """n Gaussians of which those with start <= t < end exist at time t, at mean + velocity * (t - start).

    start, end [n] in seconds (-inf and +inf allowed); velocities [n, 3] in world units a second, zero where start is
    -inf; `duration` > 0 in seconds is the length of the loop, `fps` the rate at which the motion was made.
    """

    gaussians: Gaussians
    start: Float[Tensor, " n"]
    end: Float[Tensor, " n"]
    velocities: Float[Tensor, "n 3"]
    duration: float
    fps: float

    def __post_init__(self) -> None:
        n = len(self.gaussians)
        for name, shape in {"start": (n,), "end": (n,), "velocities": (n, 3)}.items():
            got = tuple(getattr(self, name).shape)
            require(got == shape, f"DynamicGaussians: {name} must be {list(shape)} for {n} Gaussians, got {list(got)}")
        positive = 0 < self.duration < float("inf") and 0 < self.fps < float("inf")
        require(positive, f"DynamicGaussians: duration and fps must be positive, got {self.duration} s and {self.fps}")
        require(bool((self.start < self.end).all()), "DynamicGaussians: every lifetime needs start < end")
        resting = self.velocities[self.start.isinf()]
        require(not bool(resting.any()), "DynamicGaussians: a Gaussian without a start cannot have a velocity")
        require(bool(self.velocities.isfinite().all()), "DynamicGaussians: velocities hold NaN or infinity")

    @classmethod
    def from_static(cls, gaussians: Gaussians, duration: float = 1.0, fps: float = 24.0) -> "DynamicGaussians":
        """A scene that stands still."""
        forever = torch.full_like(gaussians.opacities, float("inf"))
        return cls(gaussians, -forever, forever, torch.zeros_like(gaussians.means), duration, fps)

    @classmethod
    def from_frames(
        cls, frames: Sequence[Gaussians], fps: float, static: Gaussians | None = None
    ) -> "DynamicGaussians":
        """A flip-book: frame i lives during [i / fps, (i + 1) / fps), the last one on; `static` is stored once."""
        require(len(frames) > 0, "DynamicGaussians.from_frames needs at least one frame, got none")
        parts, starts, ends = ([static], [-torch.inf], [torch.inf]) if static is not None else ([], [], [])
        for i, frame in enumerate(frames):
            parts.append(frame)
            starts.append(i / fps)
            ends.append((i + 1) / fps if i + 1 < len(frames) else torch.inf)
        every = Gaussians.concat(parts)
        counts = torch.tensor([len(part) for part in parts])
        start = torch.tensor(starts).repeat_interleave(counts).to(every.means)
        end = torch.tensor(ends).repeat_interleave(counts).to(every.means)
        return cls(every, start, end, torch.zeros_like(every.means), len(frames) / fps, fps)

    def __len__(self) -> int:
        return len(self.gaussians)

    @property
    def static(self) -> Gaussians:
        """The Gaussians that are there for the whole loop and never move."""
        return self.gaussians[self._static_mask()]

    @property
    def moving(self) -> "DynamicGaussians":
        """Everything that is not `static`."""
        return self[~self._static_mask()]

    def __getitem__(self, index) -> "DynamicGaussians":
        """A subset or a reordering, by mask, indices or slice; the length of the loop stays."""
        names = ("gaussians", "start", "end", "velocities")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def prune(self, *, min_opacity: float = 0.0, max_count: int | None = None) -> "DynamicGaussians":
        """Only the `Gaussians.survivors` over all times together, in the same order."""
        return self[self.gaussians.survivors(min_opacity, max_count)]

    def _static_mask(self) -> Tensor:
        return (self.start <= 0) & (self.end >= self.duration) & ~self.velocities.any(-1)

    def at(self, time: float) -> Gaussians:
        """The scene at `time` seconds, clamped to [0, duration]."""
        require(time == time, "the time to show must be a number of seconds, got NaN")
        time = min(max(float(time), 0.0), self.duration)
        # At the very end what lasts until then is still shown, so that no path ends on an empty scene.
        last = (self.end >= self.duration) & (time >= self.duration)
        alive = (self.start <= time) & ((time < self.end) | last)
        shown = self.gaussians[alive]
        age = (time - self.start[alive]).nan_to_num(posinf=0.0)
        return replace(shown, means=shown.means + self.velocities[alive] * age[:, None])

    def frame_times(self) -> Float[Tensor, " t"]:
        """One time a frame at `fps`, the first at 0: what a per-frame export writes and a player steps through."""
        return torch.arange(max(1, round(self.duration * self.fps)), dtype=torch.float64) / self.fps

    def to(self, *args, **kwargs) -> "DynamicGaussians":
        """As `Tensor.to`, for device and floating dtype."""
        moved = {name: getattr(self, name).to(*args, **kwargs) for name in ("gaussians", "start", "end", "velocities")}
        return replace(self, **moved)

    def transform(self, matrix: Float[Tensor, "4 4"]) -> "DynamicGaussians":
        """The whole motion under a rotation, a uniform scale and a translation of the world."""
        return replace(self, gaussians=self.gaussians.transform(matrix), velocities=self.velocities @ matrix[:3, :3].T)
