"""Time and memory of the main job, by stages: python -m benchmarks.generate [PHOTO] [--quality draft|standard|full].

`lyra generate` runs as a process of its own, as a user starts it; "wall" includes the start of Python. Run it on a
machine that does nothing else. Demanded of two CPU cores: 60 s and 3 GB.

--loaded measures what a service has to wait: the job in this process with all networks in memory, no files written, the
best of three runs after one that is not counted; and the six trajectories alone (warp, teacher), as they are made for
training, all six in one batch. Demanded of one H100: 2 s and 1 s. Exits with 1 when a demand is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import measurement, report
from benchmarks.render import best_seconds
from lyra import weights
from lyra.depth import load as load_depth
from lyra.pipeline import Job, generate
from lyra.train.student_scenes import photograph
from lyra.train.synthesis import SynthesisOptions, carry_out, load_source, plan

LIMIT_SECONDS, LIMIT_GB = 60.0, 3.0  # asked of two CPU cores
LOADED_SECONDS, SIX_SECONDS = 2.0, 1.0  # asked of one H100
REPEATS = 3


def command(source: Path, quality: str, device: str, name: str = "generate", of: str = "photo") -> list[dict]:
    """`lyra generate` in a process of its own: wall time first, then seconds by stages, then peak memory."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quality", quality, "--device", device, "-o", folder]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lyra", "generate", str(source), *options], check=True)
        wall = time.perf_counter() - began
        facts = json.loads((Path(folder) / "report.json").read_text())
    config = {
        of: source.name, "quality": quality, "device": facts["versions"]["device"],
        "threads": facts["versions"]["threads"], "gaussians": facts["gaussians"], "load_before": load,
    }  # fmt: skip
    lines = [measurement(name, wall, "s, wall", config)]
    lines += [measurement(f"{name}.{stage}", value, "s", config) for stage, value in facts["seconds"].items()]
    return lines + memory(facts["peak_memory_bytes"], name, config)


def memory(peaks: dict[str, int | None], name: str, config: dict) -> list[dict]:
    """Peak memory where the system tells it."""
    known = {place: value for place, value in peaks.items() if value is not None}
    return [measurement(f"{name} peak memory, {place}", value / 1e9, "GB", config) for place, value in known.items()]


def loaded(make: Callable[[Job], Any], device: str) -> tuple[list[tuple[float, dict[str, float]]], Any]:
    """Seconds, whole and by stages, of REPEATS + 1 runs of a job that keeps its networks; what the last one made."""

    def watch(*_: object) -> None:  # at the ends of stages and of their steps: else a stage pays for the one before
        if job.device.type == "cuda":
            torch.cuda.synchronize()

    job = Job(device, watch=watch, keep_networks=True)
    runs = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        made = make(job)
        watch()
        runs.append((time.perf_counter() - began, dict(job.seconds)))
    return runs, made


def of_loaded(runs: list[tuple[float, dict[str, float]]], name: str, config: dict) -> list[dict]:
    """The fastest run after the first, then the first one, each whole and by stages."""
    lines = []
    for which, (total, stages) in (("loaded", min(runs[1:], key=lambda run: run[0])), ("first call", runs[0])):
        lines.append(measurement(f"{name}, {which}", total, "s", config))
        lines += [measurement(f"{name}, {which}.{stage}", value, "s", config) for stage, value in stages.items()]
    return lines


def measure(photo: Path, quality: str, device: str) -> tuple[list[dict], bool]:
    """The results, and whether time and memory are within what is asked."""
    lines = command(photo, quality, device)
    gigabytes = [line["value"] for line in lines if line["what"] == "generate peak memory, host"]
    return lines, lines[0]["value"] <= LIMIT_SECONDS and max(gigabytes, default=0) <= LIMIT_GB


def measure_loaded(photo: Path, quality: str, device: str, size: tuple[int, int]) -> tuple[list[dict], bool]:
    """The main job with all networks in memory; seconds by stages are those of the fastest run."""
    runs, scene = loaded(lambda job: generate(photo, quality, size=size, job=job), device)
    config = {
        "photo": photo.name, "quality": quality, "device": scene.report["versions"]["device"], "size": list(size),
        "threads": torch.get_num_threads(), "gaussians": len(scene.gaussians), "repeats": REPEATS,
    }  # fmt: skip
    lines = of_loaded(runs, "generate", config)
    return lines, lines[0]["value"] <= LOADED_SECONDS


def measure_six(photo: Path, quality: str, device: str, size: tuple[int, int]) -> tuple[list[dict], bool]:
    """Six videos in one batch, as latents: paths (on the CPU, done ahead in training), then warp and teacher."""
    width, height = size
    denoiser = None if quality == "draft" else weights.folder("mini", "denoiser")
    source = load_source(
        weights.folder("mini", "codec"), denoiser, torch.device(device), 35 if quality == "full" else None
    )
    view = photograph(photo, load_depth(weights.folder("mini", "depth"), torch.device(device)), height, width)
    options = SynthesisOptions(height=height, width=width)
    chosen = plan(view, options, 0)
    planning = best_seconds(lambda: plan(view, options, 0), 1)
    seconds = best_seconds(lambda: carry_out(chosen, source, device), REPEATS)
    config = {"photo": photo.name, "quality": quality, "device": device, "size": list(size), "repeats": REPEATS}
    lines = [
        measurement("six trajectories", seconds, "s", config),
        measurement("six trajectories: paths", planning, "s", config),
    ]
    return lines, seconds <= SIX_SECONDS


def main() -> int:
    """Measure, report, and say by the exit code whether the demand is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="?", default=Path("examples/photos/coffee.jpg"))
    parser.add_argument("--quality", default="standard", choices=("draft", "standard", "full"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--loaded", action="store_true", help="with all networks in memory, and six trajectories alone")
    parser.add_argument("--size", type=int, nargs=2, default=(448, 256), metavar=("WIDTH", "HEIGHT"), help="if loaded")
    parser.add_argument("--record", action="store_true", help="append the results to benchmarks/results/generate.jsonl")
    arguments = parser.parse_args()
    photo, quality, device, size = arguments.photo, arguments.quality, arguments.device, tuple(arguments.size)
    if arguments.loaded:
        jobs = [
            (lambda: measure_loaded(photo, quality, device, size), f"the main job in {LOADED_SECONDS:.0f} s"),
            (lambda: measure_six(photo, quality, device, size), f"six trajectories in {SIX_SECONDS:.0f} s"),
        ]
    else:
        jobs = [(lambda: measure(photo, quality, device), f"{LIMIT_SECONDS:.0f} s and {LIMIT_GB:.0f} GB")]
    all_met = True
    for job, demand in jobs:
        lines, met = job()
        report("generate", lines, record=arguments.record)
        if not met:
            print(f"missed: {demand}", file=sys.stderr)
        all_met = all_met and met
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
