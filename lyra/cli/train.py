"""`lyra train`: the splat decoder, distilled from its teacher's samples."""

import time
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lyra.cli.report import AsJson, finish


def train(
    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    preset: Literal["mini", "tiny", "published"] = "mini",
    model: str = "mini",
    lpips: Path | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    resume: bool = False,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: AsJson = False,
) -> None:
    """Train the splat decoder on samples that `lyra synthesize` made; start with torchrun for several GPUs.

    OUT gets config.json and model.safetensors (averaged weights), recipe.json, log.jsonl, tensorboard/ if TensorBoard
    is installed, and state/checkpoint.pt, from which --resume goes on exactly.

    Args:
        data: A folder of shards.
        out: The folder for weights, log and state.
        preset: Schedule and size: "published" is the paper's.
        model: The model whose codec decodes the teacher's frames.
        lpips: LPIPS weights (python -m lyra.metrics.lpips_weights FOLDER); without them that term is left out.
        steps: Length of the whole schedule instead of the preset's; its stages keep their shares.
        seconds: Stop this run after so long; --resume goes on.
        resume: Go on from the state in OUT.
        seed: Start weights and draws.
        device: Where to compute.
        json: Print one JSON object instead of text.
    """
    from lyra.scene import require
    from lyra.train.student_job import StudentJob, run

    began = time.perf_counter()
    require(steps is None or steps >= 1, f"--steps must be at least 1, got {steps}")
    require(seconds is None or seconds > 0, f"--seconds must be positive, got {seconds}")
    device_name = None if device == "auto" else device
    job = StudentJob(data, out, preset, model, lpips, steps, seconds, resume, seed, device_name)
    step, total, first = run(job)
    if not first:
        return
    spent = time.perf_counter() - began
    facts = {"out": str(out), "step": step, "steps": total, "seconds": round(spent, 2)}
    state = "finished" if step >= total else "stopped; --resume goes on"
    finish(facts, f"{out}: step {step} of {total}, {state}, {spent:.0f} s", json)
