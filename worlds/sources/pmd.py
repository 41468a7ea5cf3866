"""0 A.D.'s mesh (.pmd) and animation (.psa) formats, little-endian: skinned vertices, bones, and bones over time.

    PMD  "PSMD", u32 version (3 or 4), u32 size; u32 vertices; version 4: u32 uv sets (else 1); of each vertex f32[3]
         position, f32[3] normal, f32[2] of each uv set, u8[4] bones (255 none), f32[4] weights; u32 faces, u16[3] each;
         u32 bones, of each f32[3] position and f32[4] quaternion xyzw in the bind pose; u32 prop points, of each
         u32 length and name, f32[3], f32[4], u8 bone
    PSA  "PSSA", u32 version, u32 size; u32 length and name; f32 milliseconds a frame; u32 bones; u32 frames;
         f32[3] position and f32[4] quaternion of every bone in every frame

y is up and z ahead, left-handed. Bones are given in model space, not relative to their parents.
"""

import struct
from dataclasses import dataclass

import numpy as np

from worlds.errors import WorldsError


@dataclass(frozen=True, eq=False)
class Skin:
    """A mesh with bones: positions, normals f64 [v, 3], uvs [v, 2], bones i64 and weights f64 [v, 4], triangles
    i64 [f, 3], `bind` f64 [b, 4, 4] bone-to-model matrices; points: name -> (bone or 255, matrix relative to it)."""

    positions: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    bones: np.ndarray
    weights: np.ndarray
    triangles: np.ndarray
    bind: np.ndarray
    points: dict[str, tuple[int, np.ndarray]]


def read_pmd(data: bytes, name: str) -> Skin:
    """Parse a mesh. WorldsError if it is foreign or damaged."""
    if data[:4] != b"PSMD":
        raise WorldsError(f"{name} is not a PMD mesh")
    try:
        return _read_pmd(data)
    except (struct.error, ValueError) as error:
        raise WorldsError(f"{name} is a damaged PMD mesh ({error})") from error


def _read_pmd(data: bytes) -> Skin:
    version, _, count = struct.unpack_from("<III", data, 4)
    at, sets = 16, 1
    if version >= 4:
        (sets,) = struct.unpack_from("<I", data, at)
        at += 4
    layout = np.dtype(
        [("p", "<f4", 3), ("n", "<f4", 3), ("uv", "<f4", (sets, 2)), ("bones", "u1", 4), ("weights", "<f4", 4)]
    )
    vertices = np.frombuffer(data, layout, count, at)
    at += count * layout.itemsize
    (faces,) = struct.unpack_from("<I", data, at)
    triangles = np.frombuffer(data, "<u2", 3 * faces, at + 4).astype(np.int64).reshape(-1, 3)
    at += 4 + 6 * faces
    (bones,) = struct.unpack_from("<I", data, at)
    bind = _matrices(np.frombuffer(data, "<f4", 7 * bones, at + 4).reshape(-1, 7))
    at += 4 + 28 * bones
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    points = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        label = data[at + 4 : at + 4 + length].decode("latin-1")
        at += 4 + length
        points[label] = (data[at + 28], _matrices(np.frombuffer(data, "<f4", 7, at).reshape(1, 7))[0])
        at += 29
    return Skin(
        vertices["p"].astype(float),
        vertices["n"].astype(float),
        vertices["uv"][:, 0].astype(float),
        vertices["bones"].astype(np.int64),
        vertices["weights"].astype(float),
        triangles,
        bind,
        points,
    )


def read_psa(data: bytes, name: str) -> np.ndarray:
    """Bone-to-model matrices f64 [frames, bones, 4, 4]. WorldsError if the file is foreign or damaged."""
    if data[:4] != b"PSSA":
        raise WorldsError(f"{name} is not a PSA animation")
    try:
        (length,) = struct.unpack_from("<I", data, 12)
        _, bones, frames = struct.unpack_from("<fII", data, 16 + length)
        states = np.frombuffer(data, "<f4", 7 * bones * frames, 28 + length)
    except (struct.error, ValueError) as error:
        raise WorldsError(f"{name} is a damaged PSA animation ({error})") from error
    return _matrices(states.reshape(frames, bones, 7))


def _matrices(states: np.ndarray) -> np.ndarray:
    """Matrices f64 [..., 4, 4] of positions and quaternions xyzw f32 [..., 7]."""
    x, y, z, w = np.moveaxis(states[..., 3:].astype(float), -1, 0)
    out = np.zeros((*states.shape[:-1], 4, 4))
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    out[..., :3, :3] = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    out[..., :3, 3] = states[..., :3]
    out[..., 3, 3] = 1.0
    return out


def posed(skin: Skin, frames: np.ndarray) -> np.ndarray:
    """Vertex positions f64 [frames, v, 3] under bone matrices f64 [frames, bones, 4, 4]."""
    moves = frames[:, : len(skin.bind)] @ np.linalg.inv(skin.bind)
    homogeneous = np.concatenate([skin.positions, np.ones((len(skin.positions), 1))], axis=1)
    out = np.zeros((len(frames), len(skin.positions), 3))
    for k in range(4):
        used = skin.bones[:, k] < moves.shape[1]
        chosen = moves[:, np.where(used, skin.bones[:, k], 0), :3]
        out += np.where(used, skin.weights[:, k], 0)[None, :, None] * np.einsum("fvij,vj->fvi", chosen, homogeneous)
    return out
