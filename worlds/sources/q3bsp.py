"""Quake 3's compiled maps (IBSP version 46): polygons, meshes, curved patches and their baked light.

    "IBSP", i32 46, then 17 pairs (offset, size); used here: 0 entities, 1 textures, 10 vertices, 11 mesh indices,
    13 faces, 14 lightmaps (128 x 128 RGB)
    texture (72 bytes): char[64] name, u32 flags, u32 contents
    vertex (44): f32[3] position, f32[2] uv, f32[2] lightmap uv, f32[3] normal, u8[4] colour
    face (104): i32 texture, effect, type (1 polygon, 2 patch, 3 mesh, 4 billboard), first vertex, vertices, first
    index, indices, lightmap, then placement and i32[2] size of a patch

A patch is a grid of biquadratic Bezier pieces that share their edges. z is up; `read_q3bsp` keeps game units.
"""

import struct
from dataclasses import dataclass

import numpy as np

from worlds.errors import WorldsError
from worlds.sources.bsp import parse_entities

VERTEX = np.dtype(
    [("position", "<f4", 3), ("uv", "<f4", 2), ("light", "<f4", 2), ("normal", "<f4", 3), ("colour", "u1", 4)]
)
_TEXTURE = np.dtype([("name", "S64"), ("flags", "<u4"), ("contents", "<u4")])
_FACE = np.dtype([("head", "<i4", 8), ("placement", "<i4", 16), ("size", "<i4", 2)])
_UNSEEN = 0x4 | 0x80 | 0x100 | 0x200  # sky, no-draw, hint, skip
_CUTS = 4


@dataclass(frozen=True, eq=False)
class Q3Map:
    """Triangles of a map: `corners` VERTEX [t, 3], `textures` and `lightmaps` i64 [t] (-1: not baked), the texture
    `names`, the light `pages` u8 [n, 128, 128, 3] and the entities."""

    corners: np.ndarray
    textures: np.ndarray
    lightmaps: np.ndarray
    names: list[str]
    pages: np.ndarray
    entities: list[dict[str, str]]


def read_q3bsp(data: bytes, name: str) -> Q3Map:
    """Parse a map. WorldsError if it is foreign or damaged."""
    if data[:4] != b"IBSP" or len(data) < 144 or struct.unpack_from("<i", data, 4)[0] != 46:
        raise WorldsError(f"{name} is not a Quake 3 map (IBSP version 46)")
    try:
        lumps = [data[at : at + size] for at, size in struct.iter_unpack("<ii", data[8:144])]
        return _read_map(lumps)
    except (struct.error, ValueError, IndexError) as error:
        raise WorldsError(f"{name} is a damaged map ({error}); fetch its package again") from error


def _read_map(lumps: list[bytes]) -> Q3Map:
    textures = np.frombuffer(lumps[1], _TEXTURE)
    names = [raw.split(b"\0")[0].decode("latin-1") for raw in textures["name"]]
    vertices = np.frombuffer(lumps[10], VERTEX)
    indices = np.frombuffer(lumps[11], "<i4").astype(np.int64)
    corners, sources = [np.zeros((0, 3), VERTEX)], [np.zeros((0, 2), np.int64)]
    for face in np.frombuffer(lumps[13], _FACE):
        texture, _, kind, first, count, start, length, light = (int(v) for v in face["head"])
        if textures["flags"][texture] & _UNSEEN or names[texture].startswith("textures/common/"):
            continue
        if kind in (1, 3):
            piece = vertices[first + indices[start : start + length]].reshape(-1, 3)
        elif kind == 2:
            width, height = (int(v) for v in face["size"])
            piece = _patch(vertices[first : first + count].reshape(height, width))
        else:
            continue
        corners.append(piece)
        sources.append(np.full((len(piece), 2), (texture, light), np.int64))
    joined = np.concatenate(sources)
    pages = np.frombuffer(lumps[14], np.uint8).reshape(-1, 128, 128, 3)
    return Q3Map(
        np.concatenate(corners), joined[:, 0], joined[:, 1], names, pages, parse_entities(lumps[0].decode("latin-1"))
    )


def _patch(grid: np.ndarray) -> np.ndarray:
    """Triangles VERTEX [t, 3] of a grid of control points, every piece cut into 4 x 4 cells."""
    s = np.linspace(0, 1, _CUTS + 1)
    weights = np.stack([(1 - s) ** 2, 2 * s * (1 - s), s**2], axis=1)
    cells = []
    k = (np.arange(_CUTS)[:, None] * (_CUTS + 1) + np.arange(_CUTS)).reshape(-1)
    quads = np.concatenate([np.stack([k, k + 1, k + _CUTS + 1], 1), np.stack([k + 1, k + _CUTS + 2, k + _CUTS + 1], 1)])
    for row in range(0, grid.shape[0] - 2, 2):
        for column in range(0, grid.shape[1] - 2, 2):
            piece = grid[row : row + 3, column : column + 3]
            cell = np.zeros((_CUTS + 1) ** 2, VERTEX)
            for name in ("position", "uv", "light", "normal"):
                cell[name] = np.einsum("ai,bj,ijk->abk", weights, weights, piece[name]).reshape(len(cell), -1)
            cell["normal"] /= np.maximum(np.linalg.norm(cell["normal"], axis=1, keepdims=True), 1e-6)
            cells.append(cell[quads])
    return np.concatenate(cells) if cells else np.zeros((0, 3), VERTEX)
