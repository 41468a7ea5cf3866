"""PlayCanvas compressed `.ply` (reading): chunks of 256 Gaussians quantised between their own extremes.

Position and scale are 11-10-11 bits, rotation 2-10-10-10 (smallest three of w x y z), colour and opacity 8 bits each;
SH coefficients, if any, 8 bits in [-4, 4].
"""

import os
from typing import BinaryIO

import numpy as np

from lyra.io import storage
from lyra.io.ply_header import Body, Header
from lyra.scene import Gaussians, require
from lyra.scene.sh import C0

_CHUNK = 256
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")


def is_compressed(header: Header) -> bool:
    """Whether this is the header of a compressed PLY."""
    vertex = header.element("vertex")
    return vertex is not None and "packed_position" in vertex.properties


def read(file: BinaryIO, header: Header, path: str | os.PathLike) -> Gaussians:
    """The Gaussians behind `header`, at whose end `file` stands. InputError if anything is missing or inconsistent."""
    chunk, vertex, sh = (header.element(name) for name in ("chunk", "vertex", "sh"))
    require(chunk is not None, f"{path}: is a compressed PLY without its 'chunk' element")
    axes = [f"{side}_{what}{axis}" for what in ("", "scale_") for side in ("min", "max") for axis in "xyz"]
    packed = dict(zip(vertex.properties, vertex.types, strict=True))
    good = all(packed.get(name) == "u4" for name in _PACKED) and set(axes) <= set(chunk.properties)
    require(good, f"{path}: is a compressed PLY whose properties are not the expected ones")
    enough = chunk.count * _CHUNK >= vertex.count and (sh is None or sh.count == vertex.count)
    require(enough, f"{path}: has too few chunks or SH rows for its {vertex.count} Gaussians")
    require(vertex.count > 0, f"{path}: holds no Gaussians (its header promises 0 vertices)")
    body, read_ = Body(file, header, path), {}
    for element in header.elements:
        if element in (chunk, vertex, sh):
            parts = list(body.blocks(element, max(1, element.count)))
            require(len(parts) == 1, f"{path}: ended in the middle of its '{element.name}' rows")
            read_[element.name] = parts[0]
        else:
            body.skip(element)
    return _decode(read_["chunk"], read_["vertex"], read_.get("sh"), path)


def _decode(chunk: np.ndarray, vertex: np.ndarray, sh: np.ndarray | None, path: str | os.PathLike) -> Gaussians:
    which = np.arange(len(vertex)) // _CHUNK

    def between(shares: np.ndarray, what: str, axes: str) -> np.ndarray:
        low = np.stack([chunk[f"min_{what}{axis}"] for axis in axes], 1).astype(np.float32)[which]
        high = np.stack([chunk[f"max_{what}{axis}"] for axis in axes], 1).astype(np.float32)[which]
        return low + (high - low) * shares

    def shares(name: str) -> np.ndarray:
        v = vertex[name].astype(np.uint32)
        return np.stack([(v >> 21) / 2047, ((v >> 11) & 1023) / 1023, (v & 2047) / 2047], 1).astype(np.float32)

    rotation = vertex["packed_rotation"].astype(np.uint32)
    others = np.stack([(rotation >> shift) & 1023 for shift in (20, 10, 0)], 1).astype(np.float32) / 1023 * 2 - 1
    colour = vertex["packed_color"].astype(np.uint32)
    rgba = np.stack([(colour >> shift) & 255 for shift in (24, 16, 8, 0)], 1).astype(np.float32) / 255
    rgb = between(rgba[:, :3], "", "rgb") if "min_r" in chunk.dtype.names else rgba[:, :3]
    coefficients = [((rgb - 0.5) / C0)[:, None]]
    if sh is not None:
        octets = np.stack([sh[name] for name in sh.dtype.names], 1).astype(np.float32)
        require(octets.shape[1] in (9, 24, 45), f"{path}: has {octets.shape[1]} SH columns; expected 9, 24 or 45")
        unit = np.where(octets == 0, 0, np.where(octets == 255, 1, (octets + 0.5) / 256))
        coefficients.append(((unit - 0.5) * 8).reshape(len(octets), 3, -1).transpose(0, 2, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        means, scales = between(shares("packed_position"), "", "xyz"), between(shares("packed_scale"), "scale_", "xyz")
        quats = storage.from_smallest_three((rotation >> 30).astype(np.intp), others)
        sh_all = np.concatenate(coefficients, 1)
        return storage.to_scene(path, means, quats, np.exp(scales), rgba[:, 3], sh_all)[0]
