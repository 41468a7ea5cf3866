"""`.lyra4d`: our compact, seekable container for scenes that stand still or move; also what the viewer plays.

The byte-exact layout is in docs/formats.md. A JSON header, then chunks that are gzip streams of their own: Gaussians
that share a lifetime, in spatial order. A player that wants time t reads only the chunks alive at t.
"""

import json
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.scene import DynamicGaussians, Gaussians, InputError, require
from lyra.scene.sh import C0

MAGIC = b"LYRA4D01"
_MAX_HEADER = 1 << 26
_CHUNK = 1 << 17  # Gaussians a chunk at most: a player can show the first ones while the rest arrives
_MIXED = 1 << 12  # Gaussians a chunk where every one has its own lifetime
_LEVEL = 6
_SH_ZERO = 0x8080  # values within +-0.5 then share their high byte, which costs nothing after gzip


def save(
    scene: Gaussians | DynamicGaussians,
    path: str | os.PathLike,
    *,
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
) -> None:
    """Write `pack(scene)`; the arguments and errors are those of `pack`."""
    data = pack(scene, scale=scale, gravity=gravity, path=path)
    with replacing_file(path) as temporary:
        temporary.write_bytes(data)


def load(path: str | os.PathLike) -> Gaussians | DynamicGaussians:
    """Read a `.lyra4d` file; InputError if it is damaged. Gaussians come back in the file's order."""
    return unpack(Path(path).read_bytes(), path)


def pack(
    scene: Gaussians | DynamicGaussians,
    *,
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
    path: str | os.PathLike = "scene",
) -> bytes:
    """The container as bytes.

    `scale` ("metric" or "relative") and `gravity` (unit direction that things fall along) are notes for people and
    tools. `path` names the scene in error messages. Raises InputError for scenes that are empty or not finite.
    """
    moving = isinstance(scene, DynamicGaussians)
    flat = storage.to_write(scene.gaussians if moving else scene, path)
    start = end = velocities = np.zeros(0, np.float32)
    if moving:
        start, end, velocities = (v.float().cpu().numpy() for v in (scene.start, scene.end, scene.velocities))
    chunks, blobs, offset = [], [], 0
    for rows, lifetime in _groups(flat.means.numpy(), start, end):
        columns = _columns(flat[torch.from_numpy(rows)])
        entry, blob = _pack_chunk(columns, velocities[rows] if moving else None, lifetime)
        chunks.append({**entry, "offset": offset, "bytes": len(blob)})
        blobs.append(blob)
        offset += len(blob)
    means = flat.means.numpy()
    header = {
        "format": "lyra4d", "version": 1, "count": len(flat), "sh_degree": flat.sh_degree,
        "duration": float(scene.duration) if moving else None, "fps": float(scene.fps) if moving else None,
        "seen": flat.seen is not None, "box": [means.min(0).tolist(), means.max(0).tolist()],
        "axes": "x right, y down, z forward", "scale": scale, "gravity": None if gravity is None else list(gravity),
        "chunks": chunks,
    }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return b"".join([MAGIC, struct.pack("<I", len(text)), text, *blobs])


def _columns(flat: Gaussians) -> dict[str, np.ndarray]:
    """Everything a chunk stores, quantised to integers but for the means."""
    largest, others = storage.smallest_three(flat.quats.numpy())
    turn = np.rint(others * 16383).astype(np.int32) + 16384  # 15 bits, 0 exact
    turn[:, 0] |= (largest & 1) << 15
    turn[:, 1] |= (largest >> 1) << 15
    with np.errstate(divide="ignore"):
        scale = np.clip(np.rint(np.log(flat.scales.numpy()) * 128 + 32768), 0, 65535)
    colour = np.clip(np.rint((flat.sh[:, 0].numpy() * C0 + 0.5) * 512 + 32768), 0, 65535)
    rest = np.clip(np.rint(flat.sh[:, 1:].numpy() * 256 + _SH_ZERO), 0, 65535)
    columns = {
        "means": flat.means.numpy(),
        "scale": scale.astype(np.uint16),
        "rotation": turn.astype(np.uint16),
        "colour": colour.astype(np.uint16),
        "opacity": np.rint(flat.opacities.numpy() * 255).astype(np.uint8)[:, None],
        "sh": rest.astype(np.uint16).reshape(len(flat), -1),
    }
    if flat.seen is not None:
        columns["seen"] = flat.seen.numpy().astype(np.uint8)[:, None]
    return columns


def _groups(means: np.ndarray, start: np.ndarray, end: np.ndarray):
    """Yield (rows, lifetime): rows of one chunk, and their common (start, end) or their own as arrays [n, 2]."""
    if len(start) == 0:
        yield from _split(np.arange(len(means)), means, _CHUNK, (-np.inf, np.inf))
        return
    pairs = np.stack([start, end], 1).view(np.complex64)[:, 0]  # sorted as pairs are, 15 times as fast as by axis=0
    lifetimes, which = np.unique(pairs, return_inverse=True)
    lifetimes = lifetimes.view(np.float32).reshape(-1, 2)
    if len(lifetimes) <= max(1024, len(means) // 256):
        order = np.argsort(which, kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(which))[:-1]):
            yield from _split(rows, means, _CHUNK, tuple(lifetimes[which[rows[0]]].tolist()))
        return
    forever = (start == -np.inf) & (end == np.inf)
    if forever.any():
        yield from _split(np.flatnonzero(forever), means, _CHUNK, (-np.inf, np.inf))
    own = np.flatnonzero(~forever)
    order = own[np.lexsort((end[own], start[own]))]
    for first in range(0, len(order), _MIXED):
        rows = order[first : first + _MIXED]
        yield rows, np.stack([start[rows], end[rows]], 1)


def _split(rows: np.ndarray, means: np.ndarray, size: int, lifetime: tuple[float, float]):
    rows = rows[storage.morton_order(means[rows])]
    for first in range(0, len(rows), size):
        yield rows[first : first + size], lifetime


def _pack_chunk(columns: dict[str, np.ndarray], velocity: np.ndarray | None, lifetime) -> tuple[dict, bytes]:
    """Header entry and gzip stream of one chunk."""
    means = columns.pop("means").astype(np.float64)
    origin = means.min(0)
    sigma = np.exp((np.quantile(columns["scale"], 0.01) - 32768) / 128)
    # finer than can be seen, but Gaussians at almost the same depth should keep their order; coarser only where 24
    # bits do not reach
    step = max(float((means.max(0) - origin).max()) / (2**24 - 1), 0.002 * float(sigma), 1e-30)
    planes = [_planes(np.rint((means - origin) / step).astype(np.uint32), 3)]
    planes += [_planes(column, column.dtype.itemsize) for column in columns.values()]
    moves = velocity is not None and bool(velocity.any())
    own = isinstance(lifetime, np.ndarray)
    for column in ([velocity] if moves else []) + ([lifetime] if own else []):
        planes.append(_planes(column.astype("<f4").view("<u4"), 4))
    low, high = (lifetime[:, 0].min(), lifetime[:, 1].max()) if own else lifetime
    entry = {
        "count": len(means), "start": float(low) if np.isfinite(low) else None,
        "end": float(high) if np.isfinite(high) else None, "origin": origin.tolist(), "step": step,
        "velocity": moves, "lifetimes": own,
    }  # fmt: skip
    stream = zlib.compressobj(_LEVEL, wbits=31)
    return entry, stream.compress(b"".join(planes)) + stream.flush()


def _planes(column: np.ndarray, width: int) -> bytes:
    """Byte planes [components, width, n] of integers [n, components], lowest byte first."""
    column = np.ascontiguousarray(column.T)
    little = column.astype(column.dtype.newbyteorder("<"), copy=False)
    octets = little.view(np.uint8).reshape(*column.shape, column.dtype.itemsize)[..., :width]
    return octets.transpose(0, 2, 1).tobytes()


def read_header(data: bytes, path: str | os.PathLike) -> tuple[dict, int]:
    """The checked JSON header of a container, and where its chunks begin. InputError if anything is inconsistent."""
    require(data[:8] == MAGIC, f"{path}: is not a .lyra4d file (it does not begin with {MAGIC.decode()})")
    require(len(data) >= 12, f"{path}: is cut short in its first 12 bytes")
    (length,) = struct.unpack_from("<I", data, 8)
    begin = 12 + length
    require(
        length <= _MAX_HEADER and begin <= len(data),
        f"{path}: its header claims {length} bytes but the file has {len(data)}; it is cut short or damaged",
    )
    try:
        header = json.loads(data[12:begin])
        version, sh_degree, seen = header["version"], header["sh_degree"], header["seen"]
        require(version == 1, f"{path}: is version {version} of .lyra4d, but this program reads version 1")
        require(sh_degree in (0, 1, 2, 3) and isinstance(seen, bool), f"{path}: its header is damaged")
        offset = total = 0
        for chunk in header["chunks"]:
            count, size = chunk["count"], chunk["bytes"]
            whole = all(type(v) is int for v in (count, size, chunk["offset"])) and count > 0 and size > 0
            require(
                whole and chunk["offset"] == offset and begin + offset + size <= len(data),
                f"{path}: its chunk table does not fit the file; it is cut short or damaged",
            )
            numbers = [*chunk["origin"], chunk["step"], *(chunk[k] for k in ("start", "end") if chunk[k] is not None)]
            flags = isinstance(chunk["velocity"], bool) and isinstance(chunk["lifetimes"], bool)
            require(flags and len(chunk["origin"]) == 3 and _finite(numbers), f"{path}: its chunk table is damaged")
            offset, total = offset + size, total + count
        require(header["count"] == total, f"{path}: promises {header['count']} Gaussians but its chunks hold {total}")
        if header["duration"] is not None:
            require(_finite([header["duration"], header["fps"]]), f"{path}: its duration or fps is not a number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its header is not what a .lyra4d file needs ({error})") from error
    return header, begin


def _finite(numbers: list) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e300 for v in numbers)


def unpack(data: bytes, path: str | os.PathLike = "scene") -> Gaussians | DynamicGaussians:
    """Inverse of `pack`, but for the order of the Gaussians. `path` names the source in error messages."""
    header, begin = read_header(data, path)
    coefficients = (header["sh_degree"] + 1) ** 2
    require(len(header["chunks"]) > 0, f"{path}: holds no Gaussians")
    promised = sum(_unpacked_bytes(_layout(chunk, header), chunk) for chunk in header["chunks"])
    storage.check_inflation(path, len(data) - begin, promised)
    blobs = (memoryview(data)[begin + c["offset"] : begin + c["offset"] + c["bytes"]] for c in header["chunks"])
    parts = (_unpack_chunk(blob, c, header, path) for blob, c in zip(blobs, header["chunks"], strict=True))
    columns = storage.gathered(header["count"], parts)
    sh = columns["sh"].reshape(-1, coefficients, 3)
    seen = columns["seen"][:, 0] != 0 if header["seen"] else None
    scene, kept = storage.to_scene(
        path, columns["means"], columns["quats"], columns["scales"], columns["opacities"], sh, seen
    )
    if header["duration"] is None:
        return scene
    start, end, velocity = (torch.from_numpy(columns[name]) for name in ("start", "end", "velocity"))
    if kept is not None:
        start, end, velocity = start[kept], end[kept], velocity[kept]
    return DynamicGaussians(scene, start, end, velocity, float(header["duration"]), float(header["fps"]))


def _layout(chunk: dict, header: dict) -> dict[str, tuple[int, int]]:
    """Components and bytes a component of every column of a chunk, in order."""
    layout = {"means": (3, 3), "scale": (3, 2), "rotation": (3, 2), "colour": (3, 2), "opacity": (1, 1)}
    layout["sh"] = (3 * ((header["sh_degree"] + 1) ** 2 - 1), 2)
    if header["seen"]:
        layout["seen"] = (1, 1)
    layout |= {"velocity": (3, 4)} if chunk["velocity"] else {}
    return layout | ({"lifetimes": (2, 4)} if chunk["lifetimes"] else {})


def _unpacked_bytes(layout: dict[str, tuple[int, int]], chunk: dict) -> int:
    return chunk["count"] * sum(components * width for components, width in layout.values())


def _unpack_chunk(blob: memoryview, chunk: dict, header: dict, path: str | os.PathLike) -> dict[str, np.ndarray]:
    n, layout = chunk["count"], _layout(chunk, header)
    raw = np.frombuffer(storage.inflate(path, blob, _unpacked_bytes(layout, chunk)), np.uint8)
    read, position = {}, 0
    for name, (components, width) in layout.items():
        planes = raw[position : position + components * width * n].reshape(components, width, n)
        position += planes.size
        value = np.zeros((components, n), np.uint32 if width > 2 else np.uint16)
        for i in range(width):
            value |= planes[:, i].astype(value.dtype) << value.dtype.type(8 * i)
        read[name] = value.T
    turn = read["rotation"]
    largest = ((turn[:, 0] >> 15) | (turn[:, 1] >> 15 << 1)).astype(np.intp)
    others = ((turn & 0x7FFF).astype(np.float32) - 16384) / 16383
    colour = ((read["colour"].astype(np.float32) - 32768) / 512 - 0.5) / np.float32(C0)
    rest = (read["sh"].astype(np.float32) - _SH_ZERO) / 256
    columns = {
        "means": (read["means"] * chunk["step"] + np.float64(chunk["origin"])).astype(np.float32),
        "quats": storage.from_smallest_three(largest, others),
        "scales": np.exp((read["scale"].astype(np.float32) - 32768) / 128) * (read["scale"] > 0),
        "opacities": read["opacity"][:, 0].astype(np.float32) / 255,
        "sh": np.concatenate([colour, rest], 1),
    }
    if header["seen"]:
        columns["seen"] = read["seen"]
    return columns if header["duration"] is None else columns | _motion(read, chunk)


def _motion(read: dict[str, np.ndarray], chunk: dict) -> dict[str, np.ndarray]:
    """Velocity, start and end of a chunk of a scene that moves, of its own columns or of its table entry."""
    if chunk["velocity"]:
        velocity = np.ascontiguousarray(read["velocity"]).view(np.float32)
    else:
        velocity = np.zeros((chunk["count"], 3), np.float32)
    if chunk["lifetimes"]:
        lifetimes = np.ascontiguousarray(read["lifetimes"]).view(np.float32)
    else:
        pair = [-np.inf if chunk["start"] is None else chunk["start"], np.inf if chunk["end"] is None else chunk["end"]]
        lifetimes = np.broadcast_to(np.float32(pair), (chunk["count"], 2))
    return {"velocity": velocity, "start": lifetimes[:, 0], "end": lifetimes[:, 1]}
