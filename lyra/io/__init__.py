"""Files to nouns and back: `load` and `save` choose the format by the suffix (docs/formats.md)."""

import importlib
import inspect
import os
from pathlib import Path

from lyra.scene import DynamicGaussians, Gaussians, InputError, require

_HOMES = {
    ".ply": "ply", ".spz": "spz", ".splat": "splat", ".sog": "sog", ".glb": "gltf", ".usd": "usd", ".usdc": "usd",
    ".usda": "usd", ".usdz": "usd", ".lyra4d": "packed",
}  # fmt: skip
_MOVING = ("packed", "usd", "sequence")

SUFFIXES = tuple(_HOMES)
"""Suffixes of scene files; a folder without suffix is a sequence of PLY files, one a frame."""


def load(path: str | os.PathLike, **options) -> Gaussians | DynamicGaussians:
    """Read a scene; the suffix says which format it is, a folder is a sequence of PLY files.

    `options` belong to the format: `axes` of SPZ, `fps` of a folder without sequence.json. Returns DynamicGaussians
    for scenes that move. Gaussians that hold NaN or infinity are dropped with a logged warning. Raises InputError, one
    sentence that names the file, for anything that cannot be read.
    """
    path = Path(path)
    try:
        require(path.exists(), f"{path}: there is no such file or folder")
        return _call(_module(path).load, path, path, **options)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: needs more memory than there is") from error


def save(scene: Gaussians | DynamicGaussians, path: str | os.PathLike, **options) -> None:
    """Write a scene in the format of the suffix; a path without suffix is a folder with one PLY a frame.

    `options` belong to the format: see `save` of lyra.io.ply, .spz, .packed, ... The file appears whole or not at
    all. Raises InputError for scenes that are empty, not finite or of a kind that the format cannot hold.
    """
    path = Path(path)
    moving = isinstance(scene, DynamicGaussians)
    require(moving or isinstance(scene, Gaussians), f"{path}: expected a scene to save, got {type(scene).__name__}")
    module = _module(path)
    require(
        not moving or module.__name__.rsplit(".", 1)[-1] in _MOVING,
        f"{path}: {path.suffix} holds no scenes that move; save to .lyra4d, .usdc or a folder, or one moment by at(t)",
    )
    still_folder = not moving and module.__name__ == "lyra.io.sequence"
    require(
        not still_folder, f"{path}: has no suffix, so it is a folder of frames, but the scene stands still; add .ply"
    )
    _call(module.save, path, scene, path, **options)


def _call(function, path: Path, *args, **options):
    """`function(*args, **options)`; InputError for options that it does not have."""
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = [name for name in options if name not in known]
    has = f"it has {', '.join(known)}" if known else "it has none"
    require(not unknown, f"{path}: this format does not know the option {', '.join(unknown)}; {has}")
    return function(*args, **options)


def _module(path: Path):
    """The module that reads and writes this kind of path."""
    suffix = path.suffix.lower()
    if path.is_dir():
        require(suffix not in _HOMES, f"{path}: is a folder, but its name says that it is a {suffix} file")
        return importlib.import_module("lyra.io.sequence")
    if not suffix:
        require(not path.exists(), f"{path}: is a file without suffix; scenes end in {', '.join(SUFFIXES)}")
        return importlib.import_module("lyra.io.sequence")
    require(suffix in _HOMES, f"{path}: unknown suffix {suffix!r}; scenes end in {', '.join(SUFFIXES)}")
    return importlib.import_module(f"lyra.io.{_HOMES[suffix]}")
