"""SPM, the mesh format of SuperTuxKart: buffers of vertices with one or two textures each, little-endian.

    "SP", u8 version << 3 | kind (1 skinned, 2 plain), u8 flags (1 normals, 2 colours, 4 tangents), f32[6] bounds
    u16 textures, of each: u8 length and name of the first layer, u8 length and name of the second
    u16 sectors, of each: u16 buffers, of each:
        u32 vertices, u32 indices, u16 texture
        vertices: f32[3] position, 10-10-10-2 normal, colour (u8 128 for white, else any u8 and u8[3]),
                  f16[2] uv, f16[2] second uv, u32 tangent, joints and weights (16 bytes, skinned only)
        indices: u8 if there are at most 255 vertices, else u16

y is up and z points ahead, left-handed; `read_spm` mirrors z. Skinned meshes are taken in the pose they were bound in.
"""

import struct
from dataclasses import dataclass

import numpy as np

from worlds.errors import WorldsError


@dataclass(frozen=True, eq=False)
class Part:
    """One buffer: positions and normals f32 [v, 3], uvs f32 [v, 2], triangles i64 [f, 3], texture file or ""."""

    texture: str
    positions: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    triangles: np.ndarray


def read_spm(data: bytes, name: str) -> list[Part]:
    """The buffers of an SPM file, right-handed. WorldsError if it is damaged or of another version."""
    if data[:2] != b"SP" or data[2] >> 3 != 1 or data[2] & 7 not in (1, 2):
        raise WorldsError(f"{name} is not an SPM mesh of version 1")
    try:
        return _read_parts(data)
    except (struct.error, IndexError, ValueError, UnicodeDecodeError) as error:
        raise WorldsError(f"{name} is a damaged SPM mesh ({error}); fetch its package again") from error


def _read_parts(data: bytes) -> list[Part]:
    skinned, flags = data[2] & 7 == 1, data[3]
    at = 28
    (count,) = struct.unpack_from("<H", data, at)
    at += 2
    textures = []
    for _ in range(count):
        layers = []
        for _ in range(2):
            length = data[at]
            layers.append(data[at + 1 : at + 1 + length].decode("utf-8"))
            at += 1 + length
        textures.append(layers)
    (sectors,) = struct.unpack_from("<H", data, at)
    at += 2
    parts = []
    for _ in range(sectors):
        (buffers,) = struct.unpack_from("<H", data, at)
        at += 2
        for _ in range(buffers):
            vertices, indices, texture = struct.unpack_from("<IIH", data, at)
            first, second = textures[texture]
            part, at = _read_part(
                data, at + 10, (vertices, indices), (flags, bool(first), bool(second), skinned), first
            )
            parts.append(part)
    return parts


def _read_part(data: bytes, at: int, counts: tuple[int, int], layout: tuple, texture: str) -> tuple[Part, int]:
    vertices, indices = counts
    flags, uv_one, uv_two, skinned = layout
    before = 12 + 4 * (flags & 1)
    after = (4 + 4 * uv_two + (flags & 4) if uv_one else 0) + 16 * skinned
    if flags & 2:
        starts = np.empty(vertices, np.int64)
        behind = np.empty(vertices, np.int64)
        for v in range(vertices):
            starts[v] = at
            behind[v] = at + before + (1 if data[at + before] == 128 else 4)
            at = int(behind[v]) + after
    else:
        starts = at + np.arange(vertices) * (before + after)
        behind = starts + before
        at += vertices * (before + after)
    raw = np.frombuffer(data, np.uint8)
    positions = raw[starts[:, None] + np.arange(12)].view("<f4") * np.float32((1, 1, -1))
    normals = np.tile(np.float32((0, 1, 0)), (vertices, 1))
    if flags & 1:
        packed = raw[starts[:, None] + 12 + np.arange(4)].view("<u4")
        fields = (packed >> np.array([0, 10, 20], np.uint32) & 1023).astype(np.int64)
        fields -= (fields >= 512) * 1024
        normals = (fields / 511).astype(np.float32) * np.float32((1, 1, -1))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    uvs = np.zeros((vertices, 2), np.float32)
    if uv_one:
        uvs = raw[behind[:, None] + np.arange(4)].view("<f2").astype(np.float32)
    kind = "<u2" if vertices > 255 else "u1"
    triangles = np.frombuffer(data, kind, indices, at).astype(np.int64).reshape(-1, 3)
    if triangles.size and triangles.max() >= vertices:
        raise ValueError("an index points past the last vertex")
    part = Part(texture, positions, normals, np.nan_to_num(uvs), triangles[:, ::-1])
    return part, at + indices * (2 if vertices > 255 else 1)
