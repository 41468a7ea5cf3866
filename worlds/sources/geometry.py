"""Triangle geometry shared by the parsers: polygons to triangles, normals, welding."""

import numpy as np

from worlds.scene import Material, Mesh


def triangulate(positions: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Split polygons into triangles, returning rows of three indices into `corners` (i64 [t, 3]) and their polygon.

    `corners` i64 [c] are vertex numbers of all polygons, one after the other; `sizes` i64 [p] corners a polygon.
    Convex polygons become fans, the others are clipped ear by ear (a fan would cover the hollows of window frames).
    The result is i64 [t, 4]: three positions in `corners`, then the polygon's number.
    """
    starts = np.cumsum(sizes) - sizes
    rows = []
    for size in np.unique(sizes):
        if size < 3:
            continue
        polygons = np.flatnonzero(sizes == size)
        slots = starts[polygons, None] + np.arange(size)
        concave = _concave(positions[corners[slots]]) if size > 3 else np.zeros(len(polygons), bool)
        fans = slots[~concave]
        for k in range(1, size - 1):
            rows.append(np.column_stack([fans[:, 0], fans[:, k], fans[:, k + 1], polygons[~concave]]))
        for polygon, slot in zip(polygons[concave], slots[concave], strict=True):
            ears = clip_ears(positions[corners[slot]])
            rows.append(np.column_stack([slot[ears], np.full(len(ears), polygon)]))
    merged = np.concatenate(rows) if rows else np.zeros((0, 4), np.int64)
    return merged[np.argsort(merged[:, 3], kind="stable")]


def _concave(outline: np.ndarray) -> np.ndarray:
    """True for the polygons of `outline` f [p, n, 3] with a corner that turns against the others."""
    ahead = np.roll(outline, -1, axis=1) - outline
    turns = np.cross(np.roll(ahead, 1, axis=1), ahead)
    normal = np.cross(outline, np.roll(outline, -1, axis=1)).sum(axis=1, keepdims=True)
    area = np.linalg.norm(normal, axis=2)
    return ((turns * normal).sum(axis=2) < -1e-4 * area**2).any(axis=1)


def clip_ears(outline: np.ndarray) -> np.ndarray:
    """Triangles i64 [n - 2, 3] of one simple polygon f [n, 3] (Meisters, "Polygons have ears", 1975)."""
    normal = np.cross(outline, np.roll(outline, -1, axis=0)).sum(axis=0)
    axis = int(np.argmax(np.abs(normal)))
    flat = np.delete(outline, axis, axis=1)
    if (normal[axis] < 0) != (axis == 1):
        flat = flat[:, ::-1]
    left = list(range(len(flat)))
    triangles = []
    while len(left) > 3:
        ear = _ear(flat, left)
        triangles.append((left[ear - 1], left[ear], left[(ear + 1) % len(left)]))
        del left[ear]
    return np.array([*triangles, tuple(left)], np.int64)


def _ear(flat: np.ndarray, left: list[int]) -> int:
    """The position in `left` of a corner whose triangle holds no other corner (0 if rounding leaves none)."""
    for k in range(len(left)):
        a, b, c = flat[left[k - 1]], flat[left[k]], flat[left[(k + 1) % len(left)]]
        if _side(a, b, c) <= 0:
            continue
        others = flat[[n for n in left if not (np.array_equal(flat[n], a) or np.array_equal(flat[n], b))]]
        others = others[(others != c).any(axis=1)]
        inside = (_side(a, b, others) >= 0) & (_side(b, c, others) >= 0) & (_side(c, a, others) >= 0)
        if not inside.any():
            return k
    return 0


def _side(a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (b[0] - a[0]) * (p[..., 1] - a[1]) - (b[1] - a[1]) * (p[..., 0] - a[0])


def face_normals(positions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals f64 [f, 3] of length twice the area."""
    a, b, c = (positions[triangles[:, k]].astype(np.float64) for k in range(3))
    return np.cross(b - a, c - a)


def crease_normals(positions: np.ndarray, triangles: np.ndarray, crease_degrees: float = 45.0) -> np.ndarray:
    """A unit normal for every corner, f32 [f, 3, 3]: the area-weighted mean over the faces at the same place whose
    normals are within `crease_degrees` of the corner's own face."""
    _, place = unique_rows(np.round(positions, 6))
    area = face_normals(positions, triangles)
    unit = _normalised(area)
    at = place[triangles.reshape(-1)]
    order = np.argsort(at, kind="stable")
    face = order // 3
    starts = np.flatnonzero(np.diff(at[order], prepend=-1))
    valence = np.diff(starts, append=len(order))
    group = np.repeat(np.arange(len(starts)), valence)
    total = np.zeros((len(order), 3))
    limit = np.cos(np.radians(crease_degrees))
    index = np.arange(len(order))
    # Fans of more than 64 faces meet in round tips and disc centres, where neighbours 64 apart hardly matter.
    for shift in range(min(int(valence.max(initial=0)), 64)):
        live = index[shift < valence[group]]
        other = starts[group[live]] + (live - starts[group[live]] + shift) % valence[group[live]]
        close = (unit[face[live]] * unit[face[other]]).sum(axis=1) >= limit
        total[live[close]] += area[face[other[close]]]
    normals = np.empty_like(total)
    normals[order] = _normalised(total)
    return normals.reshape(-1, 3, 3).astype(np.float32)


def unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, inverse) of the distinct rows of f [n, k]: rows[first][inverse] equals rows. Much faster than np.unique
    along an axis: rows are compared by a 64-bit mixing hash (equal hashes of different rows: 1 in 10**6 at 10**7 rows).
    """
    bits = np.ascontiguousarray(rows.astype(np.float32) + 0.0).view(np.uint32).astype(np.uint64)
    code = np.zeros(len(rows), np.uint64)
    for column in bits.T:
        code = (code ^ column) * np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return first, inverse


def _normalised(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-20, vectors / np.maximum(length, 1e-20), (0.0, 1.0, 0.0))


def indexed_mesh(
    positions: np.ndarray,
    normals: np.ndarray,
    uvs: np.ndarray,
    face_materials: np.ndarray,
    materials: tuple[Material, ...],
) -> Mesh:
    """A mesh from corner arrays f [f, 3, 3], [f, 3, 3], [f, 3, 2]: equal corners become one vertex, faces without area
    are left out, materials nobody uses too."""
    solid = (
        np.linalg.norm(np.cross(positions[:, 1] - positions[:, 0], positions[:, 2] - positions[:, 0]), axis=1) > 1e-12
    )
    used, face_materials = np.unique(face_materials[solid], return_inverse=True)
    corners = np.concatenate([positions[solid], normals[solid], uvs[solid]], axis=2).reshape(-1, 8).astype(np.float32)
    keyed = np.column_stack([np.round(corners, 5), np.repeat(face_materials, 3).astype(np.float32)])
    first, inverse = unique_rows(keyed)
    vertices = corners[first]
    return Mesh(
        positions=np.ascontiguousarray(vertices[:, :3]),
        normals=np.ascontiguousarray(vertices[:, 3:6]),
        uvs=np.ascontiguousarray(vertices[:, 6:]),
        triangles=inverse.reshape(-1, 3).astype(np.int32),
        face_materials=face_materials.astype(np.int32),
        materials=tuple(materials[number] for number in used),
    )
