"""UFO:AI's compiled maps (IBSP version 78, a Quake 2 relative): faces with textures, and the entity list.

    "IBSP", i32 78, then 18 pairs (offset, size): entities, planes, vertices, routing, nodes, texinfo, faces, two
    lightmaps, leafs, leaf brushes, edges, surface edges, models, brushes, brush sides, normals, unused
    vertex f32[3]; edge u16[2]; surface edge i32 (negative: walked backwards)
    texinfo (72 bytes): f32[4] s axis, f32[4] t axis, u32 flags, u32 value, char[32] texture
    face (20 bytes): u16 plane, u16 side, i32 first surface edge, u16 edges, u16 texinfo, i32[2] lightmaps

z is up; one unit is 1/30 m. `read_bsp` turns y up: (x, y, z) -> (x, z, -y).
"""

import re
import struct
from dataclasses import dataclass

import numpy as np

from worlds.errors import WorldsError

METRES = 1.0 / 30.0
_UNSEEN = 0x4 | 0x80 | 0x100 | 0x200  # sky, no-draw, hint, skip


@dataclass(frozen=True, eq=False)
class Faces:
    """Convex polygons of a map: `corners` f64 [c, 3] (m), `texels` f64 [c, 2], both polygon after polygon; `sizes`
    i64 [p]; `textures` the texture name of each polygon."""

    corners: np.ndarray
    texels: np.ndarray
    sizes: np.ndarray
    textures: list[str]


def upright(points: np.ndarray) -> np.ndarray:
    """Game units, z up -> metres, y up: f64 [..., 3]."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1) * METRES


def read_bsp(data: bytes, name: str) -> tuple[Faces, list[dict[str, str]]]:
    """Visible faces and entities of a map. WorldsError if it is foreign or damaged."""
    if data[:4] != b"IBSP" or len(data) < 152 or struct.unpack_from("<i", data, 4)[0] != 78:
        raise WorldsError(f"{name} is not a UFO:AI map (IBSP version 78)")
    try:
        lumps = [data[at : at + size] for at, size in struct.iter_unpack("<ii", data[8:152])]
        return _read_faces(lumps), parse_entities(lumps[0].decode("latin-1"))
    except (struct.error, ValueError, IndexError) as error:
        raise WorldsError(f"{name} is a damaged map ({error}); fetch its package again") from error


def parse_entities(text: str) -> list[dict[str, str]]:
    """The key-value blocks of an entity lump."""
    return [dict(re.findall(r'"([^"]*)"\s+"([^"]*)"', block)) for block in re.findall(r"\{([^{}]*)\}", text)]


def _read_faces(lumps: list[bytes]) -> Faces:
    vertices = np.frombuffer(lumps[2], "<f4").reshape(-1, 3).astype(float)
    edges = np.frombuffer(lumps[11], "<u2").reshape(-1, 2).astype(np.int64)
    walked = np.frombuffer(lumps[12], "<i4").astype(np.int64)
    info = np.frombuffer(
        lumps[5], np.dtype([("axes", "<f4", (2, 4)), ("flags", "<u4"), ("value", "<u4"), ("name", "S32")])
    )
    layout = [
        ("plane", "<u2"),
        ("side", "<u2"),
        ("first", "<i4"),
        ("edges", "<u2"),
        ("info", "<u2"),
        ("light", "<i4", 2),
    ]
    faces = np.frombuffer(lumps[6], np.dtype(layout))
    names = [raw.split(b"\0")[0].decode("latin-1") for raw in info["name"]]
    shown = np.array(
        [not flags & _UNSEEN and not n.startswith("tex_common") for flags, n in zip(info["flags"], names, strict=True)]
    )
    faces = faces[shown[faces["info"]]]
    sizes = faces["edges"].astype(np.int64)
    slots = np.repeat(faces["first"] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    steps = walked[slots]
    points = vertices[edges[np.abs(steps), (steps < 0).astype(int)]]
    axes = np.repeat(info["axes"][faces["info"]], sizes, axis=0).astype(float)
    texels = (axes[..., :3] * points[:, None]).sum(axis=2) + axes[..., 3]
    return Faces(upright(points), texels, sizes, [names[n] for n in faces["info"]])
