"""Training the student from stored samples, as the command line does it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lyra import weights
from lyra.decoder import MINI, RELEASED
from lyra.metrics import LPIPS
from lyra.scene import require
from lyra.teacher.codec import VideoCodec
from lyra.train.processes import Processes
from lyra.train.shards import ShardReader
from lyra.train.student import StudentTrainer
from lyra.train.student_data import TeacherPool
from lyra.train.student_fit import Clock, Journal, fit
from lyra.train.student_recipe import PRESETS, StudentTraining

_SIZES = {"mini": MINI, "tiny": replace(MINI, width=32, blocks=2, attention_every=2, d_state=16, head_dim=32)}
STEPS = {"mini": 10_000}  # of presets whose stages are shares of a run against the clock


@dataclass(frozen=True)
class StudentJob:
    """Shards in, weights out; see `lyra train` for the fields."""

    data: Path
    out: Path
    preset: str = "mini"
    model: str = "mini"
    guide: bool = False
    lpips: Path | None = None
    steps: int | None = None
    seconds: float | None = None
    resume: bool = False
    seed: int = 0
    device: str | None = None
    shard: bool = False

    def recipe(self, processes: int) -> StudentTraining:
        """The preset, stretched to the asked number of steps; at least one sample a step for every process."""
        recipe = PRESETS[self.preset]
        total = self.steps or STEPS.get(self.preset, recipe.steps)
        ends = [
            round(total * sum(s.steps for s in recipe.stages[: i + 1]) / recipe.steps)
            for i in range(len(recipe.stages))
        ]
        lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        stages = [replace(stage, steps=n) for stage, n in zip(recipe.stages, lengths, strict=True) if n > 0]
        return replace(recipe, stages=tuple(stages), batch=max(recipe.batch, processes))


def run(job: StudentJob) -> tuple[int, int, bool]:
    """Train until the schedule or the time is over; returns the step, the steps of the schedule, whether to report."""
    deadline = float("inf") if job.seconds is None else time.monotonic() + job.seconds
    processes = Processes.start(job.device)
    checkpoint = job.out / "state" / "checkpoint.pt"
    require(
        job.resume or not checkpoint.is_file(),
        f"{job.out} holds a training at {checkpoint}; go on with --resume or choose another folder",
    )
    require(not job.resume or checkpoint.is_file(), f"nothing to resume: there is no {checkpoint}")
    recipe = job.recipe(processes.count)
    reader = ShardReader(job.data, processes.rank, processes.count)
    if len(reader) <= recipe.pool:  # all of them are held already
        recipe = replace(recipe, renew_every=0)
    half = processes.device.type == "cuda"
    codec = VideoCodec.load(weights.folder(job.model, "codec"), torch.bfloat16 if half else torch.float32)
    codec.to(processes.device)
    lpips = None if job.lpips is None else LPIPS.load(job.lpips, "vgg").to(processes.device)
    config = replace(_SIZES.get(job.preset, RELEASED), latent_channels=codec.spec.channels, guide=job.guide)
    trainer = StudentTrainer(recipe, config, processes, job.seed, codec.encode_raw, job.shard)
    pool = TeacherPool(reader, codec, processes.device)
    if job.resume:
        pool.restore(*trainer.restore(checkpoint))
    else:
        pool.fill(min(recipe.pool, len(reader)))
        pool.resize(int(processes.agree(len(pool))))
    job.out.mkdir(parents=True, exist_ok=True)
    if processes.first:
        (job.out / "recipe.json").write_text(recipe.text())

    def save() -> None:
        trainer.save_average(job.out)
        trainer.save(checkpoint, (len(pool), pool.drawn))

    journal = Journal(job.out / "log.jsonl") if processes.first else None
    fit(trainer, pool, codec, lpips, Clock(deadline), save, journal)
    first = processes.first
    processes.stop()
    return trainer.step, recipe.steps, first
