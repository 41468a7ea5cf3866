"""Bundle adjustment: poses and points together, so that points appear where they were seen.

Gauss-Newton with damping (Levenberg-Marquardt); points are eliminated first (Schur complement), which leaves six
unknowns a frame. Points keep a weak tie to where depth had put them, since short baselines say little about depth.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lyra.scene.rotations import quat_to_matrix

_STEPS, _HUBER = 12, 1.0  # pixels
_TIE = 1.0  # pixels of error that a change of a point by its own depth is worth; 20 held poses to wrong depth


@dataclass(frozen=True, eq=False)
class Observations:
    """m sightings: in which frame, of which point, at which place (x, y) in pixels."""

    frame: Int64[Tensor, " m"]
    point: Int64[Tensor, " m"]
    place: Float[Tensor, "m 2"]


def adjust(
    poses: Float[Tensor, "t 4 4"], points: Float[Tensor, "n 3"], seen: Observations, K: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "t 4 4"], Float[Tensor, "n 3"]]:
    """World-to-camera poses and points (float64) with less error; the first pose stays, and so does the scale."""
    K, start = K.double(), points.clone()
    tie = _TIE / (points @ poses[0, 2, :3] + poses[0, 2, 3]).abs().clamp_min(1e-6)
    damping, error = 1e-4, _cost(poses, points, seen, K, start, tie)
    for _ in range(_STEPS):
        moves, shifts = _step(poses, points, seen, K, (start, tie), damping)
        trial = _moved(poses, moves), points + shifts
        found = _cost(*trial, seen, K, start, tie)
        if found < error:
            done = error - found < 1e-6 * error
            (poses, points), error, damping = trial, found, damping / 5
            if done:
                break
        else:
            damping *= 10
    return _at_scale(poses, points, start)


def _at_scale(poses: Tensor, points: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The world about its first camera at the scale that its points had at the start: weak ties let it drift."""
    turn, shift = poses[0, :3, :3], poses[0, :3, 3]
    before, after = (places @ turn[2] + shift[2] for places in (start, points))
    factor = (before / after)[(before > 0) & (after > 0)].median()
    if not bool(factor.isfinite()):
        return poses, points
    center = -turn.T @ shift
    scaled = poses.clone()
    scaled[:, :3, 3] = factor * poses[:, :3, 3] - (1 - factor) * (poses[:, :3, :3] @ center)
    return scaled, center + factor * (points - center)


def _residuals(poses: Tensor, points: Tensor, seen: Observations, K: Tensor) -> tuple[Tensor, Tensor]:
    """Errors in pixels [m, 2], and the points in the axes of the cameras that saw them [m, 3]."""
    pose = poses[seen.frame]
    camera = (pose[:, :3, :3] @ points[seen.point, :, None])[..., 0] + pose[:, :3, 3]
    pixels = camera @ K.T
    return pixels[:, :2] / pixels[:, 2:].clamp_min(1e-6) - seen.place, camera


def _weights(error: Tensor) -> Tensor:
    """Huber's weight of each sighting."""
    return (_HUBER / error.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)


def _cost(poses: Tensor, points: Tensor, seen: Observations, K: Tensor, start: Tensor, tie: Tensor) -> float:
    size = _residuals(poses, points, seen, K)[0].norm(dim=-1)
    huber = torch.where(size < _HUBER, 0.5 * size.square(), _HUBER * (size - 0.5 * _HUBER))
    return float(huber.sum() + 0.5 * ((points - start) * tie[:, None]).square().sum())


def _step(
    poses: Tensor, points: Tensor, seen: Observations, K: Tensor, prior: tuple[Tensor, Tensor], damping: float
) -> tuple[Tensor, Tensor]:
    """Changes of the poses [t, 6] (turn, shift in camera axes) and of the points [n, 3]."""
    error, camera = _residuals(poses, points, seen, K)
    weight = _weights(error)[:, None, None]
    x, y, z = camera.unbind(-1)
    z = z.clamp_min(1e-6)
    zero = torch.zeros_like(z)
    lens = torch.stack(
        [torch.stack([K[0, 0] / z, zero, -K[0, 0] * x / z**2], -1),
         torch.stack([zero, K[1, 1] / z, -K[1, 1] * y / z**2], -1)], -2
    )  # fmt: skip
    cross = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).unflatten(-1, (3, 3))  # d (turn x p) / d turn
    by_pose = lens @ torch.cat([cross, torch.eye(3).to(cross).expand(len(z), 3, 3)], -1)
    by_point = lens @ poses[seen.frame, :3, :3]
    return _solve(by_pose, by_point, error[..., None], weight, (seen, points, prior, len(poses)), damping)


def _solve(
    by_pose: Tensor, by_point: Tensor, error: Tensor, weight: Tensor, problem: tuple, damping: float
) -> tuple[Tensor, Tensor]:
    """The normal equations, points eliminated."""
    seen, points, (start, tie), frames = problem
    count = len(points)
    turned, moved = (weight * by_pose).mT, (weight * by_point).mT
    A = torch.zeros(frames, 6, 6).to(points).index_add_(0, seen.frame, turned @ by_pose)
    a = torch.zeros(frames, 6, 1).to(points).index_add_(0, seen.frame, turned @ error)
    eye = torch.eye(3).to(points)
    B = torch.zeros(count, 3, 3).to(points).index_add_(0, seen.point, moved @ by_point)
    B = B + (tie.square()[:, None, None] + 1e-9) * eye
    B = B + damping * B.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * eye
    b = torch.zeros(count, 3, 1).to(points).index_add_(0, seen.point, moved @ error)
    b = b + (tie.square()[:, None] * (points - start))[..., None]
    C = torch.zeros(frames * count, 6, 3).to(points)  # sightings of one point in one frame add up
    C = C.index_add_(0, seen.frame * count + seen.point, turned @ by_point).unflatten(0, (frames, count))
    inverse = torch.linalg.inv(B)
    CB = C @ inverse
    whole = torch.zeros(frames, 6, frames, 6).to(points)
    whole -= torch.einsum("fnij,gnkj->figk", CB, C)
    place = torch.arange(frames)
    whole[place, :, place] += A + damping * torch.diag_embed(A.diagonal(dim1=-2, dim2=-1))
    side = a[..., 0] - torch.einsum("fnij,nj->fi", CB, b[..., 0])
    system = whole.flatten(2).flatten(0, 1)[6:, 6:]
    ridge = 1e-9 * system.diagonal().abs().mean().clamp_min(1e-12) * torch.eye(len(system)).to(system)
    moves = torch.zeros(frames, 6).to(points)
    moves[1:] = -torch.linalg.solve(system + ridge, side.flatten()[6:]).unflatten(0, (frames - 1, 6))
    shifts = -(inverse @ (b + torch.einsum("fnij,fi->nj", C, moves)[..., None]))[..., 0]
    return moves, shifts


def _moved(poses: Tensor, moves: Float[Tensor, "t 6"]) -> Float[Tensor, "t 4 4"]:
    """Poses after a turn and a shift in camera axes."""
    turn, shift = moves.split(3, -1)
    angle = turn.norm(dim=-1, keepdim=True)
    half = torch.where(angle > 1e-12, (angle / 2).sin() / angle.clamp_min(1e-12), 0.5)
    rotation = quat_to_matrix(torch.cat([(angle / 2).cos(), half * turn], -1))
    made = poses.clone()
    made[:, :3, :3] = rotation @ poses[:, :3, :3]
    made[:, :3, 3] = (rotation @ poses[:, :3, 3, None])[..., 0] + shift
    return made
