"""Plans: collision-free sets of cameras for one scene, with the rules that reject a path."""

from dataclasses import dataclass

import numpy as np

from worlds.paths.freespace import FreeSpace
from worlds.paths.starts import HIT_SHARE_END, probe
from worlds.paths.trajectories import SIX, trajectory
from worlds.paths.walks import KINDS, SHARES, walk

SHORTEN = (1.0, 0.8, 0.65, 0.5, 0.35, 0.25)  # a colliding trajectory is tried again at these shares of its distance
CLEARANCE = 0.055  # metres per metre of near_scale that every camera keeps from any surface


@dataclass(frozen=True, eq=False)
class Lens:
    """`fov` is horizontal, in degrees; aspect = width / height."""

    fov: float
    aspect: float


@dataclass(frozen=True, eq=False)
class Path:
    """One camera path: its name, c2w f64 [t, 4, 4] and the drawn `distance` (share of center_depth; 0 for walks)."""

    name: str
    c2w: np.ndarray
    distance: float = 0.0


def clear(space: FreeSpace, c2w: np.ndarray, scale: float) -> bool:
    """True if all cameras [t, 4, 4] keep CLEARANCE from every surface."""
    return bool(space.clearance(c2w[:, :3, 3]).min() >= CLEARANCE * scale)


def acceptable(space: FreeSpace, c2w: np.ndarray, lens: Lens, scale: float) -> bool:
    """Clear on its way, and a quarter and half on and at its end the path still looks at things, none too near.

    (The spiral is back at its start at half and at its end: a quarter on it is farthest out.)
    """
    if not clear(space, c2w, scale):
        return False
    checked = c2w[[len(c2w) // 4, len(c2w) // 2, len(c2w) - 1]]
    return all(view.good(scale, HIT_SHARE_END) for view in probe(space, checked, lens.fov, lens.aspect, scale))


def six_paths(
    space: FreeSpace,
    first: np.ndarray,
    center_depth: float,
    lens: Lens,
    scale: float,
    rng: np.random.Generator,
    count: int,
    movement: float = 1.0,
) -> tuple[Path, ...] | None:
    """The six trajectories from first f64 [4, 4] (or [count, 4, 4], a moving input camera), or None.

    Distances are drawn uniformly from the method's ranges times `movement`; a trajectory that would collide or look
    into the void is shortened down to a quarter, and the whole start is given up if that does not help.
    """
    paths = []
    for six in SIX:
        distance = rng.uniform(six.low, six.high) * movement
        for share in SHORTEN:
            c2w = trajectory(first, six.kind, share * distance, center_depth, count)
            if acceptable(space, c2w, lens, scale):
                paths.append(Path(six.kind, c2w, share * distance))
                break
        else:
            return None
    return tuple(paths)


def free_walk(
    space: FreeSpace, first: np.ndarray, median: float, lens: Lens, scale: float, rng: np.random.Generator, count: int
) -> Path | None:
    """The best of up to six free walks from first f64 [4, 4], whose median depth is `median` m, by what their last
    frames see, or None."""
    best, best_score = None, -1.0
    for _ in range(6):
        kind = str(rng.choice(KINDS, p=SHARES))
        c2w = walk(first, kind, median, scale, count, rng)
        if not acceptable(space, c2w, lens, scale):
            continue
        score = probe(space, c2w[-1:], lens.fov, lens.aspect, scale)[0].structure
        if score > best_score:
            best, best_score = Path(kind, c2w), score
    return best
