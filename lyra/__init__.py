"""Lyra: text, one image or one video in; an explicit 3D or 4D Gaussian-splatting scene out.

Public names load on first use, so that `import lyra` and `lyra --help` stay instant.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Cameras": "lyra.scene",
    "DynamicGaussians": "lyra.scene",
    "Gaussians": "lyra.scene",
    "InputError": "lyra.scene",
    "Scene": "lyra.pipeline",
    "generate": "lyra.pipeline",
    "imagine": "lyra.pipeline",
    "load": "lyra.io",
    "render": "lyra.render",
    "save": "lyra.io",
}

__all__ = [
    "Cameras",
    "DynamicGaussians",
    "Gaussians",
    "InputError",
    "Scene",
    "generate",
    "imagine",
    "load",
    "render",
    "save",
]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lyra' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
