"""Start poses: places and directions from which a world is worth looking at."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from worlds.paths.freespace import HALF_DIAGONAL, FreeSpace
from worlds.scene import World

POSITIONS = 20
YAWS = 8
RAYS = (9, 7)  # columns, rows of the probe grid
NEAR_SHARE = 0.03  # at most this share of rays may end nearer than NEAR (m per metre of near_scale)
NEAR = 0.2
HIT_SHARE = 0.6  # at least this share of rays must hit geometry: no views of the void
HIT_SHARE_END = 0.5
CONTENT = 0.2  # least share of rays on furniture in the first frame
MEDIAN = 0.6  # least median depth, metres per metre of near_scale


@dataclass(frozen=True, eq=False)
class View:
    """What the probe rays of one camera see: median depth of the hits (m), shares of near and of hitting rays,
    `structure` = spread of log depth, how much parallax a move will show; `content` = share of rays that end on
    something else than the shell of a room (1 in levels)."""

    median: float
    near: float
    hit: float
    structure: float
    content: float

    def good(self, scale: float, hit_share: float = HIT_SHARE) -> bool:
        """The rejection rules, for a world with `near_scale` = scale."""
        return self.near <= NEAR_SHARE and self.hit >= hit_share and self.median >= MEDIAN * scale


def intrinsics(width: int, height: int, fov: float) -> np.ndarray:
    """K f64 [3, 3] in pixels for a horizontal field of view in degrees; square pixels, centred."""
    focal = 0.5 * width / np.tan(np.radians(fov) / 2.0)
    return np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])


def look(position: np.ndarray, yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """c2w f64 [4, 4] (OpenCV axes, world +y up). Radians; yaw 0 looks along +z, turning to +x; pitch > 0 looks up."""
    forward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    return look_along(position, forward, roll)


def look_along(position: np.ndarray, forward: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """c2w f64 [4, 4] whose camera looks along `forward` [3] with the horizon level, then rolled (radians)."""
    forward = np.asarray(forward, np.float64) / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= max(np.linalg.norm(right), 1e-9)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = cos * right + sin * down, cos * down - sin * right, forward
    matrix[:3, 3] = position
    return matrix


def probe(space: FreeSpace, c2w: np.ndarray, fov: float, aspect: float, scale: float) -> list[View]:
    """Views of cameras c2w f64 [n, 4, 4] with a horizontal field of view in degrees and aspect = width / height."""
    half = np.tan(np.radians(fov) / 2.0)
    x, y = np.meshgrid(np.linspace(-0.92, 0.92, RAYS[0]) * half, np.linspace(-0.92, 0.92, RAYS[1]) * half / aspect)
    local = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=-1)
    length = np.linalg.norm(local, axis=-1)
    directions = np.einsum("nij,rj->nri", c2w[:, :3, :3], local / length[:, None])
    origins = np.repeat(c2w[:, :3, 3], len(local), axis=0)
    travelled = space.cast(origins, directions.reshape(-1, 3))
    content = np.ones(len(travelled), bool)
    if space.content is not None:
        reach = np.where(np.isfinite(travelled), travelled + 0.5 * space.voxel, 0.0)
        cell, _ = space.index(origins + reach[:, None] * directions.reshape(-1, 3))
        content = space.content[tuple(cell.T)]
    depth, content = travelled.reshape(len(c2w), -1) / length, content.reshape(len(c2w), -1)
    return [_view(row, float(share), scale) for row, share in zip(depth, content.mean(axis=1), strict=True)]


def _view(depth: np.ndarray, content: float, scale: float) -> View:
    hits = np.isfinite(depth)
    if not hits.any():
        return View(np.inf, 0.0, 0.0, 0.0, 0.0)
    log = np.log(np.maximum(np.where(hits, depth, 30.0 * scale), 1e-3)).reshape(RAYS[1], RAYS[0])
    steps = np.minimum(np.abs(np.diff(log, axis=1)), 1.0).mean() + np.minimum(np.abs(np.diff(log, axis=0)), 1.0).mean()
    return View(
        median=float(np.median(depth[hits])),
        near=float(np.mean(depth < NEAR * scale)),
        hit=float(hits.mean()),
        structure=float(log[log < np.log(20.0 * scale)].std() + steps),
        content=content,
    )


def standing_room(space: FreeSpace, world: World, clearance: float) -> np.ndarray:
    """Centres f64 [m, 3] of the voxels where a camera may stand: clear, connected with a spawn, at eye height.

    Rooms: 0.8-2.0 m over the floor (y = 0) and under a ceiling. Levels: 0.1-0.35 near_scale over the ground.
    """
    free = space.distance > clearance + 2.0 * HALF_DIAGONAL * space.voxel
    labels, count = ndimage.label(free)
    cell, inside = space.index(np.asarray(world.spawns, np.float64).reshape(-1, 3))
    seeds = np.unique(labels[tuple(cell[inside].T)]) if inside.any() else np.zeros(0, int)
    seeds = seeds[seeds > 0]
    if seeds.size == 0 and count:  # no spawn stands in the open: take the largest open part
        seeds = np.array([1 + np.argmax(np.bincount(labels.ravel())[1:])])
    allowed = np.isin(labels, seeds)
    if world.kind == "room":
        height = space.origin[1] + (np.arange(space.occupied.shape[1]) + 0.5) * space.voxel
        allowed &= ((height > 0.8) & (height < 2.0))[None, :, None] & space.covered()
    else:
        ground = space.above_ground()
        allowed &= (ground > 0.1 * world.near_scale) & (ground < 0.35 * world.near_scale)
    return space.origin + (np.argwhere(allowed) + 0.5) * space.voxel


def starts(
    space: FreeSpace, world: World, fov: float, aspect: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, View]]:
    """Good start cameras (c2w f64 [4, 4], View), best first; may be empty.

    Random places and directions; the score rewards structure in depth, with some randomness so that one world
    yields many different starts.
    """
    scale = world.near_scale
    places = standing_room(space, world, 0.12 * scale)
    if len(places) == 0:
        return []
    chosen = places[rng.integers(len(places), size=POSITIONS)]
    cameras = []
    for position in chosen:
        turn = rng.uniform(0.0, 2.0 * np.pi)
        for step in range(YAWS):
            yaw = turn + 2.0 * np.pi * step / YAWS
            cameras.append(look(position, yaw, np.radians(rng.uniform(-16.0, 5.0)), np.radians(rng.normal(0.0, 0.7))))
    c2w = np.stack(cameras)
    seen = probe(space, c2w, fov, aspect, scale)
    score = [
        view.structure + 0.25 * min(view.median / scale, 2.0) + 2.0 * min(view.content, 0.5) + rng.uniform(0.0, 0.6)
        for view in seen
    ]
    worth = [view.good(scale) and view.content >= CONTENT for view in seen]
    order = sorted((i for i in range(len(seen)) if worth[i]), key=lambda i: -score[i])
    return [(c2w[i], seen[i]) for i in order]
