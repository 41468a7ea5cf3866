"""Which backend draws: asked for by name, or by the device that holds the Gaussians."""

from collections.abc import Callable

import torch

from lyra.render import cuda
from lyra.scene import InputError, require

BACKENDS = ("auto", "reference", "cpu", "cuda")


def backends() -> dict[str, str | None]:
    """Every backend by name with None if it can run here, else a sentence on what is missing."""
    return {"reference": None, "cpu": None, "cuda": cuda.missing()}


def choose(backend: str, device: torch.device) -> Callable:
    """The `rasterize` function of a backend for Gaussians on `device`.

    "auto" is cpu for the CPU and cuda for CUDA, and never changes over by itself: a picture that takes a thousand times
    longer than expected is a failure too. Raises InputError if the backend cannot run on that device.
    """
    require(backend in BACKENDS, f"render: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "auto":
        require(
            device.type in ("cpu", "cuda"),
            f"render: no fast renderer for device {device.type!r}: move the Gaussians to cpu or cuda, or ask for "
            "backend='reference'",
        )
        backend = device.type
    if backend == "reference":
        from lyra.render.reference import rasterize

        return rasterize
    require(
        backend == device.type,
        f"render: backend {backend!r} needs Gaussians on that device, these are on {device.type!r}: "
        f"gaussians.to({backend!r})",
    )
    if backend == "cuda":
        problem = cuda.missing()
        if problem:
            raise InputError(f"render: {problem}")
        return cuda.rasterize
    from lyra.render.cpu import rasterize

    return rasterize
