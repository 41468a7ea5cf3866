"""Time and memory of the main job, by stages: python -m benchmarks.generate [PHOTO] [--quality draft|standard|full].

`lyra generate` runs as a process of its own, as a user starts it; "wall" includes the start of Python. Run it on a
machine that does nothing else.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import measurement, report

LIMIT_SECONDS, LIMIT_GB = 60.0, 3.0  # asked of two CPU cores


def measure(photo: Path, quality: str, device: str) -> tuple[list[dict], bool]:
    """The results, and whether time and memory are within what is asked."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quality", quality, "--device", device, "-o", folder]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lyra", "generate", str(photo), *options], check=True)
        wall = time.perf_counter() - began
        facts = json.loads((Path(folder) / "report.json").read_text())
    config = {
        "photo": photo.name, "quality": quality, "device": facts["versions"]["device"],
        "threads": facts["versions"]["threads"], "gaussians": facts["gaussians"], "load_before": load,
    }  # fmt: skip
    lines = [measurement("generate", wall, "s, wall", config)]
    lines += [measurement(f"generate.{name}", value, "s", config) for name, value in facts["seconds"].items()]
    peaks = {name: value for name, value in facts["peak_memory_bytes"].items() if value is not None}
    lines += [measurement(f"generate peak memory, {name}", value / 1e9, "GB", config) for name, value in peaks.items()]
    return lines, wall <= LIMIT_SECONDS and peaks.get("host", 0) <= LIMIT_GB * 1e9


def main() -> int:
    """Measure, report, and say by the exit code whether the demand is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, nargs="?", default=Path("examples/photos/coffee.jpg"))
    parser.add_argument("--quality", default="standard", choices=("draft", "standard", "full"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--record", action="store_true", help="append the results to benchmarks/results/generate.jsonl")
    arguments = parser.parse_args()
    lines, met = measure(arguments.photo, arguments.quality, arguments.device)
    report("generate", lines, record=arguments.record)
    if not met:
        print(f"missed: {LIMIT_SECONDS:.0f} s and {LIMIT_GB:.0f} GB", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
