"""`lyra train`: the splat decoder, distilled from its teacher's samples."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, finish


@dataclass(frozen=True)
class Options:
    """How to train."""

    preset: Literal["mini", "tiny", "published"] = "mini"
    """Schedule and size: "published" is the paper's."""
    model: str = "mini"
    """The model whose codec decodes the teacher's frames."""
    guide: bool = False
    """Give the student the depth of the warped cache too."""
    lpips: Path | None = None
    """LPIPS weights (python -m lyra.metrics.lpips_weights FOLDER); without them that term is left out."""
    steps: int | None = None
    """Length of the whole schedule instead of the preset's; its stages keep their shares."""
    seconds: float | None = None
    """Stop this run after so long; --resume goes on."""
    seed: int = 0
    """Start weights and draws."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
    shard: bool = False
    """Of several processes, each holds a share of every weight (FSDP): for networks too large for one GPU."""


DEFAULT = Options()


def train(
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    resume: bool = False,
    options: Annotated[Options, tyro.conf.arg(name="")] = DEFAULT,
    json: AsJson = False,
) -> None:
    """Train the splat decoder on samples that `lyra synthesize` made; on several GPUs: torchrun -m lyra train ...

    OUT gets config.json and model.safetensors (averaged weights), recipe.json, log.jsonl, tensorboard/ if TensorBoard
    is installed, and state/checkpoint.pt, from which --resume goes on exactly.

    Args:
        data: A folder of shards.
        out: The folder for weights, log and state.
        resume: Go on from the state in OUT.
        options: How to train.
        json: Print one JSON object instead of text.
    """
    from lyra.scene import require
    from lyra.train.student_job import StudentJob, run

    began = time.perf_counter()
    require(options.steps is None or options.steps >= 1, f"--steps must be at least 1, got {options.steps}")
    require(options.seconds is None or options.seconds > 0, f"--seconds must be positive, got {options.seconds}")
    values = vars(options) | {"device": None if options.device == "auto" else options.device}
    step, total, first = run(StudentJob(data, out, resume=resume, **values))
    if not first:
        return
    spent = time.perf_counter() - began
    facts = {"out": str(out), "step": step, "steps": total, "seconds": round(spent, 2)}
    state = "finished" if step >= total else "stopped; --resume goes on"
    finish(facts, f"{out}: step {step} of {total}, {state}, {spent:.0f} s", json)
