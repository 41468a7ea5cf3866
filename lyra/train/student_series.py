"""Numbered teacher samples made when asked for: number i of a process is the same at every call."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from lyra.scene import require
from lyra.train.student_scenes import photograph, rendered_view
from lyra.train.synthesis import LatentSource, Plan, SynthesisOptions, TeacherSample, carry_out, plan

AHEAD = 4  # samples planned ahead by threads


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
    _plans: dict[int, Future[Plan]] = field(default_factory=dict, init=False)
    _planners: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2), init=False)

    def __post_init__(self) -> None:
        require(len(self.scenes) + len(self.photos) > 0, "a process has no scene and no photograph to start from")
        require(not self.photos or self.depth_model is not None, "photographs need a depth network")

    def __call__(self, index: int) -> TeacherSample:
        """Sample number `index`. The next ones are planned meanwhile, since they are asked for in order."""
        for number in range(index, index + 1 + AHEAD):
            if number not in self._plans:
                self._plans[number] = self._planners.submit(self._plan, number)
        sample = carry_out(self._plans.pop(index).result(), self.source, self.device)
        for number in [number for number in self._plans if not index < number <= index + AHEAD]:
            self._plans.pop(number).cancel()
        return sample

    def _plan(self, index: int) -> Plan:
        run, rank, count = self.seed
        seed = (index * count + rank) * 7919 + run
        generator = torch.Generator().manual_seed(seed)
        share = self.photo_share if self.scenes else 1.0
        if self.photos and float(torch.rand((), generator=generator)) < share:
            path = self.photos[int(torch.randint(len(self.photos), (), generator=generator))]
            view = photograph(path, self.depth_model, self.options.height, self.options.width)
            return plan(view, self.options, seed)
        turn, place = divmod(index, len(self.scenes))
        view = rendered_view(self.scenes[place])
        recorded = turn % 2 == 0 and view.paths.shape[1] == self.options.frames
        return plan(view, replace(self.options, recorded_paths=recorded), seed)


def seed_of(name: str, seed: int) -> int:
    """A seed for one image, whatever its place in a list."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6])
