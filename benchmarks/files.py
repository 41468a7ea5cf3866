"""How fast scenes are written and read, how large the files are and how much memory it takes (Linux).

    python -m benchmarks.files [--count 1000000] [--record]

Demanded for 1,000,000 Gaussians of degree 3 on 2 cores: PLY write and read at most 1 s each, SPZ write at most 6 s, and
never more than 3 times the memory of the data. Times are the best of three. Memory is the peak of resident bytes while
writing or reading, the scene itself included, over the bytes of the scene. Exits with 1 when a demand is missed.
"""

import argparse
import ctypes
import gc
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.record import measurement, report
from lyra import io
from lyra.scene import Gaussians

SUFFIXES = (".ply", ".spz", ".splat", ".sog", ".glb", ".lyra4d")
LIMITS = {(".ply", "write"): 1.0, (".ply", "read"): 1.0, (".spz", "write"): 6.0}
MAX_MEMORY = 3.0


def scene(n: int, k: int) -> Gaussians:
    """n random Gaussians: nothing in them compresses well, the worst case for the packed formats."""
    g = torch.Generator().manual_seed(0)
    quats = torch.nn.functional.normalize(torch.randn(n, 4, generator=g), dim=-1)
    scales, opacities = torch.exp(torch.randn(n, 3, generator=g) - 5), torch.rand(n, generator=g)
    return Gaussians(torch.randn(n, 3, generator=g), quats, scales, opacities, 0.1 * torch.randn(n, k, 3, generator=g))


def _resident(key: str) -> int:
    """Bytes behind VmRSS (now) or VmHWM (the peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def peak_bytes(work: Callable[[], object]) -> int:
    """Resident bytes that `work` needed at its peak beyond those before it."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    kept = work()
    peak = _resident("VmHWM") - before
    del kept
    return peak


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Wall seconds of the fastest run."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    results, missed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for k in (1, 16):
            given = scene(arguments.count, k)
            data = 4 * (11 + 3 * k) * arguments.count
            for suffix in SUFFIXES:
                path = Path(folder) / f"a{suffix}"
                save, load = lambda p=path, g=given: io.save(g, p), lambda p=path: io.load(p)
                for what, work, own in (("write", save, data), ("read", load, 0)):
                    memory = (peak_bytes(work) + own) / data
                    seconds = best_seconds(work)
                    config = {"format": suffix, "count": arguments.count, "sh_degree": int(k**0.5) - 1}
                    config |= {"file_bytes": path.stat().st_size, "memory_over_data": round(memory, 2)}
                    results.append(measurement(f"files.{what}", 1000 * seconds, "ms", config))
                    if seconds > LIMITS.get((suffix, what), math.inf) or memory > MAX_MEMORY:
                        missed.append(f"{suffix} {what}: {seconds:.2f} s, {memory:.1f} times the data")
                    rate = data / seconds / 1e6
                    print(f"{suffix:8} degree {config['sh_degree']} {what:5} {seconds:7.2f} s {rate:7.0f} MB/s "
                          f"{path.stat().st_size / arguments.count:6.1f} B each, memory x{memory:.2f}",
                          file=sys.stderr)  # fmt: skip
                path.unlink()
    report("files", results, record=arguments.record)
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
