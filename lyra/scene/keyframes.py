"""A smooth camera path through key poses: Catmull-Rom positions and squad rotations."""

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import rotations
from lyra.scene.cameras import Cameras
from lyra.scene.errors import require

_FINE = 256  # steps a span when the length of the curve is measured


def spline(keys: Cameras, frames: int, *, loop: bool = False, constant_speed: bool = False) -> Cameras:
    """Cameras [frames] through the key cameras [k], k >= 1 (k >= 2 to loop); each key is met exactly at its time.

    Key times must rise; keys without times are one second apart. Frames are evenly spaced in time from the first key
    to the last; with `loop` the path returns to the first key one mean span after the last, and leaves out that
    last frame, which is the first again. `constant_speed` instead moves evenly along the curve (where it has a length)
    and keys are then met in order but not at their times. Lenses are blended linearly.

    Positions: cubic Hermite curve with Catmull-Rom tangents for uneven times. Rotations: squad (Shoemake 1987).
    Raises InputError on keys that are not one rising list.
    """
    require(len(keys.shape) == 1 and len(keys) >= 1, f"a spline needs a list of key cameras, got {list(keys.shape)}")
    require(frames >= 1, f"a camera path needs at least 1 frame, got {frames}")
    knots = torch.arange(len(keys)).double() if keys.times is None else keys.times.double()
    require(bool((knots.diff() > 0).all()), "the times of key cameras must rise from one key to the next")
    if len(keys) == 1:
        require(not loop, "a looping spline needs at least 2 key cameras, got 1")
        index = torch.zeros(frames, dtype=torch.long)
        return keys[index]
    if loop:
        knots = torch.cat([knots, knots[-1:] + (knots[-1] - knots[0]) / (len(knots) - 1)])
        keys = keys[torch.tensor([*range(len(keys)), 0])]
    share = torch.arange(frames, dtype=torch.float64) / (frames if loop else max(frames - 1, 1))
    times = knots[0] + share * (knots[-1] - knots[0])
    centers = keys.centers.double()
    sample = _even_times(centers, knots, share, loop) if constant_speed else times
    span, s = _locate(knots, sample)
    quats = _squad(_continuous(rotations.matrix_to_quat(keys.c2w[:, :3, :3].double())), span, s, loop)
    c2w = rotations.compose(rotations.quat_to_matrix(quats), _hermite(centers, knots, span, s, loop))
    K = torch.lerp(keys.K[span].double(), keys.K[span + 1].double(), s[:, None, None])
    like = keys.c2w
    return Cameras(c2w.to(like), K.to(like), keys.width, keys.height, times.to(like))


def _locate(knots: Float[Tensor, " k"], times: Float[Tensor, " t"]) -> tuple[Tensor, Float[Tensor, " t"]]:
    """The span of each time and its place in it, 0 to 1."""
    span = (torch.searchsorted(knots, times, right=True) - 1).clamp(0, len(knots) - 2)
    return span, ((times - knots[span]) / (knots[span + 1] - knots[span])).clamp(0, 1)


def _hermite(points: Float[Tensor, "k 3"], knots: Float[Tensor, " k"], span: Tensor, s: Tensor, loop: bool) -> Tensor:
    """Cubic Hermite curve; the tangent at a key is the mean of its two slopes, each weighted by the other span."""
    width = knots.diff()[:, None]
    slope = points.diff(dim=0) / width
    inner = (slope[:-1] * width[1:] + slope[1:] * width[:-1]) / (width[:-1] + width[1:])
    if loop:
        seam = (slope[-1] * width[0] + slope[0] * width[-1]) / (width[0] + width[-1])
        tangent = torch.cat([seam[None], inner, seam[None]])
    else:
        tangent = torch.cat([slope[:1], inner, slope[-1:]])
    s, h = s[:, None], width[span]
    s2, s3 = s * s, s * s * s
    start = (2 * s3 - 3 * s2 + 1) * points[span] + (s3 - 2 * s2 + s) * h * tangent[span]
    return start + (3 * s2 - 2 * s3) * points[span + 1] + (s3 - s2) * h * tangent[span + 1]


def _continuous(quats: Float[Tensor, "k 4"]) -> Float[Tensor, "k 4"]:
    """The same rotations with signs chosen so that neighbours are on the same half of the sphere."""
    flips = torch.where((quats[1:] * quats[:-1]).sum(-1) < 0, -1.0, 1.0).to(quats)
    return torch.cat([quats[:1], quats[1:] * flips.cumprod(0)[:, None]])


def _squad(quats: Float[Tensor, "k 4"], span: Tensor, s: Tensor, loop: bool) -> Float[Tensor, "t 4"]:
    """Spherical quadrangle interpolation; a lone end has its own rotation as control point."""
    flip = -1.0 if loop and float((quats[-1] * quats[0]).sum()) < 0 else 1.0  # once round may end on the other half
    before = torch.cat([flip * quats[-2:-1] if loop else quats[:1], quats[:-1]])
    after = torch.cat([quats[1:], flip * quats[1:2] if loop else quats[-1:]])
    inverse = quats * torch.tensor([1.0, -1, -1, -1], dtype=quats.dtype)
    bend = _log(rotations.quat_multiply(inverse, before)) + _log(rotations.quat_multiply(inverse, after))
    control = rotations.quat_multiply(quats, _exp(-bend / 4))
    if not loop:
        control = torch.cat([quats[:1], control[1:-1], quats[-1:]])
    outer = _slerp(quats[span], quats[span + 1], s)
    inner = _slerp(control[span], control[span + 1], s)
    return _slerp(outer, inner, 2 * s * (1 - s))


def _slerp(a: Float[Tensor, "t 4"], b: Float[Tensor, "t 4"], s: Float[Tensor, " t"]) -> Float[Tensor, "t 4"]:
    """The arc from a to b as they are. (`rotations.slerp` may flip b to go the shorter way, which would make squad jump
    where its two arcs are more than half a turn apart.)"""
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    s = s[:, None]
    # sinc(x) = sin(pi x) / (pi x) is smooth at equal ends; opposite ends have no arc and get a blend instead.
    whole = torch.sinc(angle / torch.pi).clamp_min(1e-9)
    from_a, from_b = ((share * torch.sinc(share * angle / torch.pi)) / whole for share in (1 - s, s))
    return rotations.normalize(from_a * a + from_b * b)


def _log(quats: Float[Tensor, "k 4"]) -> Float[Tensor, "k 3"]:
    """Half the rotation vector of unit quaternions."""
    sine = quats[:, 1:].norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, quats[:, :1])
    return quats[:, 1:] * torch.where(sine > 1e-12, angle / sine.clamp_min(1e-12), torch.ones_like(sine))


def _exp(half: Float[Tensor, "k 3"]) -> Float[Tensor, "k 4"]:
    angle = half.norm(dim=-1, keepdim=True)
    return torch.cat([angle.cos(), half * torch.sinc(angle / torch.pi)], -1)


def _even_times(points: Tensor, knots: Tensor, share: Float[Tensor, " t"], loop: bool) -> Float[Tensor, " t"]:
    """Times at which the given shares of the curve's length are reached; a curve without length keeps its times."""
    steps = torch.arange(_FINE, dtype=torch.float64) / _FINE
    fine = torch.cat([(knots[:-1, None] + knots.diff()[:, None] * steps).flatten(), knots[-1:]])
    curve = _hermite(points, knots, *_locate(knots, fine), loop)
    length = torch.cat([torch.zeros(1, dtype=torch.float64), curve.diff(dim=0).norm(dim=-1).cumsum(0)])
    if float(length[-1]) < 1e-9:
        return knots[0] + share * (knots[-1] - knots[0])
    goal = share * length[-1]
    left = (torch.searchsorted(length, goal, right=True) - 1).clamp(0, len(fine) - 2)
    step = (length[left + 1] - length[left]).clamp_min(1e-15)
    return fine[left] + ((goal - length[left]) / step).clamp(0, 1) * (fine[left + 1] - fine[left])
