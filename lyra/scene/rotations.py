"""Rotations: unit quaternions (w, x, y, z), 3x3 matrices and rigid 4x4 transforms."""

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene.errors import require


def normalize(v: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """`v` over its length. A zero vector stays zero; one whose square underflows (1e-19 in float32) stays short."""
    return v / v.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny ** 0.5)


def quat_to_matrix(quats: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z), which are normalised first."""
    w, x, y, z = normalize(quats).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quat(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternions (w, x, y, z), w >= 0, of rotation matrices.

    All four candidate solutions are formed and the best conditioned one (largest component) is taken
    (Shepperd 1978), so that half turns are as accurate as small ones.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    candidates = torch.stack([
        torch.stack([1 + xx + yy + zz, wx, wy, wz], -1),
        torch.stack([wx, 1 + xx - yy - zz, xy, xz], -1),
        torch.stack([wy, xy, 1 - xx + yy - zz, yz], -1),
        torch.stack([wz, xz, yz, 1 - xx - yy + zz], -1),
    ], -2)  # fmt: skip
    best = torch.diagonal(candidates, dim1=-2, dim2=-1).argmax(-1)
    quats = normalize(torch.take_along_dim(candidates, best[..., None, None], -2).squeeze(-2))
    return torch.where(quats[..., :1] < 0, -quats, quats)


def quat_multiply(a: Float[Tensor, "*b 4"], b: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Hamilton product: first rotate by `b`, then by `a`."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack([
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ], -1)  # fmt: skip


def slerp(a: Float[Tensor, "*b 4"], b: Float[Tensor, "*b 4"], s: Float[Tensor, "*b"]) -> Float[Tensor, "*b 4"]:
    """Spherical interpolation of unit quaternions along the shorter arc, s = 0 at `a`, 1 at `b` (Shoemake 1985)."""
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))  # acos has no slope
    s = s[..., None]
    near = angle < 1e-4  # here sin(angle) is lost in rounding and a straight line is exact enough
    sine = torch.where(near, torch.ones_like(angle), angle.sin())
    from_a = torch.where(near, 1 - s, ((1 - s) * angle).sin() / sine)
    from_b = torch.where(near, s, (s * angle).sin() / sine)
    return normalize(from_a * a + from_b * b)


def invert_rigid(matrix: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """Inverse of rigid transforms: (R, t) -> (R^T, -R^T t)."""
    rotation_t = matrix[..., :3, :3].transpose(-1, -2)
    return compose(rotation_t, -(rotation_t @ matrix[..., :3, 3:]).squeeze(-1))


def compose(rotation: Float[Tensor, "*b 3 3"], translation: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """The rigid 4x4 transform x -> R x + t."""
    top = torch.cat([rotation, translation[..., None]], -1)
    bottom = torch.tensor([0.0, 0, 0, 1], dtype=top.dtype, device=top.device).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def transform_points(matrix: Float[Tensor, "*b 4 4"], points: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b n 3"]:
    """Apply affine transforms to n points each."""
    return points @ matrix[..., :3, :3].transpose(-1, -2) + matrix[..., None, :3, 3]


def look_at(
    eye: Float[Tensor, "*#b 3"], target: Float[Tensor, "*#b 3"], down: Float[Tensor, "*#b 3"]
) -> Float[Tensor, "*#b 4 4"]:
    """Camera-to-world poses at `eye` looking at `target`, OpenCV axes (+x right, +y down, +z forward).

    `down` is the world direction that should appear as down in the image, (0, 1, 0) in our world frame. Where it is
    parallel to the line of sight, the world axis least parallel to that line takes its place. The arguments broadcast.
    """
    forward = normalize(target - eye)
    aligned = torch.linalg.cross(down.expand_as(forward), forward).norm(dim=-1, keepdim=True) < 1e-6
    spare = torch.nn.functional.one_hot(forward.abs().argmin(-1), 3).to(forward.dtype)
    down = torch.where(aligned, spare, down.expand_as(forward))
    right = normalize(torch.linalg.cross(down, forward))
    return compose(torch.stack([right, torch.linalg.cross(forward, right), forward], -1), eye.expand_as(forward))


def split_similarity(matrix: Float[Tensor, "4 4"]) -> tuple[Float[Tensor, ""], Float[Tensor, "3 3"]]:
    """Uniform scale and rotation of a similarity transform; anything else is an InputError."""
    linear = matrix[:3, :3]
    scale = torch.linalg.det(linear.double()).to(linear.dtype).abs().pow(1 / 3)
    rotation = linear / scale
    unit = torch.eye(3, dtype=linear.dtype, device=linear.device)
    good = bool(matrix.isfinite().all()) and bool(scale > 0) and float(torch.linalg.det(rotation.double())) > 0
    require(
        good and float((rotation @ rotation.T - unit).abs().max()) < 1e-3,
        "the transform must be a rotation, one uniform positive scale and a translation (no mirror, shear or stretch)",
    )
    return scale, rotation
