"""Numbered teacher samples made when asked for: number i of a process is the same at every call."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lyra.scene import require
from lyra.train.student_scenes import photograph, rendered_view
from lyra.train.synthesis import LatentSource, SynthesisOptions, TeacherSample, synthesize


@dataclass(frozen=True, eq=False)
class LiveSeries:
    """Samples of rendered scenes and photographs, for process `rank` of `count`, whose scenes these are.

    A rendered scene is first taken on its recorded paths, which stay clear of walls, and at every other turn on newly
    drawn ones. `photo_share` of the samples are photographs, if there are any, with the depth network's depth.
    """

    source: LatentSource
    options: SynthesisOptions
    device: torch.device
    scenes: Sequence[Path]
    photos: Sequence[Path] = ()
    depth_model: Callable | None = None
    photo_share: float = 0.15
    seed: tuple[int, int, int] = (0, 0, 1)  # of the run, rank, count

    def __post_init__(self) -> None:
        require(len(self.scenes) + len(self.photos) > 0, "a process has no scene and no photograph to start from")
        require(not self.photos or self.depth_model is not None, "photographs need a depth network")

    def __call__(self, index: int) -> TeacherSample:
        """Sample number `index`."""
        run, rank, count = self.seed
        seed = (index * count + rank) * 7919 + run
        generator = torch.Generator().manual_seed(seed)
        share = self.photo_share if self.scenes else 1.0
        if self.photos and float(torch.rand((), generator=generator)) < share:
            path = self.photos[int(torch.randint(len(self.photos), (), generator=generator))]
            view = photograph(path, self.depth_model, self.options.height, self.options.width)
            return synthesize(view, self.source, self.options, seed, self.device)
        turn, place = divmod(index, len(self.scenes))
        view = rendered_view(self.scenes[place])
        recorded = turn % 2 == 0 and view.paths.shape[1] == self.options.frames
        options = replace(self.options, recorded_paths=recorded)
        return synthesize(view, self.source, options, seed, self.device)


def seed_of(name: str, seed: int) -> int:
    """A seed for one image, whatever its place in a list."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6])
