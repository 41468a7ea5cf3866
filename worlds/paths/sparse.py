"""Exact depth along a few rays of a camera, without a renderer: a rasteriser for a coarse grid of sample points."""

import numpy as np

NEAR = 0.02  # m
GRID = (32, 18)  # columns, rows


def sparse_depth(triangles: np.ndarray, c2w: np.ndarray, fov: float, aspect: float) -> np.ndarray:
    """Depth along the camera axis f64 [rows, columns] (m, sky inf) at the cell centres of a GRID over the image.

    triangles f32 [n, 3, 3] in world space; c2w f64 [4, 4], OpenCV axes; fov horizontal in degrees, aspect = width /
    height. Most triangles cover no sample at all, so the work is in the few (triangle, sample) pairs that are left.
    """
    columns, rows = GRID
    half = np.tan(np.radians(fov) / 2.0)
    local = (triangles - c2w[:3, 3].astype(np.float32)) @ c2w[:3, :3].astype(np.float32)
    x, y, z = (local[..., axis] for axis in range(3))
    wide, high = np.float32(half) * z, np.float32(half / aspect) * z
    sees = np.ones(len(local), bool)
    for side in (z - NEAR, wide - x, wide + x, high - y, high + y):  # none of it outside all in one direction
        sees &= np.maximum(np.maximum(side[:, 0], side[:, 1]), side[:, 2]) >= 0.0
    local, z = local[sees], z[sees]
    crossing = np.minimum(np.minimum(z[:, 0], z[:, 1]), z[:, 2]) <= NEAR
    # In units of cells; x of sample k is k.
    scale = (np.array([columns, rows * aspect]) / (2.0 * half)).astype(np.float32)
    centre = (0.5 * np.array([columns, rows]) - 0.5).astype(np.float32)
    whole = local[~crossing]
    screen = whole[..., :2] / whole[..., 2:] * scale + centre
    a, b, c = (screen[:, corner] for corner in range(3))
    first = np.clip(np.ceil(np.minimum(np.minimum(a, b), c)), 0, [columns, rows]).astype(np.int64)
    last = np.clip(np.floor(np.maximum(np.maximum(a, b), c)), -1, [columns - 1, rows - 1]).astype(np.int64)
    wide, high = np.maximum(last - first + 1, 0).T
    count = wide * high
    owner = np.repeat(np.arange(len(whole)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    sample = first[owner] + np.stack([step % np.maximum(wide[owner], 1), step // np.maximum(wide[owner], 1)], axis=-1)
    pairs = [(owner, sample, whole)]
    # Triangles through the camera plane may cover anything: test them against every sample.
    through = local[crossing]
    every = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    for low in range(0, len(through), 512):
        block = through[low : low + 512]
        pairs.append((np.repeat(np.arange(len(block)), len(every)), np.tile(every, (len(block), 1)), block))
    depth = np.full(rows * columns, np.inf)
    for owner, sample, faces in pairs:
        found = _along_rays(faces, owner, (sample - centre) / scale)
        np.minimum.at(depth, sample[:, 1] * columns + sample[:, 0], found)
    return depth.reshape(rows, columns)


def _along_rays(faces: np.ndarray, owner: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """z f64 [p] where the ray (x, y, 1) of each pair meets its face, inf where it does not."""
    a, b, c = (faces[owner, corner].astype(np.float64) for corner in range(3))
    ray = np.concatenate([directions, np.ones((len(directions), 1))], axis=1)
    # The ray meets the plane inside the face if it is on the same side of the three planes through the eye and an edge.
    sides = np.stack([np.einsum("pi,pi->p", ray, np.cross(*edge)) for edge in ((a, b), (b, c), (c, a))], axis=-1)
    inside = np.all(sides >= 0.0, axis=-1) | np.all(sides <= 0.0, axis=-1)
    normal = np.cross(b - a, c - a)
    facing = np.einsum("pi,pi->p", ray, normal)
    z = np.einsum("pi,pi->p", a, normal) / np.where(np.abs(facing) > 1e-12, facing, np.inf)
    return np.where(inside & (z > NEAR), z, np.inf)


def median_depth(triangles: np.ndarray, c2w: np.ndarray, fov: float, aspect: float) -> float:
    """Median depth (m) of what one camera sees, sky left out; inf if it sees nothing."""
    depth = sparse_depth(triangles, c2w, fov, aspect)
    finite = depth[np.isfinite(depth)]
    return float(np.median(finite)) if finite.size else float("inf")
