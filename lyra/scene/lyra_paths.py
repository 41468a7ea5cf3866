"""The camera paths of the Lyra paper, exactly as its data were made.

A path moves the camera by offsets p_i in the axes of the start camera while it faces the point (0, 0, depth). The view
matrix is [R_i | -p_i], not [R_i | -R_i p_i]: the true camera centre is R_i^T p_i, a small arc instead of a line. The
released networks were trained with these matrices, so the quirk is kept. Straight paths stop one step short of their
distance; the ellipse ends where it began.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import rotations
from lyra.scene.errors import require

_AXES = {
    "left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0),
    "zoom_in": (0, 0, 1), "zoom_out": (0, 0, -1),
}  # fmt: skip
_SPIRALS = {"clockwise": 1.0, "counterclockwise": -1.0}
KINDS = (*_AXES, *_SPIRALS)
# Where a camera at p looks, as target + factor * p: at the centre, straight ahead, or along with the motion.
ROTATIONS = {"center_facing": 0.0, "no_rotation": 1.0, "trajectory_aligned": 2.0}


@dataclass(frozen=True)
class LyraPath:
    """One of the paper's paths: kind, distance and, for the ellipse, its radii (as factors of distance) and rounds."""

    kind: str
    distance: float
    radius_x_factor: float = 0.15
    radius_y_factor: float = 0.1
    num_circles: int = 2

    def __post_init__(self) -> None:
        require(self.kind in KINDS, f"unknown path {self.kind!r}; choose one of {', '.join(KINDS)}")

    def offsets(self, frames: int) -> Float[Tensor, "t 3"]:
        """The p_i in shares of the depth, float64."""
        require(frames >= 1, f"a camera path needs at least 1 frame, got {frames}")
        index = torch.arange(frames, dtype=torch.float64)
        if self.kind in _AXES:
            axis = torch.tensor(_AXES[self.kind], dtype=torch.float64)
            return (index * self.distance / frames)[:, None] * axis
        angle = 2 * math.pi * self.num_circles * index / max(frames - 1, 1)
        x = self.distance * self.radius_x_factor * (torch.cos(angle) - 1) * _SPIRALS[self.kind]
        y = self.distance * self.radius_y_factor * torch.sin(angle)
        return torch.stack([x, y, torch.zeros_like(x)], -1)

    def poses(self, frames: int, depth: float = 1.0, rotation: str = "center_facing") -> Float[Tensor, "t 4 4"]:
        """Poses relative to the start camera (its axes), float64; see the module for the quirk in the translation."""
        require(rotation in ROTATIONS, f"unknown rotation {rotation!r}; choose one of {', '.join(ROTATIONS)}")
        eye = self.offsets(frames) * depth
        target, down = torch.tensor([[0.0, 0.0, depth], [0.0, 1.0, 0.0]], dtype=torch.float64)
        facing = rotations.look_at(eye, target + ROTATIONS[rotation] * eye, down)[:, :3, :3]
        return rotations.compose(facing, (facing @ eye[..., None]).squeeze(-1))


# The set that one scene is made from: (kind, nearest and farthest distance), in the order of the data folders 0 to 5.
LYRA_SET = (
    ("left", 0.2, 0.3), ("right", 0.2, 0.3), ("up", 0.1, 0.2), ("zoom_out", 0.3, 0.4), ("zoom_in", 0.3, 0.4),
    ("clockwise", 0.4, 0.6),
)  # fmt: skip
STUDENT_ORDER = (5, 0, 1, 2, 3, 4)  # the order in which the decoder receives the six
_USUAL = {kind: (near + far) / 2 for kind, near, far in LYRA_SET} | {"down": 0.15, "counterclockwise": 0.5}


def lyra_set(draws: Float[Tensor, "6"] | None = None, factor: float = 1.0) -> list[LyraPath]:
    """The six paths of a scene in folder order.

    `draws` in [0, 1] places each distance within its range (None: the middle); draw them with
    `torch.rand(6, generator=...)`. `factor` scales all distances. Cameras: `follow(start, path.poses(frames, depth))`.
    """
    draws = torch.full((6,), 0.5) if draws is None else draws
    require(bool(((draws >= 0) & (draws <= 1)).all()), "the six draws must lie in [0, 1]")
    return [
        LyraPath(kind, (near + (far - near) * float(draw)) * factor)
        for (kind, near, far), draw in zip(LYRA_SET, draws, strict=True)
    ]


def usual_poses(kind: str, frames: int, depth: float, amount: float = 1.0) -> Float[Tensor, "t 4 4"]:
    """One path at `amount` times the middle of its range of distances."""
    return LyraPath(kind, _USUAL[kind] * amount).poses(frames, depth)


def tour(frames: int, depth: float, amount: float = 1.0) -> Float[Tensor, "t 4 4"]:
    """The six paths one after the other in the decoder's order; earlier ones take the frames left over."""
    share, rest = divmod(frames, len(LYRA_SET))
    parts = [
        usual_poses(LYRA_SET[folder][0], share + (place < rest), depth, amount)
        for place, folder in enumerate(STUDENT_ORDER)
        if share + (place < rest) > 0
    ]
    return torch.cat(parts)
