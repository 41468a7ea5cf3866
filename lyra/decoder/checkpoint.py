"""The released files lyra_static.pt and lyra_dynamic.pt: DeepSpeed containers, weights under "module".

Our modules carry the published names, so the key map is the identity, and it is strict: a missing, unknown or
differently shaped tensor is an InputError. Nothing is unpickled but tensors and plain values; objects of any other
class among the entries beside "module" become inert placeholders.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lyra.decoder.config import RELEASED, DecoderConfig
from lyra.decoder.maps import Encode
from lyra.decoder.model import SplatDecoder
from lyra.scene import InputError, require


class Inert:
    """Stands for an object of a class that is not loaded; nothing of it is kept or run."""

    def __new__(cls, *_args, **_kwargs) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *_args, **_kwargs) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def from_checkpoint(
    path: str | os.PathLike, config: DecoderConfig = RELEASED, encode: Encode | None = None
) -> SplatDecoder:
    """The decoder of a released file, in float32. `encode` is `VideoCodec.encode_raw` of the tokenizer.

    Raises InputError if the file is missing, damaged, or of another network than `config`.
    """
    decoder = SplatDecoder(config, encode)
    decoder.load_strict(_read(Path(path)), str(path))
    return decoder.eval()


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors under "module"."""
    require(path.is_file(), f"{path}: no such checkpoint")
    try:
        strangers = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(Inert, name) for name in strangers]):
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]})") from error
    module = content.get("module") if isinstance(content, Mapping) else None
    require(isinstance(module, Mapping), f"{path}: not a Lyra checkpoint, it has no weights under 'module'")
    return {key: value for key, value in module.items() if isinstance(value, Tensor)}
