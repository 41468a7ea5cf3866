"""The six camera trajectories of the method, from one common first frame (arXiv 2509.19296, multi-trajectory set).

World-to-camera of frame i is `view_i @ w2c_first`: `view_i` looks from the offset p_i at the point
(0, 0, center_depth) of the first camera. Like the published generator, the translation column of `view_i` is -p_i
and not -R p_i, so the true camera centre is R^T p_i: a small arc. The same matrices are what the method saves.
"""

from dataclasses import dataclass

import numpy as np

LINEAR_AXES = {
    "left": (-1.0, 0.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "zoom_in": (0.0, 0.0, 1.0),
    "zoom_out": (0.0, 0.0, -1.0),
}
SPIRAL_SIGNS = {"clockwise": 1.0, "counterclockwise": -1.0}
SPIRAL_RADII = (0.15, 0.10)  # share of the distance along x and y, multi-trajectory set
SPIRAL_CIRCLES = 2


@dataclass(frozen=True)
class SixPath:
    """One trajectory of the set: its kind and the range its distance is drawn from (shares of center_depth)."""

    kind: str
    low: float
    high: float


# Folder order of the method's data: the index is the folder name.
SIX = (
    SixPath("left", 0.2, 0.3),
    SixPath("right", 0.2, 0.3),
    SixPath("up", 0.1, 0.2),
    SixPath("zoom_out", 0.3, 0.4),
    SixPath("zoom_in", 0.3, 0.4),
    SixPath("clockwise", 0.4, 0.6),
)


def offsets(kind: str, distance: float, center_depth: float, count: int) -> np.ndarray:
    """Offsets p_i f64 [count, 3] in first-camera axes (x right, y down, z forward), in the unit of center_depth.

    Linear: i * distance * center_depth / count (the end point is not reached). Spiral: angle
    2 pi circles i / (count - 1) on an ellipse through the origin.
    """
    index = np.arange(count, dtype=np.float64)
    if kind in LINEAR_AXES:
        return (index * distance * center_depth / count)[:, None] * np.asarray(LINEAR_AXES[kind])
    theta = 2.0 * np.pi * SPIRAL_CIRCLES * index / max(count - 1, 1)
    radius_x, radius_y = (distance * radius * center_depth for radius in SPIRAL_RADII)
    sign = SPIRAL_SIGNS[kind]
    return np.stack([sign * radius_x * (np.cos(theta) - 1.0), radius_y * np.sin(theta), np.zeros_like(theta)], axis=-1)


def views(kind: str, distance: float, center_depth: float, count: int) -> np.ndarray:
    """View matrices f64 [count, 4, 4] relative to the first camera, center-facing."""
    position = offsets(kind, distance, center_depth, count)
    forward = np.array([0.0, 0.0, center_depth]) - position
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    up = np.cross(forward, right)
    matrix = np.tile(np.eye(4), (count, 1, 1))
    matrix[:, :3, :3] = np.stack([right, up, forward], axis=-2)
    matrix[:, :3, 3] = -position
    return matrix


def trajectory(first_c2w: np.ndarray, kind: str, distance: float, center_depth: float, count: int) -> np.ndarray:
    """Camera-to-world f64 [count, 4, 4] of one trajectory.

    first_c2w is [4, 4] (static: one first frame) or [count, 4, 4] (dynamic: the path is relative to a moving
    input camera, frame by frame).
    """
    return np.asarray(first_c2w, np.float64) @ np.linalg.inv(views(kind, distance, center_depth, count))
