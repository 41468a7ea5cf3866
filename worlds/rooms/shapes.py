"""Small meshes made of code: quads, boxes, grids with holes, folded curtains, lathes."""

from itertools import pairwise

import numpy as np

from worlds.scene import Material, Mesh


def quads(corners: np.ndarray, uvs: np.ndarray, material: Material) -> Mesh:
    """A mesh of quads: corners f64 [n, 4, 3] counter-clockwise seen from the front, uvs [n, 4, 2]."""
    corners = np.asarray(corners, np.float32)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    count = len(corners)
    first = 4 * np.arange(count, dtype=np.int32)[:, None]
    triangles = np.concatenate([first + np.array([[0, 1, 2]]), first + np.array([[0, 2, 3]])], axis=1).reshape(-1, 3)
    return Mesh(
        positions=corners.reshape(-1, 3),
        normals=np.repeat(normal, 4, axis=0).astype(np.float32),
        uvs=np.asarray(uvs, np.float32).reshape(-1, 2),
        triangles=triangles.astype(np.int32),
        face_materials=np.zeros(2 * count, np.int32),
        materials=(material,),
    )


def merge(meshes: list[Mesh]) -> Mesh:
    """One mesh of several; materials are kept side by side."""
    vertex = np.cumsum([0] + [len(m.positions) for m in meshes])
    kinds = np.cumsum([0] + [len(m.materials) for m in meshes])
    return Mesh(
        positions=np.concatenate([m.positions for m in meshes]),
        normals=np.concatenate([m.normals for m in meshes]),
        uvs=np.concatenate([m.uvs for m in meshes]),
        triangles=np.concatenate([m.triangles + v for m, v in zip(meshes, vertex, strict=False)]).astype(np.int32),
        face_materials=np.concatenate([m.face_materials + k for m, k in zip(meshes, kinds, strict=False)]).astype(
            np.int32
        ),
        materials=tuple(material for m in meshes for material in m.materials),
    )


# The six faces of the unit cube as corner signs, counter-clockwise from outside, with the axes of their texture.
_FACES = (
    (((1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, 1)), (2, 1)),
    (((-1, -1, 1), (-1, 1, 1), (-1, 1, -1), (-1, -1, -1)), (2, 1)),
    (((-1, 1, -1), (-1, 1, 1), (1, 1, 1), (1, 1, -1)), (0, 2)),
    (((-1, -1, 1), (-1, -1, -1), (1, -1, -1), (1, -1, 1)), (0, 2)),
    (((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)), (0, 1)),
    (((1, -1, -1), (-1, -1, -1), (-1, 1, -1), (1, 1, -1)), (0, 1)),
)


def box(centre: tuple[float, float, float], size: tuple[float, float, float], material: Material) -> Mesh:
    """A box of `size` (m) around `centre`; one texture repeat a metre."""
    half, middle = 0.5 * np.asarray(size), np.asarray(centre)
    corners = np.stack([middle + half * np.asarray(signs) for signs, _ in _FACES])
    uvs = np.stack([corners[i][:, list(axes)] for i, (_, axes) in enumerate(_FACES)])
    return quads(corners, uvs * np.array([1.0, -1.0]), material)


def sheet(
    origin: np.ndarray,
    right: np.ndarray,
    up: np.ndarray,
    size: tuple[float, float],
    holes: list,
    material: Material,
    repeat: float = 1.0,
) -> Mesh:
    """A flat wall from `origin` along unit vectors `right` and `up`, size (m), with rectangular holes (u0, u1, v0, v1).

    The front looks along right x up. All cells between all cut lines are made, so no T-junction lets light through.
    `repeat` metres are one repeat of the texture.
    """
    cuts_u = sorted({0.0, size[0], *(h[0] for h in holes), *(h[1] for h in holes)})
    cuts_v = sorted({0.0, size[1], *(h[2] for h in holes), *(h[3] for h in holes)})
    corners, uvs = [], []
    for u0, u1 in pairwise(cuts_u):
        for v0, v1 in pairwise(cuts_v):
            u, v = 0.5 * (u0 + u1), 0.5 * (v0 + v1)
            if any(h[0] < u < h[1] and h[2] < v < h[3] for h in holes):
                continue
            ring = ((u0, v0), (u1, v0), (u1, v1), (u0, v1))
            corners.append([origin + right * a + up * b for a, b in ring])
            uvs.append([(a / repeat, -b / repeat) for a, b in ring])
    return quads(np.array(corners), np.array(uvs), material)


def curtain(width: float, height: float, material: Material, folds: int = 7) -> Mesh:
    """A hanging curtain in the x-y plane, bottom at y = 0, x centred, folded along z."""
    steps = 6 * folds
    x = np.linspace(-0.5 * width, 0.5 * width, steps + 1)
    z = 0.035 * np.sin(np.linspace(0.0, 2.0 * np.pi * folds, steps + 1))
    low = np.stack([x, np.zeros_like(x), z], axis=-1)
    high = low + np.array([0.0, height, 0.0])
    corners = np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)
    return quads(corners, corners[..., :2] * np.array([1.0, -1.0]), material)


def lathe(profile: list[tuple[float, float]], material: Material, sides: int = 14) -> Mesh:
    """A body of revolution around y: profile of (radius, y) from bottom to top."""
    angle = np.linspace(0.0, 2.0 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    radius, y = np.array(profile, np.float64).T
    points = np.stack(
        [radius[:, None] * ring[None, :, 0], np.repeat(y[:, None], sides + 1, 1), -radius[:, None] * ring[None, :, 1]],
        axis=-1,
    )
    corners = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=2).reshape(-1, 4, 3)
    # Rings of radius 0 give quads with a doubled corner: keep the normal from the other diagonal's corner.
    flat = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=-1) < 1e-9
    corners[flat] = np.roll(corners[flat], -2, axis=1)
    return quads(corners, corners[..., :2], material)


def rotation_y(angle: float) -> np.ndarray:
    """f64 [4, 4]: turns the front +z towards (sin angle, 0, cos angle)."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 2], matrix[2, 0], matrix[2, 2] = cos, sin, -sin, cos
    return matrix


def place(x: float, y: float, z: float, angle: float = 0.0) -> np.ndarray:
    """f64 [4, 4]: turn by `angle` around y, then move to (x, y, z)."""
    matrix = rotation_y(angle)
    matrix[:3, 3] = (x, y, z)
    return matrix
