"""Weights: what the package ships, where else models lie, and how a folder of weights is stored.

A model is a folder with one folder a part: codec, denoiser, depth, decoder, and first_frame if it makes pictures from
text. A part is config.json, model.safetensors and, if shipped, card.md.
"""

import os
from pathlib import Path

from lyra.scene import require
from lyra.weights.storage import fingerprint, load_folder, save_folder

__all__ = ["PARTS", "SHIPPED", "fingerprint", "folder", "has", "load_folder", "place", "save_folder"]

PARTS = ("codec", "denoiser", "depth", "decoder")  # of every model
_MORE = ("first_frame",)  # of those that make pictures from text
SHIPPED = ("mini",)


def folder(model: str | os.PathLike, part: str) -> Path:
    """The folder with the weights of one part of a model.

    `model` is a shipped name ("mini"), the name of a folder in $LYRA_MODELS (default ~/.lyra/models), or the path of a
    folder. Raises InputError, saying where weights were looked for, if they are not there.
    """
    known = (*PARTS, *_MORE)
    require(part in known, f"a model has the parts {', '.join(known)}, not {part!r}")
    found = place(model) / part
    advice = (
        f"this version of the package comes without them; give a folder that holds {part}/ instead of the name"
        if str(model) in SHIPPED
        else f"a model is a folder that holds {', '.join(f'{name}/' for name in PARTS)}"
    )
    missing = [name for name in ("config.json", "model.safetensors") if not (found / name).is_file()]
    require(not missing, f"{found}: no weights of the {part} of {model} ({', '.join(missing)} missing); {advice}")
    return found


def has(model: str | os.PathLike, part: str) -> bool:
    """Whether `folder` would find this part."""
    return all((place(model) / part / name).is_file() for name in ("config.json", "model.safetensors"))


def place(model: str | os.PathLike) -> Path:
    """The folder of a whole model, whether it exists or not; see `folder`."""
    if str(model) in SHIPPED:
        return Path(__file__).parent / str(model)
    given = Path(model)
    home = Path(os.environ.get("LYRA_MODELS", Path.home() / ".lyra" / "models"))
    return home / given if not given.is_dir() and len(given.parts) == 1 else given
