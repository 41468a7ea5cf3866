"""What moves in a world: people, vehicles, balls, fans, doors and flying things, put where a start camera sees them."""

from dataclasses import dataclass, replace

import numpy as np

from worlds.motion import bouncer, flyer, pose_at, roller, spinner, swinging_door, vertices_at, walker
from worlds.paths.freespace import FreeSpace, touching, with_movers
from worlds.rooms.build import BuiltRoom
from worlds.rooms.library import Library
from worlds.scene import Instance, Mover, World
from worlds.sources.actors import Actor
from worlds.toys import load, toys

TRIES = 60
MOMENTS = 7  # times at which what moves is kept apart from cameras and from each other


@dataclass(frozen=True, eq=False)
class Watch:
    """The camera that has to see the motion: c2w f64 [4, 4], K f64 [3, 3] for an image of width x height px, and
    the clip's `duration` s."""

    c2w: np.ndarray
    K: np.ndarray
    width: int
    height: int
    duration: float

    def sees(self, points: np.ndarray, space: FreeSpace) -> np.ndarray:
        """Which world points f64 [n, 3] are in the image, not nearer than 0.8 m and not hidden, bool [n]."""
        local = (points - self.c2w[:3, 3]) @ self.c2w[:3, :3]
        z = np.maximum(local[:, 2], 1e-6)
        pixel = local @ self.K.T / z[:, None]
        inside = (pixel[:, 0] > 0) & (pixel[:, 0] < self.width) & (pixel[:, 1] > 0) & (pixel[:, 1] < self.height)
        away = np.linalg.norm(points - self.c2w[:3, 3], axis=1)
        free = space.cast(np.repeat(self.c2w[None, :3, 3], len(points), 0), (points - self.c2w[:3, 3]) / away[:, None])
        return (local[:, 2] > 0.8) & inside & (free > away - 0.5)


def populate(
    world: World,
    built: BuiltRoom | None,
    space: FreeSpace,
    triangles: np.ndarray,
    watch: Watch,
    library: Library,
    rng: np.random.Generator,
) -> tuple[World, FreeSpace]:
    """The world with up to a few movers more, and the free space that they leave.

    `built` is given for rooms (its doors and fans can move); the movers that a level has are in `space` already;
    triangles f32 [n, 3, 3] are the static ones. The result may hold no mover at all where nothing fits: the caller
    then tries another start.
    """
    movers: list[Mover] = list(world.movers)
    if built is not None:
        world, movers = _furniture_in_motion(world, built, watch.duration, rng)
    moments = np.linspace(0.0, watch.duration, MOMENTS)
    if built is not None and movers:
        space = with_movers(space, tuple(movers), moments)
    reach = 3.0 * world.near_scale
    near = triangles[touching(triangles, watch.c2w[:3, 3] - reach, watch.c2w[:3, 3] + reach)]
    kinds = {"person": ("person", "animal"), "object": ("object",), "vehicle": ("vehicle",)}
    cast = (*library.actors, *toys(library))
    for kind in rng.permutation(["person", "person", "object", "vehicle"])[: int(rng.integers(1, 4))]:
        pool = [
            info
            for info in cast
            if info.kind in kinds[str(kind)]
            and max(info.size) < 1.5 * world.near_scale
            and (world.kind == "level" or info.kind == "person" or max(info.size) < 1.3)  # no karts or bears indoors
            and (world.kind == "room" or max(info.size) > 0.08 * world.near_scale)  # nothing too small to see
        ]
        if not pool:
            continue
        actor = load(library, pool[int(rng.integers(len(pool)))])
        mover = _place(actor, world, space, near, watch, rng)
        if mover is not None:
            movers.append(mover)
            space = with_movers(space, (mover,), moments)
            world = replace(world, assets=world.assets | {actor.info.key})
    return replace(world, movers=tuple(movers)), space


def visible(movers: tuple[Mover, ...], space: FreeSpace, watch: Watch, reach: float) -> bool:
    """True if the camera sees the middle of some mover, not farther than `reach` m, half way through the clip."""
    time = 0.5 * watch.duration
    middles = []
    for mover in movers:
        matrix, points = pose_at(mover, time), vertices_at(mover, time)
        middles.append(matrix[:3, :3] @ (0.5 * (points.min(axis=0) + points.max(axis=0))) + matrix[:3, 3])
    if not middles:
        return False
    near = np.linalg.norm(np.array(middles) - watch.c2w[:3, 3], axis=1) < reach
    return bool((near & watch.sees(np.array(middles), space)).any())


def _furniture_in_motion(
    world: World, built: BuiltRoom, duration: float, rng: np.random.Generator
) -> tuple[World, list[Mover]]:
    """Turns ceiling fans and, at times, door leaves from instances into movers."""
    movers, kept = [], []
    leaves = {id(leaf.mesh): leaf for leaf in built.leaves}
    for instance in world.instances:
        leaf = leaves.get(id(instance.mesh))
        if leaf is not None and rng.uniform() < 0.6:
            ends = (leaf.closed, leaf.open) if rng.uniform() < 0.7 else (leaf.open, leaf.closed)
            movers.append(swinging_door(leaf.mesh, leaf.hinge, *ends, duration))
        elif instance.label == "ceiling fan":
            movers.append(spinner(instance, float(rng.uniform(0.4, 1.2)), duration))
        else:
            kept.append(instance)
    return replace(world, instances=tuple(kept)), movers


def _place(
    actor: Actor, world: World, space: FreeSpace, triangles: np.ndarray, watch: Watch, rng: np.random.Generator
) -> Mover | None:
    instance = Instance(actor.mesh, np.eye(4), actor.info.label)
    size = actor.info.size
    if actor.info.clips:
        name = "walk" if "walk" in actor.info.clips else next(iter(actor.info.clips))
        speed = actor.info.speed or 1.2
        body = (max(size[0], 0.55), size[1], size[2])
        path = _ground_path(world, space, triangles, watch, rng, body, speed * watch.duration)
        if path is None:
            return None
        return walker(instance, actor.clip(name), actor.info.fps, path, speed, watch.duration)
    if actor.info.kind == "vehicle":
        speed = float(rng.uniform(0.5, 1.0) * np.clip(3.0 * size[2], 0.6, 5.0))
        path = _ground_path(world, space, triangles, watch, rng, size, speed * watch.duration)
        return None if path is None else walker(instance, None, 0.0, path, speed, watch.duration)
    if max(size) > 1.2 * min(size) or rng.uniform() < 0.3:
        return _flying(instance, size, world, space, watch, rng)
    speed = float(rng.uniform(0.4, 1.2))
    path = _ground_path(world, space, triangles, watch, rng, size, speed * watch.duration)
    if path is None:
        return None
    heading = (path[-1] - path[0]) / np.linalg.norm(path[-1] - path[0])
    if rng.uniform() < 0.5:
        return roller(instance, path[0], heading, 0.5 * size[1], speed, watch.duration)
    return bouncer(instance, path[0], float(rng.uniform(0.3, 0.9)), 0.6 * speed * heading, watch.duration)


def _ground_path(
    world: World,
    space: FreeSpace,
    triangles: np.ndarray,
    watch: Watch,
    rng: np.random.Generator,
    size: tuple[float, float, float],
    length: float,
) -> np.ndarray | None:
    """A straight path f64 [k, 3] on the ground that the camera sees, free for a body of `size` (width, height, length)
    that goes along it, its own length beyond both ends included."""
    eye, scale, up = watch.c2w[:3, 3], world.near_scale, np.array([0.0, 1.0, 0.0])
    length = float(np.clip(length, 0.5, 3.0 * scale))
    radius, tall = max(0.5 * size[0] + 0.05, 0.12), size[1]
    whole = length + size[2]
    ground = space.above_ground()
    walked = slice(1, -1)  # the ends are where nose and tail reach
    inner = np.linspace(-0.5, 0.5, max(3, int(np.ceil(length / (2.0 * space.voxel))))) * length
    way = np.concatenate([[-0.5 * whole], inner, [0.5 * whole]])
    heights = np.arange(min(radius + 1.5 * space.voxel, 0.7 * tall), tall, 2.0 * space.voxel)
    half_fov = np.arctan(0.5 * watch.width / watch.K[0, 0])
    heading = np.arctan2(watch.c2w[0, 2], watch.c2w[2, 2])
    for _ in range(TRIES):
        bearing, away = heading + rng.uniform(-0.85, 0.85) * half_fov, rng.uniform(0.9, 2.4) * scale
        middle = np.array([eye[0] + away * np.sin(bearing), eye[1], eye[2] + away * np.cos(bearing)])
        turn = rng.uniform(0.0, 2.0 * np.pi)
        line = middle + np.outer(way, (np.sin(turn), 0.0, np.cos(turn)))
        cell, inside = space.index(line)
        if not inside.all():
            continue
        line[:, 1] -= ground[cell[:, 0], cell[:, 1], cell[:, 2]]
        floor = line[:, 1]
        if not np.isfinite(floor).all() or np.ptp(floor) > 0.25 * whole + space.voxel:
            continue
        if world.kind == "room" and np.abs(floor).max() > 2.0 * space.voxel:
            continue
        body = (line[:, None] + up * heights[None, :, None]).reshape(-1, 3)
        cell, inside = space.index(body)
        if not inside.all() or space.distance[tuple(cell.T)].min() < radius + 0.5 * space.voxel:
            continue
        chest, top = (line[walked] + share * tall * up for share in (0.6, 0.95))
        if watch.sees(chest, space).mean() < 0.6 or watch.sees(top, space).mean() < 0.4:
            continue
        exact = ground_heights(triangles, line[walked], 2.0 * space.voxel)
        if exact is not None:
            return np.stack([line[walked, 0], exact, line[walked, 2]], axis=-1)
    return None


def _flying(
    instance: Instance,
    size: tuple[float, float, float],
    world: World,
    space: FreeSpace,
    watch: Watch,
    rng: np.random.Generator,
) -> Mover | None:
    """A level circle in the open air before the camera."""
    for _ in range(TRIES):
        ray = np.array([rng.uniform(0.15, 0.85) * watch.width, rng.uniform(0.1, 0.6) * watch.height, 1.0])
        direction = watch.c2w[:3, :3] @ (np.linalg.inv(watch.K) @ ray)
        centre = watch.c2w[:3, 3] + rng.uniform(0.7, 1.8) * world.near_scale * direction
        radius = float(rng.uniform(0.1, 0.3) * world.near_scale)
        body = 0.6 * max(size)
        if space.clearance(centre[None])[0] > radius + body and watch.sees(centre[None], space)[0]:
            rate = float(rng.uniform(0.12, 0.35) * rng.choice([-1.0, 1.0]))
            return flyer(instance, centre, radius, rate, watch.duration, float(rng.uniform(0.0, 6.28)))
    return None


def ground_heights(triangles: np.ndarray, points: np.ndarray, reach: float) -> np.ndarray | None:
    """Exact heights f64 [n] (m) of the highest surface within `reach` m above or below points f64 [n, 3].

    None where some point has no surface near it, or the ground jumps by more than 0.3 m between points.
    """
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    heights = []
    for x, y, z in points:
        near = (low[:, 0] <= x) & (high[:, 0] >= x) & (low[:, 2] <= z) & (high[:, 2] >= z)
        near &= (low[:, 1] <= y + reach) & (high[:, 1] >= y - reach)
        a, b, c = np.moveaxis(triangles[near].astype(np.float64), 1, 0)
        area = (b[:, 0] - a[:, 0]) * (c[:, 2] - a[:, 2]) - (c[:, 0] - a[:, 0]) * (b[:, 2] - a[:, 2])
        safe = np.where(np.abs(area) > 1e-9, area, np.inf)
        s = ((x - a[:, 0]) * (c[:, 2] - a[:, 2]) - (c[:, 0] - a[:, 0]) * (z - a[:, 2])) / safe
        t = ((b[:, 0] - a[:, 0]) * (z - a[:, 2]) - (x - a[:, 0]) * (b[:, 2] - a[:, 2])) / safe
        found = a[:, 1] + s * (b[:, 1] - a[:, 1]) + t * (c[:, 1] - a[:, 1])
        ok = (s >= -1e-6) & (t >= -1e-6) & (s + t <= 1 + 1e-6) & np.isfinite(safe) & (np.abs(found - y) <= reach)
        if not ok.any():
            return None
        heights.append(found[ok].max())
    found = np.array(heights)
    return None if np.abs(np.diff(found)).max(initial=0.0) > 0.3 else found
