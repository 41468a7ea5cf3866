"""The student's training loop: by steps or against the clock, logged, saved, and the same after a pause."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lyra.train.student import StudentTrainer
from lyra.train.student_data import Lesson, TeacherPool
from lyra.train.student_recipe import Stage
from lyra.train.synthesis import RawCodec

_ASK_EVERY = 10  # steps between questions to the first of several processes whether to save or to stop


@dataclass(frozen=True)
class Clock:
    """When to stop (`deadline`, time.monotonic). `schedule_seconds`: the training time over all runs, by which stages
    and learning rate go; None: they go by steps."""

    deadline: float = float("inf")
    schedule_seconds: float | None = None


class Journal:
    """Means of the loss terms every few seconds: one line of JSON in a file, on the screen, and TensorBoard if it is
    installed."""

    def __init__(self, path: Path, seconds: float = 5.0, echo: Callable[[str], None] = print) -> None:
        self.path, self.seconds, self.echo = path, seconds, echo
        self._terms: dict[str, list[Tensor]] = {}
        self._since, self._steps = time.monotonic(), 0
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # the extra `train` brings it
            self._board = None
        else:
            self._board = SummaryWriter(str(path.parent / "tensorboard"))

    def note(self, terms: dict[str, Tensor], facts: dict) -> None:
        """One step's terms; `facts` (step, stage, ...) go into the line as they are when it is written."""
        self._steps += 1
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        now = time.monotonic()
        if now - self._since < self.seconds:
            return
        means = {name: round(float(torch.stack(values).mean()), 5) for name, values in self._terms.items()}
        line = {**facts, **means, "steps_per_second": round(self._steps / (time.monotonic() - self._since), 2)}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.echo(" ".join(f"{key}={value}" for key, value in line.items()))
        if self._board is not None:
            for name, value in means.items():
                self._board.add_scalar(name, value, facts["step"])
        self._terms, self._since, self._steps = {}, time.monotonic(), 0


def fit(
    trainer: StudentTrainer,
    pool: TeacherPool,
    codec: RawCodec,
    lpips: nn.Module | None,
    clock: Clock,
    save: Callable[[], None],
    journal: Journal | None = None,
) -> None:
    """Train until the schedule or the time is over; `save` is called by the recipe's clock and at the end, on all
    processes at the same step."""
    processes = trainer.processes
    before, started = trainer.elapsed, time.monotonic()
    saved = started
    while True:
        trainer.elapsed = before + time.monotonic() - started
        progress, over = _progress(trainer, clock)
        if over:
            break
        terms = advance(trainer, pool, codec, lpips, progress)
        if journal is not None:
            facts = {"step": trainer.step, "stage": trainer.recipe.stage(progress).name, "drawn": pool.drawn}
            journal.note(
                terms, facts | {"seconds": round(trainer.elapsed, 1), "rate": round(trainer.rate(progress), 7)}
            )
        if _asks(trainer) and processes.agree(time.monotonic() - saved >= trainer.recipe.save_every):
            save()
            saved = time.monotonic()
    trainer.elapsed = before + time.monotonic() - started
    save()


def advance(
    trainer: StudentTrainer, pool: TeacherPool, codec: RawCodec, lpips: nn.Module | None, progress: float
) -> dict[str, Tensor]:
    """One step at `progress` in [0, 1] of the schedule; returns the loss terms."""
    stage = trainer.recipe.stage(progress)
    lessons = [_lesson(trainer, pool, codec, stage, place) for place in trainer.places]
    terms = trainer.train_step(lessons, lpips, stage, trainer.rate(progress))
    if trainer.recipe.renew_every and trainer.step % trainer.recipe.renew_every == 0:
        pool.renew()
    return terms


def _progress(trainer: StudentTrainer, clock: Clock) -> tuple[float, bool]:
    """How far the schedule is, and whether to stop now. Several processes follow the first one's clock."""
    progress = trainer.step / trainer.recipe.steps
    if clock.schedule_seconds is not None:
        progress = trainer.processes.agree(trainer.elapsed / clock.schedule_seconds)
    over = progress >= 1
    if not over and clock.deadline < float("inf") and _asks(trainer):
        over = bool(trainer.processes.agree(float(time.monotonic() >= clock.deadline)))
    return progress, over


def _asks(trainer: StudentTrainer) -> bool:
    """Whether the first process is asked now: an answer over the network takes as long as the GPU lags behind."""
    return trainer.processes.count == 1 or trainer.step % _ASK_EVERY == 0


def _lesson(trainer: StudentTrainer, pool: TeacherPool, codec: RawCodec, stage: Stage, place: int) -> Lesson:
    """The lesson of one place in the batch: a sample of the pool, inputs and targets, all from the place's draws."""
    generator = trainer.generator(place)
    entry = pool.entries[int(torch.randint(len(pool), (), generator=generator))]
    return entry.lesson(stage, codec, generator)
