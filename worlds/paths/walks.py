"""Free walks: dolly, truck, orbit, arc, spline and vertical moves from a start pose."""

import numpy as np

from worlds.paths.starts import look_along

KINDS = ("dolly", "truck", "orbit", "arc", "spline", "vertical")
SHARES = (0.22, 0.18, 0.2, 0.2, 0.15, 0.05)


def walk(start: np.ndarray, kind: str, median: float, scale: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Camera-to-world f64 [count, 4, 4]: a smooth move of `kind` that begins at start f64 [4, 4].

    `median` (m) is the depth the camera looks at, `scale` the world's near_scale: a move is 0.3 to 1.1 of it long.
    """
    length = rng.uniform(0.3, 1.1) * scale
    sign = 1.0 if rng.uniform() < 0.5 else -1.0
    position, forward = start[:3, 3], start[:3, 2]
    flat = np.array([forward[0], 0.0, forward[2]])
    flat /= max(np.linalg.norm(flat), 1e-9)
    side = np.array([-flat[2], 0.0, flat[0]])  # to the right of the camera, level
    target = position + forward * median
    roll = np.arcsin(np.clip(-start[1, 0] / max(np.hypot(forward[0], forward[2]), 1e-9), -1.0, 1.0))
    way = np.linspace(0.0, 1.0, count)
    way = way + rng.uniform(0.0, 0.9) * (way * way * (3.0 - 2.0 * way) - way)  # some start and stop softly
    if kind in ("orbit", "arc"):
        return _turn(start, kind, target, sign * length, way, roll)
    if kind == "spline":
        knots = rng.normal(0.0, 0.35 * length, (4, 3)) * np.array([1.0, 0.35, 1.0])
        knots[0] = 0.0
        path = position + catmull_rom(np.cumsum(knots, axis=0), way)
    else:
        rise = rng.uniform(-0.12, 0.12) * np.array([0.0, 1.0, 0.0])
        axis = {"dolly": flat, "truck": side, "vertical": np.array([0.0, 0.7, 0.0])}[kind] + rise
        path = position + np.outer(way, sign * length * axis)
    # The gaze stays on the target, or drifts along with the camera.
    follow = rng.uniform(0.0, 1.0) if kind != "dolly" else 1.0
    aim = target + follow * (path - position)
    return np.stack([look_along(p, a - p, roll) for p, a in zip(path, aim, strict=True)])


def _turn(start, kind, target, length, way, roll) -> np.ndarray:
    """Orbit: around the target, facing it. Arc: on the same circle, half of the turn taken back by the gaze."""
    arm = start[:3, 3] - target
    radius = max(np.hypot(arm[0], arm[2]), 1e-3)
    angle = np.clip(length / radius, -0.9, 0.9) * way
    cos, sin = np.cos(angle), np.sin(angle)
    path = np.stack([cos * arm[0] + sin * arm[2], np.full_like(cos, arm[1]), cos * arm[2] - sin * arm[0]], axis=-1)
    path = path + target
    share = 1.0 if kind == "orbit" else 0.4
    forward = start[:3, 2]
    cos, sin = np.cos(share * angle), np.sin(share * angle)
    gaze = np.stack(
        [cos * forward[0] + sin * forward[2], np.full_like(cos, forward[1]), cos * forward[2] - sin * forward[0]], -1
    )
    return np.stack([look_along(p, g, roll) for p, g in zip(path, gaze, strict=True)])


def catmull_rom(knots: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Points f64 [m, 3] at `way` in [0, 1] of the Catmull-Rom curve through knots f64 [k, 3] (k >= 2)."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    spot = np.clip(way, 0.0, 1.0) * (len(knots) - 1)
    part = np.minimum(spot.astype(int), len(knots) - 2)
    t = (spot - part)[:, None]
    a, b, c, d = (padded[part + k] for k in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - 3 * c + d - a) * t**3)
