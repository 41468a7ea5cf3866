"""`lyra doctor`: what works on this machine, what is missing, and how to get it."""

import importlib.metadata
import importlib.util
import os
import platform
import sys

from lyra.cli.report import AsJson, finish

# module -> (distribution, what it brings, how to get it)
_EXTRAS = {
    "gsplat": ("gsplat", "rendering on an NVIDIA GPU", 'pip install "lyra-3d[cuda]"'),
    "pxr": ("usd-core", "USD files (Isaac Sim, Omniverse, Houdini)", 'pip install "lyra-3d[usd]"'),
    "zstandard": ("zstandard", "SPZ version 4 files", 'pip install "lyra-3d[zstd]"'),
}


def doctor(*, json: AsJson = False) -> None:
    """Show versions, device, render backend and optional parts, with the command that installs what is missing."""
    facts = _facts()
    finish(facts, "", True) if json else _print(facts)


def _facts() -> dict:
    import numba
    import torch

    import lyra

    cuda = torch.cuda.is_available()
    extras = {}
    for module, (distribution, brings, command) in _EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        version = importlib.metadata.version(distribution) if found else None
        extras[distribution] = {"version": version, "brings": brings, "install": command}
    return {
        "lyra": lyra.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "cpu_threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "render_backend": "cuda" if cuda and extras["gsplat"]["version"] else "cpu",
        "extras": extras,
        "ready": sys.version_info >= (3, 11),
    }


def _print(facts: dict) -> None:
    for key in ("lyra", "python", "platform", "torch", "numba", "cpu_threads", "device", "render_backend"):
        print(f"{key.replace('_', ' '):<15} {facts[key]}")
    print("\noptional parts")
    for name, part in facts["extras"].items():
        have = part["version"] or f"missing; get it by: {part['install']}"
        print(f"  {name:<13} {part['brings']}: {have}")
    if facts["device"] != "cpu" and facts["render_backend"] == "cpu":
        print("\nThis GPU is not used for rendering until gsplat is installed.")
