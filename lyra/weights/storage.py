"""A folder of weights: config.json and model.safetensors, small on disk, exact about what it holds.

Matrices and convolution kernels (two or more dimensions, at least 4096 elements) are stored as float16, or as int8 with
one float16 scale a row (the first dimension), value = scale x integer; the integers of a tensor are stored as a Huffman
code (raw deflate without matches: they repeat nothing, but small ones are frequent), which saves 8 % and loses nothing.
int7 is the same with integers of at most 63, which saves another bit a number.
Everything smaller, and what float16 cannot hold, stays float32; tensors of integers stay as they are; of large ones
that are all zero only the shape is kept. The safetensors header says for every tensor how it was stored and its shape,
and holds the config and a checksum, so a mixed, cut or damaged folder is refused.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int8, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lyra.io.atomic import replacing_file
from lyra.scene import InputError, require

PRECISIONS = ("float32", "float16", "int8", "int7")
SMALLEST = 4096  # elements; what is smaller saves nothing
_LARGEST_HALF = 65504.0
_LARGEST = {"int8": 127, "int7": 63}
_SCALE = ":scale"  # no parameter of a torch module can be called so
_RAW_DEFLATE = -15  # of zlib: no header, no checksum; the file has one
_HEADER = "lyra-weights-1"


def save_folder(
    folder: str | os.PathLike, tensors: Mapping[str, Tensor], config: dict, precision: str = "float16"
) -> None:
    """Write `tensors` and `config` (JSON values) to a folder, which is made if need be; other files in it stay.

    `precision` is that of the big matrices: float32, float16, int8 or int7. Each file appears whole or not at all. A
    kill between the two leaves a pair that `load_folder` refuses or one that belongs together, never a mixture.

    Raises InputError for values that are NaN or infinite.
    """
    require(precision in PRECISIONS, f"weights are stored as {', '.join(PRECISIONS)}, not {precision}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror or error})") from error
    stored, layout = {}, {}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        value = value.float() if value.is_floating_point() else value
        require(bool(value.isfinite().all()), f"{folder}: {name} holds NaN or infinity, so it is not saved")
        kind = _kind(value, precision)
        layout[name] = {"stored": "int8" if kind in _LARGEST else kind, "shape": list(value.shape)}
        if kind in _LARGEST:
            integers, stored[name + _SCALE] = quantise(value, _LARGEST[kind])
            stored[name] = _packed(integers)
        elif kind != "zeros":
            stored[name] = value.to(getattr(torch, kind)).contiguous().clone()
    text = json.dumps(config, indent=1) + "\n"
    header = json.dumps({"layout": layout, "config": config, "crc32": _checksum(stored)})
    with replacing_file(folder / "model.safetensors") as temporary:
        try:
            save_file(stored, temporary, {_HEADER: header})  # one entry: several are written in random order
        except SafetensorError as error:
            raise InputError(f"{folder / 'model.safetensors'}: cannot be written ({error})") from error
    with replacing_file(folder / "config.json") as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_folder(folder: str | os.PathLike) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of a folder; numbers come back as float32 on the CPU, integers as they were.

    Reads plain safetensors files of other origin too. Raises InputError if a file is missing, damaged or cut short, or
    if config.json and model.safetensors were not saved together.
    """
    folder = Path(folder)
    text = _read_config(folder)
    path = folder / "model.safetensors"
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "null"))
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: damaged or cut short ({error}); fetch or save it again") from error
    config = json.loads(text)
    if header is None:
        return config, {name: _as_float(value) for name, value in stored.items()}
    require(
        header["config"] == config,
        f"{folder}: config.json was not saved together with model.safetensors; save both again",
    )
    require(
        header["crc32"] == _checksum(stored), f"{path}: the checksum is wrong, so the file is damaged; fetch it again"
    )
    return config, {name: _restored(stored, name, how) for name, how in header["layout"].items()}


def fingerprint(folder: str | os.PathLike) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of config.json and model.safetensors together."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        path = Path(folder) / name
        require(path.is_file(), f"{path}: there is no such file")
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def quantise(value: Float[Tensor, "n ..."], largest: int = 127) -> tuple[Int8[Tensor, "n ..."], Float16[Tensor, " n"]]:
    """Integers up to `largest` and a scale a row: the error of each number is at most half its row's scale."""
    peak = value.flatten(1).abs().amax(1)
    scale = (peak / largest).half()
    short = scale.float() * largest < peak  # rounded down: the largest number would not fit
    scale = torch.where(short, torch.nextafter(scale, torch.full_like(scale, torch.inf)), scale)
    step = scale.float().clamp_min(torch.finfo(torch.float32).tiny).reshape(-1, *[1] * (value.ndim - 1))
    return (value / step).round().clamp(-largest, largest).to(torch.int8), scale


def _kind(value: Tensor, precision: str) -> str:
    """How one tensor is stored."""
    if not value.is_floating_point():
        return str(value.dtype).removeprefix("torch.")
    if value.numel() >= SMALLEST and not value.any():
        return "zeros"  # layers that start without effect and were not trained yet
    if value.ndim < 2 or value.numel() < SMALLEST or float(value.abs().max()) > _LARGEST_HALF:
        return "float32"
    return precision


def _restored(stored: dict[str, Tensor], name: str, how: dict) -> Tensor:
    """One tensor as it was before saving, up to rounding."""
    if how["stored"] == "zeros":
        return torch.zeros(how["shape"])
    value, shape = stored[name], how["shape"]
    if how["stored"] == "int8":
        integers = _unpacked(value, math.prod(shape))
        require(len(integers) == math.prod(shape), f"{name}: holds other than {math.prod(shape)} numbers")
        return integers.reshape(shape).float() * stored[name + _SCALE].float().reshape(-1, *[1] * (len(shape) - 1))
    require(list(value.shape) == shape, f"{name}: stored as {list(value.shape)}, announced as {shape}")
    return _as_float(value)


def _packed(integers: Int8[Tensor, "..."]) -> UInt8[Tensor, " bytes"]:
    """The Huffman code of integers."""
    coder = zlib.compressobj(9, wbits=_RAW_DEFLATE, memLevel=9, strategy=zlib.Z_HUFFMAN_ONLY)
    code = coder.compress(integers.contiguous().numpy().tobytes()) + coder.flush()
    return torch.frombuffer(bytearray(code), dtype=torch.uint8)


def _unpacked(code: UInt8[Tensor, " bytes"], count: int) -> Int8[Tensor, " count"]:
    """The integers of a Huffman code, one more than `count` at most."""
    integers = zlib.decompressobj(_RAW_DEFLATE).decompress(code.numpy().tobytes(), count + 1)
    return torch.frombuffer(bytearray(integers), dtype=torch.int8)


def _as_float(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _read_config(folder: Path) -> str:
    """The text of config.json, checked to be a JSON object."""
    for name in ("config.json", "model.safetensors"):
        require((folder / name).is_file(), f"{folder}: holds no weights, because {name} is missing")
    path = folder / "config.json"
    try:
        text = path.read_text(encoding="utf-8")
        require(isinstance(json.loads(text), dict), f"{path}: is not a JSON object")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    return text


def _checksum(stored: Mapping[str, Tensor]) -> str:
    """CRC-32 over names and bytes in the order of names."""
    crc = 0
    for name in sorted(stored):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(stored[name].contiguous().reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"
