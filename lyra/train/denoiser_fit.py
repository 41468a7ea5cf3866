"""The loop that trains the denoiser against the clock, on one process or several, while its data still grow."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lyra.scene import require
from lyra.train.denoiser import DenoiserTrainer
from lyra.train.denoiser_supply import Supply

SYNC = 10  # steps between agreements of the processes
WARM = 3  # first steps of each part, whose time (compilation) does not count as training


@dataclass(frozen=True)
class Clock:
    """When to stop (`deadline`, in time.monotonic) and the training time planned over all calls in seconds.

    Without `schedule_seconds` the schedule ends at the deadline. `log_every` and `save_every` are in seconds.
    """

    deadline: float
    schedule_seconds: float | None = None
    log_every: float = 5.0
    save_every: float = 60.0


def fill(trainer: DenoiserTrainer, supply: Supply, clips: int, deadline: float) -> None:
    """Wait until this process has so many clips of scenes, then for the others; InputError if none come in time."""
    while len(supply.scenes) < clips and time.monotonic() < deadline:
        supply.take(wait=1.0)
    require(len(supply.scenes) > 0, f"no usable scene appeared below {supply.maker.feed.source.root} in time")
    trainer.processes.wait()


def fit(trainer: DenoiserTrainer, supply: Supply, clock: Clock, save: Callable[[], None], log: Path) -> None:
    """Train until the deadline or the end of the schedule; `save` is called on every process, now and then and last."""
    processes = trainer.processes
    pace, losses, saved = _Pace(trainer, supply, clock), [], time.monotonic()
    while True:
        if trainer.step % SYNC == 0 or pace.fresh:
            pace.agree()
            if pace.progress < 0:
                break
            if not trainer.few and trainer.recipe.few_share > 0 and pace.progress >= 1 - trainer.recipe.few_share:
                trainer.begin_few()
                pace.restart()
            if processes.agree(float(time.monotonic() - saved >= clock.save_every)):
                save()
                saved = time.monotonic()
            if processes.first and losses and time.monotonic() - pace.logged >= clock.log_every:
                pace.write(log, losses)
                losses = []
        batch = supply.draw(trainer.generator)
        losses.append(trainer.train_step(batch, trainer.draw(batch.target.shape), trainer.rate(pace.progress)))
        pace.stepped()
        supply.take()
    save()


class _Pace:
    """How far the run is: decided by the first process for all of them."""

    def __init__(self, trainer: DenoiserTrainer, supply: Supply, clock: Clock) -> None:
        self.trainer, self.supply, self.clock = trainer, supply, clock
        self.progress, self.fresh = 0.0, True
        self.logged, self._logged_step = time.monotonic(), trainer.step
        self.restart()

    def restart(self) -> None:
        """A part begins: its first steps are not counted."""
        self._skipped = 0
        self._since = time.monotonic()

    def stepped(self) -> None:
        """Count the time of a step that is done."""
        if self._skipped < WARM:
            self._skipped += 1
            if self._skipped == WARM and self.trainer.device.type == "cuda":
                torch.cuda.synchronize()
        else:
            self.trainer.elapsed += time.monotonic() - self._since
        self._since = time.monotonic()

    def agree(self) -> None:
        """Set progress (-1: stop)."""
        now, elapsed = time.monotonic(), self.trainer.elapsed
        total = self.clock.schedule_seconds or elapsed + max(0.0, self.clock.deadline - now)
        over = now >= self.clock.deadline or elapsed >= total
        self.progress = self.trainer.processes.agree(-1.0 if over else elapsed / total)
        self.fresh = False

    def write(self, log: Path, losses: list[dict]) -> None:
        """One line of the log, and on the screen."""
        trainer, supply, now = self.trainer, self.supply, time.monotonic()
        steps = trainer.step - self._logged_step
        line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "progress": round(self.progress, 4)}
        line |= {"part": "few" if trainer.few else "denoise", "rate": round(trainer.rate(self.progress), 7)}
        line |= {name: round(float(torch.stack([x[name] for x in losses]).mean()), 5) for name in losses[0]}
        speed = steps * trainer.recipe.batch * trainer.processes.count / (now - self.logged)
        line |= {"samples_per_second": round(speed, 1), "scenes": len(supply.maker.feed.seen)}
        line |= {"clips": supply.scenes.written, "pans": supply.pans.written if supply.pans is not None else 0}
        line |= {name: round(seconds, 1) for name, seconds in supply.maker.seconds.items()}
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)
        self.logged, self._logged_step = now, trainer.step
