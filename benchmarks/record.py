"""The one way a benchmark reports: a JSON line per measurement, printed, and appended to a file when asked to."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The processor and, if there is one, the GPU that the numbers belong to."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    parts = [f"{cpu}, {os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return "; ".join(parts)


def commit() -> str:
    """Short hash of the checkout, with a plus sign if files differ from it; "unknown" outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measurement(what: str, value: float, unit: str, config: dict) -> dict:
    """One result with everything needed to judge it later."""
    return {
        "what": what,
        "value": round(value, 4),
        "unit": unit,
        "config": config,
        "machine": machine(),
        "torch": torch.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def report(name: str, results: list[dict], *, record: bool) -> None:
    """Print the results; with `record` also append them to results/<name>.jsonl beside this file."""
    lines = [json.dumps(each) for each in results]
    print(*lines, sep="\n")
    if record:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{name}.jsonl").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
