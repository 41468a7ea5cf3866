"""What the pipeline must know of the machine it runs on."""

import os
import platform
import sys
from pathlib import Path

import numpy as np
import torch

import lyra
from lyra.render import backends
from lyra.scene import require


def device(name: str = "auto") -> torch.device:
    """The device of that name; auto takes an NVIDIA GPU if there is one. InputError if it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    require(name in ("cpu", "cuda"), f"the device is auto, cpu or cuda, not {name!r}")
    require(name == "cpu" or torch.cuda.is_available(), "there is no NVIDIA GPU that torch can use here")
    return torch.device(name)


def drawing(device: torch.device) -> torch.device:
    """Where a job on this device draws: on the CPU if the device's renderer is not installed."""
    return device if backends()[device.type] is None else torch.device("cpu")


def use_all_cores() -> None:
    """As many torch threads as this process may use: inside a container torch would count those of the whole host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = cores if quota == "max" else min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no such limit on this system
    torch.set_num_threads(min(torch.get_num_threads(), cores))


def network_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 for the large networks where the processor multiplies it natively, else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return torch.bfloat16 if any(getattr(torch.cpu, name, bool)() for name in checks) else torch.float32


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Largest memory of this process so far, bytes; None where the system does not tell."""
    try:
        import resource  # not on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:
        peak = None
    return {"host": peak} | ({"gpu": torch.cuda.max_memory_allocated(device)} if device.type == "cuda" else {})


def versions(device: torch.device) -> dict[str, str | int]:
    """What a result can depend on besides its inputs."""
    return {
        "lyra": lyra.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
