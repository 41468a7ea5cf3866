"""Fewer triangles that look the same: meshoptimizer's quadric simplification with normals and uvs as attributes.

Only the pack writer needs it (extra `worlds`). Garland and Heckbert, "Simplifying surfaces with color and texture using
quadric error metrics", 1998; https://github.com/zeux/meshoptimizer.
"""

import ctypes

import numpy as np

from worlds.scene import Mesh
from worlds.sources.geometry import crease_normals, indexed_mesh

_PRUNE = 1 << 3


def simplify(mesh: Mesh, max_triangles: int) -> Mesh:
    """`mesh` with at most about `max_triangles` (thin parts and seams may keep it up to 30 % above).

    First with seams of normals and uvs kept; where they block the way, with normals made anew; at last by clustering.
    """
    if len(mesh.triangles) <= max_triangles:
        return mesh
    corners = mesh.triangles
    positions, uvs = mesh.positions[corners], mesh.uvs[corners]
    slim = _collapse(mesh, max_triangles, 0.1)
    if len(slim.triangles) > 1.3 * max_triangles:
        flat = np.zeros_like(positions)
        flat[..., 1] = 1.0
        welded = indexed_mesh(positions, flat, uvs, mesh.face_materials, mesh.materials)
        slim = _with_normals(_collapse(welded, max_triangles, 0.5))
    if len(slim.triangles) > 1.3 * max_triangles:
        slim = _with_normals(_cluster(mesh, max_triangles))
    return slim


def _split_by_material(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertex, material) of every split vertex and triangles into them, so that each vertex has one material."""
    count = len(mesh.materials)
    pair = mesh.triangles.astype(np.int64) * count + mesh.face_materials[:, None]
    pairs, inverse = np.unique(pair, return_inverse=True)
    return pairs // count, (pairs % count).astype(np.int32), inverse.reshape(-1, 3).astype(np.uint32)


def _collapse(mesh: Mesh, max_triangles: int, error: float) -> Mesh:
    vertices, materials, triangles = _split_by_material(mesh)
    extent = max(float(np.ptp(mesh.positions, axis=0).max()), 1e-6)
    positions = np.ascontiguousarray(mesh.positions[vertices], np.float32)
    uv_range = np.maximum(np.ptp(mesh.uvs, axis=0).max(), 1e-6)
    attributes = np.ascontiguousarray(
        np.concatenate([mesh.normals[vertices], mesh.uvs[vertices] / uv_range, materials[:, None]], axis=1), np.float32
    )
    weights = np.array([0.3, 0.3, 0.3, 0.5, 0.5, 0.0], np.float32)
    kept = _call(positions / extent, attributes, weights, triangles, max_triangles, error)
    return _subset(mesh, vertices, materials, kept)


def _call(positions, attributes, weights, triangles, max_triangles: int, error: float) -> np.ndarray:
    from meshoptimizer._loader import lib  # an extra: only the pack writer imports it

    function = lib.meshopt_simplifyWithAttributes
    array, size = ctypes.c_void_p, ctypes.c_size_t
    function.argtypes = [array, array, size, array, size, size, array, size, array, size, array, size]
    function.argtypes += [ctypes.c_float, ctypes.c_uint, array]
    function.restype = size
    out = np.empty(triangles.size, np.uint32)
    count = function(
        out.ctypes.data, triangles.ctypes.data, triangles.size, positions.ctypes.data, len(positions), 12,
        attributes.ctypes.data, attributes.strides[0], weights.ctypes.data, len(weights), None,
        3 * max_triangles, error, _PRUNE, None,
    )  # fmt: skip
    return out[:count].reshape(-1, 3)


def _cluster(mesh: Mesh, max_triangles: int) -> Mesh:
    """Snap vertices to the finest grid that leaves few enough triangles; small loose parts vanish."""
    vertices, materials, triangles = _split_by_material(mesh)
    low, extent = mesh.positions.min(axis=0), max(float(np.ptp(mesh.positions, axis=0).max()), 1e-6)
    coarse, fine, best = 4.0, 4096.0, triangles[:0]
    for _ in range(12):
        cells = (coarse * fine) ** 0.5
        grid = np.rint((mesh.positions[vertices] - low) / extent * cells).astype(np.int64)
        code = ((grid[:, 0] * 8192 + grid[:, 1]) * 8192 + grid[:, 2]) * len(mesh.materials) + materials
        _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
        snapped = first[inverse][triangles]
        a, b, c = snapped.T
        snapped = snapped[(a != b) & (b != c) & (a != c)]
        snapped = snapped[np.unique(np.sort(snapped, axis=1), axis=0, return_index=True)[1]]
        if len(snapped) <= max_triangles:
            coarse, best = cells, snapped
        else:
            fine = cells
    return _subset(mesh, vertices, materials, best)


def _subset(mesh: Mesh, vertices: np.ndarray, materials: np.ndarray, triangles: np.ndarray) -> Mesh:
    source = vertices[triangles]
    return indexed_mesh(
        mesh.positions[source], mesh.normals[source], mesh.uvs[source], materials[triangles[:, 0]], mesh.materials
    )


def _with_normals(mesh: Mesh) -> Mesh:
    normals = crease_normals(mesh.positions, mesh.triangles)
    corners = mesh.triangles
    return indexed_mesh(mesh.positions[corners], normals, mesh.uvs[corners], mesh.face_materials, mesh.materials)
