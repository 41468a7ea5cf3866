"""Shadow maps: the sun's (orthographic, whole scene and around the cameras) and the lamps' (six faces each)."""

from dataclasses import dataclass

import moderngl
import numpy as np

from worlds.scene import Lamp

MAX_LAMPS = 8
LAMP_NEAR = 0.18  # m; what is nearer than this to a lamp (its own shade) casts no shadow
LAMP_FACE_SCALE = 0.96  # faces span a little more than 90 degrees, so that filters find texels beyond the seams
_FACE_AXES = np.asarray(  # rows: s, t, forward of the faces +x -x +y -y +z -z
    [
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[0, 1, 0], [0, 0, 1], [-1, 0, 0]],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        [[0, 0, 1], [1, 0, 0], [0, -1, 0]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
    ],
    np.float64,
)
TO_UNIT = np.asarray([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0, 0, 1.0]])  # [-1, 1]^3 -> [0, 1]^3


def depth_map(ctx: moderngl.Context, size: tuple[int, int]) -> tuple[moderngl.Texture, moderngl.Framebuffer]:
    """A depth texture with comparison lookups, cleared to far, and its framebuffer."""
    texture = ctx.depth_texture(size)
    texture.compare_func = "<="
    texture.filter = (moderngl.LINEAR, moderngl.LINEAR)
    texture.repeat_x = texture.repeat_y = False
    target = ctx.framebuffer(depth_attachment=texture)
    target.clear(depth=1.0)
    return texture, target


def sun_axes(direction: np.ndarray) -> np.ndarray:
    """An orthonormal frame f64 [3, 3] whose third row looks along the sunlight."""
    forward = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    side = np.cross(forward, [0.0, 0.0, 1.0] if abs(forward[1]) > 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(forward, side), forward])


def box_corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The 8 corners f64 [8, 3] of an axis-aligned box."""
    picks = np.indices((2, 2, 2)).reshape(3, 8).T
    return np.where(picks == 0, low, high)


@dataclass(frozen=True)
class SunView:
    """An orthographic view along the sun: `matrix` world -> clip; `width` m it spans (the wider side)."""

    matrix: np.ndarray
    width: float

    @staticmethod
    def of(axes: np.ndarray, points: np.ndarray, depth_points: np.ndarray) -> "SunView":
        """Covers `points` sideways and `depth_points` (all casters) in depth."""
        across, along = points @ axes[:2].T, depth_points @ axes[2]
        low, high = across.min(axis=0) - 0.05, across.max(axis=0) + 0.05
        near, far = along.min() - 0.1, along.max() + 0.1
        matrix = np.eye(4)
        matrix[:2, :3] = axes[:2] * (2 / (high - low))[:, None]
        matrix[:2, 3] = -(high + low) / (high - low)
        matrix[2, :3] = axes[2] * 2 / (far - near)
        matrix[2, 3] = -(far + near) / (far - near)
        return SunView(matrix, float((high - low).max()))


def lamp_matrices(lamp: Lamp) -> np.ndarray:
    """World -> clip of a lamp's six faces, f64 [6, 4, 4] (see lamp_lookup in light.glsl)."""
    far = lamp.reach
    out = np.zeros((6, 4, 4))
    for face, axes in enumerate(_FACE_AXES):
        view = np.eye(4)
        view[:3, :3] = axes
        view[:3, 3] = -axes @ np.asarray(lamp.position)
        lens = np.zeros((4, 4))
        lens[0, 0] = lens[1, 1] = LAMP_FACE_SCALE
        lens[2, 2], lens[2, 3] = (far + LAMP_NEAR) / (far - LAMP_NEAR), -2 * far * LAMP_NEAR / (far - LAMP_NEAR)
        lens[3, 2] = 1
        out[face] = lens @ view
    return out
