"""Does motion-reversed supervision keep early moments opaque (Lyra, Sec. 3.3)? Two trainings that differ in it alone.

Both start from the same weights and take the same steps with the same draws from the same stored teacher samples of
scenes that move. One is asked for a moment's pictures at the cameras of both directions, the other at the forward
ones alone, so that it has seen early moments from near only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from lyra.decoder import SplatDecoder
from lyra.evaluate.motion import (
    MEASURES,
    MOMENTS,
    PATHS,
    REVERSED,
    UNPROJECTED,
    WITHOUT_TIMES,
    MotionEvaluation,
    MovingCase,
)
from lyra.evaluate.scores import markdown
from lyra.train.moving_lessons import MovingEntry
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_data import TeacherPool
from lyra.train.student_fit import Clock, Journal, fit
from lyra.train.student_recipe import StudentTraining
from lyra.train.synthesis import RawCodec

VARIANTS = {"with_reversal": True, "without_reversal": False}


def train(
    entries: Sequence[MovingEntry],
    reversal: bool,
    start: SplatDecoder,
    recipe: StudentTraining,
    codec: RawCodec,
    lpips: nn.Module | None,
    log: Path | None = None,
) -> StudentTrainer:
    """The trained student, on the entries' device; its loss goes to `log`. One seed for all: equal draws."""
    device = entries[0].frames.device
    config = replace(start.config, times=True)
    trainer = StudentTrainer(replace(recipe, renew_every=0), config, Processes(0, 1, device), 0, codec.encode_raw)
    trainer.begin_with(start)
    held = [entry if reversal else entry.forward_only for entry in entries]
    pool = TeacherPool(held.__getitem__, codec, device)
    pool.fill(len(held))
    journal = None if log is None else Journal(log, echo=lambda line: None)
    fit(trainer, pool, codec, lpips, Clock(), lambda: None, journal)
    return trainer


def judge(name: str, trainer: StudentTrainer, cases: Iterable[MovingCase], lpips: nn.Module | None) -> MotionEvaluation:
    """Scores of the averaged student on held-out scenes."""
    evaluation = MotionEvaluation(lpips, trainer.processes.device, trainer.recipe.stages[-1].keep)
    for case in cases:
        evaluation.add(case, trainer.average, name)
    return evaluation


def table(results: Mapping[str, Mapping]) -> str:
    """Markdown: by set of cameras and third of time a row for every finished variant, then what is beside them.

    `results` are by variant what `MotionEvaluation.results` says. Truth at the reversed cameras comes first, since that
    is where early moments are seen from far.
    """
    order = [
        f"{judge}, {cameras}, {third}{region}"
        for judge, region in (("true", ""), ("true", ", moving"), ("teacher", ""))
        for cameras in (REVERSED, PATHS) for third in MOMENTS
    ]  # fmt: skip
    rows: dict[str, dict[str, Mapping]] = {}
    for what in order:
        found = {name: result["sets"].get(what, {}) for name, result in results.items()}
        rows[what] = {name: methods[name] for name, methods in found.items() if name in methods}
        points: dict[str, Mapping] = {}
        for name, methods in found.items():
            if WITHOUT_TIMES in methods:
                rows[what][f"{name}, asked {WITHOUT_TIMES}"] = methods[WITHOUT_TIMES]
            if UNPROJECTED in methods:
                points = {UNPROJECTED: methods[UNPROJECTED]}
        rows[what] |= points
    return markdown(rows, MEASURES)
