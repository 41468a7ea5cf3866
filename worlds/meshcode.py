"""Meshes as few bytes: quantise, predict, split into byte planes (the packs compress what comes out).

A mesh becomes a head (plain JSON values) and integer streams, always in this order:

1. positions: round((p - low) / step), k = 3;
2. normals: octahedral map of the unit sphere to a square [1], signed 8 bit a coordinate, k = 2;
3. uvs: round(uv / UV_STEP), k = 2;
4. triangles: `high - index`, where `high` counts the vertices seen so far: 0 says "the next new vertex". Vertices are
   stored in the order of first use and faces sorted by material, so most codes are small;
5. lightmap uvs (only if head["lightmap"]): round(uv * 65535), k = 2;
6. poses (only if head["poses"]): differences of quantised positions to the mesh's, then from pose to pose.

Streams 1, 2, 3 and 5 are differences from vertex to vertex; worlds.streams writes them.

[1] Cigolle et al., "A Survey of Efficient Representations for Independent Unit Vectors", JCGT 3(2), 2014.
"""

import numpy as np

from worlds.scene import Mesh
from worlds.streams import StreamReader, StreamWriter

UV_STEP = 1.0 / 2048.0


def octahedral(normals: np.ndarray) -> np.ndarray:
    """Unit vectors f [n, 3] -> i64 [n, 2] in -127 .. 127. Worst angle about 0.95 degrees."""
    flat = normals / np.maximum(np.abs(normals).sum(axis=1, keepdims=True), 1e-12)
    folded = (1.0 - np.abs(flat[:, 1::-1])) * np.where(flat[:, :2] >= 0, 1.0, -1.0)
    square = np.where(flat[:, 2:] < 0, folded, flat[:, :2])
    return np.rint(np.clip(square, -1, 1) * 127).astype(np.int64)


def unit_vectors(square: np.ndarray) -> np.ndarray:
    """The inverse of `octahedral`: i64 [n, 2] -> f32 unit vectors [n, 3]."""
    xy = square.astype(np.float32) / 127.0
    z = 1.0 - np.abs(xy).sum(axis=1, keepdims=True)
    fold = np.maximum(-z, 0.0)
    vectors = np.concatenate([xy - np.where(xy >= 0, fold, -fold), z], axis=1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def encode_mesh(mesh: Mesh, step: float, writer: StreamWriter, poses: np.ndarray | None = None) -> dict:
    """Append `mesh` (positions kept to within step / 2 m) and its poses [p, v, 3] to `writer`; returns the head.

    Materials are named in the head; their textures are stored by the caller under the texture's key.
    """
    by_material = np.argsort(mesh.face_materials, kind="stable")
    corners = mesh.triangles[by_material].reshape(-1)
    used, first, inverse = np.unique(corners, return_index=True, return_inverse=True)
    rank = np.empty(len(used), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(used))
    order = used[np.argsort(first, kind="stable")]
    indices = rank[inverse]
    is_new = np.zeros(len(corners), np.int64)
    is_new[first] = 1
    high = np.cumsum(is_new) - is_new

    low = np.floor(mesh.positions[order].min(axis=0) / step) if len(order) else np.zeros(3)
    grid = np.rint(mesh.positions[order] / step) - low
    counts = np.bincount(mesh.face_materials, minlength=len(mesh.materials))
    head = {
        "step": step,
        "low": [int(v) for v in low],
        "counts": [int(v) for v in counts],
        "materials": [
            [[round(float(c), 4) for c in m.colour], m.texture and m.texture.key, m.alpha, round(m.emission, 4)]
            for m in mesh.materials
        ],
        "positions": writer.deltas(grid),
        "normals": writer.deltas(octahedral(mesh.normals[order])),
        "uvs": writer.deltas(np.rint(mesh.uvs[order] / UV_STEP)),
        "triangles": writer.unsigned((high - indices)[:, None]),
    }
    if mesh.lightmap is not None:
        head["lightmap"] = mesh.lightmap.key
        head["lightmap_uvs"] = writer.deltas(np.rint(np.clip(mesh.lightmap_uvs[order], 0, 1) * 65535))
    if poses is not None:
        moved = np.rint(poses[:, order] / step) - low - grid
        head["poses"] = writer.deltas(moved.reshape(len(poses), -1))
    return head


def decode_mesh(head: dict, reader: StreamReader, material, texture) -> tuple[Mesh, np.ndarray | None]:
    """Read the mesh of `head`, and its poses f32 [p, v, 3] or None.

    `material(record)` makes a Material of an entry of head["materials"], `texture(key)` finds the lightmap.
    """
    grid = reader.deltas(head["positions"]) + np.array(head["low"])
    normals = unit_vectors(reader.deltas(head["normals"]))
    uvs = reader.deltas(head["uvs"]).astype(np.float32) * np.float32(UV_STEP)
    codes = reader.unsigned(head["triangles"])[:, 0]
    is_new = codes == 0
    triangles = (np.cumsum(is_new) - is_new - codes).reshape(-1, 3)
    lightmap_uvs = None
    if "lightmap" in head:
        lightmap_uvs = (reader.deltas(head["lightmap_uvs"]) / 65535.0).astype(np.float32)
    poses = None
    if "poses" in head:
        moved = reader.deltas(head["poses"]).reshape(-1, *grid.shape)
        poses = ((moved + grid) * head["step"]).astype(np.float32)
    mesh = Mesh(
        positions=(grid * head["step"]).astype(np.float32),
        normals=normals,
        uvs=uvs,
        triangles=triangles.astype(np.int32),
        face_materials=np.repeat(np.arange(len(head["counts"]), dtype=np.int32), head["counts"]),
        materials=tuple(material(record) for record in head["materials"]),
        lightmap=texture(head["lightmap"]) if "lightmap" in head else None,
        lightmap_uvs=lightmap_uvs,
    )
    return mesh, poses
