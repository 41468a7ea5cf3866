"""Tensors of a TorchScript archive (.jit), read without running anything that it contains.

Such an archive is a zip file: data.pkl describes the tree of modules, data/N hold the numbers. The description is a
pickle, read here by an unpickler that knows modules, tensors and plain values and refuses every other name.
"""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from lyra.scene import InputError, require

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, EOFError)  # what a cut or changed description leads to


class _Module:
    """Stands for any module of the archive; its class is never looked up."""

    values: object = None

    def __init__(self, *_: object) -> None:
        """Whatever the archive would build it from is ignored."""

    def __setstate__(self, values: object) -> None:
        self.values = values


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _same(value: object, *_: object) -> object:
    return value


_KNOWN: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
    ("torch.jit._pickle", "build_intlist"): _same,
    ("torch.jit._pickle", "build_tensorlist"): _same,
    ("torch.jit._pickle", "build_doublelist"): _same,
    ("torch.jit._pickle", "build_boollist"): _same,
}


class _Reader(pickle.Unpickler):
    """An unpickler of modules, tensors and plain values."""

    def __init__(self, text: bytes, numbers: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(text))
        self._numbers, self._storages = numbers, {}

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        require((module, name) in _KNOWN, f"it asks for {module}.{name}, which has no place among weights")
        return _KNOWN[module, name]

    def persistent_load(self, reference: object) -> Tensor:
        kind, dtype, key, _, count = reference
        require(kind == "storage" and isinstance(dtype, torch.dtype), f"it holds {kind!r} where numbers should be")
        if key not in self._storages:
            raw = bytearray(self._numbers(str(key)))
            require(len(raw) == count * dtype.itemsize, f"storage {key} has {len(raw)} bytes for {count} numbers")
            self._storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return self._storages[key]


def read_torchscript(path: str | os.PathLike) -> dict[str, Tensor]:
    """All tensors of the archive's modules by their dotted names.

    Raises InputError for anything that is not such an archive, is damaged, or holds more than modules and numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = next((name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")), "")
            require(bool(top), "there is no data.pkl in it")
            folder = top.removesuffix("/data.pkl")
            if f"{folder}/byteorder" in archive.namelist():
                require(archive.read(f"{folder}/byteorder") == b"little", "its numbers are big-endian")
            root = _Reader(archive.read(top), lambda key: archive.read(f"{folder}/data/{key}")).load()
    except (OSError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, *_DAMAGE) as error:
        raise InputError(f"{path}: no readable TorchScript archive ({error})") from error
    return dict(_named(root, ""))


def _named(module: object, prefix: str) -> list[tuple[str, Tensor]]:
    """The tensors below a module."""
    found = []
    values = module.values if isinstance(module, _Module) else None
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, Tensor):
            found.append((f"{prefix}{name}", value))
        elif isinstance(value, _Module):
            found += _named(value, f"{prefix}{name}.")
    return found
