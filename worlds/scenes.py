"""One scene from job to clips: build or load the world, find free space and paths, let things move, render."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from worlds.camera_look import apply, draw_look
from worlds.captions import THING, moving_caption, view_caption
from worlds.clips import Facts, SceneClips, encode_depth, unseen_share
from worlds.errors import WorldsError
from worlds.motion import pose_at
from worlds.pack import Pack, open_pack
from worlds.paths.freespace import FreeSpace, level_space, room_space, triangles_of, with_movers
from worlds.paths.plan import Lens, acceptable, free_walk, six_paths
from worlds.paths.plan import Path as CameraPath
from worlds.paths.sparse import median_depth
from worlds.paths.starts import intrinsics, starts
from worlds.paths.trajectories import SIX
from worlds.paths.walks import walk
from worlds.populate import MOMENTS, Watch, populate, visible
from worlds.rooms.build import BuiltRoom, build_room
from worlds.rooms.builtin import builtin_library
from worlds.rooms.library import Library, from_packs
from worlds.scene import World
from worlds.splits import split_list, trainable_keys

ATTEMPTS = 5  # rooms, or places of a level, tried for one scene
STARTS = {False: 10, True: 4}  # start cameras tried in one place, still and moving


@dataclass(frozen=True)
class Job:
    """Work for one process: a room (level = "") or a place in a level, for each of `seeds`; which of them `move`."""

    seeds: tuple[int, ...]
    level: str
    dynamic: tuple[bool, ...]


@dataclass(frozen=True)
class Style:
    """How scenes are filmed. `fps` sets the time between frames of moving scenes; `movement` scales the six
    trajectories; `walks` free walks are added; `twin` adds the frozen-time twin of moving scenes; `ids`, `normals` and
    `motion` keep those arrays; `look` gives every scene the look of some camera (white balance, tone, noise, JPEG:
    worlds.camera_look), about 11 ms a frame of 448 x 256 on one CPU core."""

    width: int = 448
    height: int = 256
    frames: int = 25
    fps: float = 12.0
    movement: float = 1.0
    walks: int = 0
    twin: bool = True
    ids: bool = False
    normals: bool = False
    motion: bool = False
    look: bool = False

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 32 or max(self.width, self.height) > 4096:
            raise WorldsError(f"width and height must be 32 to 4096 pixels, not {self.width} x {self.height}")
        if not 2 <= self.frames <= 1000:
            raise WorldsError(f"a path needs 2 to 1000 frames, not {self.frames}")
        if not (0.1 <= self.movement <= 4.0 and 1.0 <= self.fps <= 240.0 and 0 <= self.walks <= 50):
            raise WorldsError("movement must be 0.1 to 4, fps 1 to 240 and walks 0 to 50")


@dataclass(frozen=True, eq=False)
class Planned:
    """A scene ready to render: the world (with its movers), the free space around them, the cameras of every path and
    what time they show."""

    world: World
    space: FreeSpace
    names: tuple[str, ...]
    c2w: np.ndarray
    times: np.ndarray
    center_depth: float
    distances: tuple[float, ...]
    fov: float


class SceneMaker:
    """Makes scenes in one process. Without packs, rooms are made of the built-in boxes."""

    def __init__(self, packs: tuple[Path, ...], split: str, style: Style, open_only: bool | None = None) -> None:
        """`open_only` takes only assets whose licence allows training and sharing; by default for the train split."""
        self.packs: tuple[Pack, ...] = tuple(open_pack(path) for path in packs)
        self.split = split
        self.style = style
        library = from_packs(self.packs) if any(pack.catalogue() for pack in self.packs) else builtin_library()
        if self.packs:
            library = split_list().library(library, split)
            if split == "train" if open_only is None else open_only:
                allowed = trainable_keys(self.packs)
                library = library.keeping(lambda key: key in allowed)
        if not library.actors:
            library = replace(library, actors=builtin_library().actors, actor=builtin_library().actor)
        self.library: Library = library
        self.level = lru_cache(maxsize=2)(self._level)
        self.seconds: dict[str, float] = {}

    def _level(self, key: str) -> tuple[World, World, np.ndarray]:
        """A level as it moves, the same standing still, and the triangles of the latter."""
        for pack in self.packs:
            if key in pack.keys("world"):
                world = pack.world(key)
                world = replace(world, assets=world.assets | {key})
                posed = tuple(replace(mover.instance, transform=pose_at(mover, 0.0)) for mover in world.movers)
                still = replace(world, instances=world.instances + posed, movers=()) if posed else world
                return world, still, triangles_of(still)
        raise WorldsError(f"no pack holds the level {key!r}")

    def plans(self, job: Job) -> Iterator[tuple[int, Planned | None]]:
        """A plan for every seed of a job, None where no good camera was found."""
        for seed, dynamic in zip(job.seeds, job.dynamic, strict=True):
            self.seconds = {}
            plan = None
            for attempt in range(ATTEMPTS):
                rng = np.random.default_rng([seed, attempt, 11])
                world, built, space, triangles = self._place(job.level, dynamic, seed, attempt, rng)
                with _Clock(self.seconds, "paths"):
                    plan = self._plan(world, built, space, triangles, dynamic, rng)
                if plan is not None:
                    break
            yield seed, plan

    def _place(
        self, level: str, dynamic: bool, seed: int, attempt: int, rng: np.random.Generator
    ) -> tuple[World, BuiltRoom | None, FreeSpace, np.ndarray]:
        if not level:
            with _Clock(self.seconds, "build"):
                built = build_room(ATTEMPTS * seed + attempt, self.library)
            with _Clock(self.seconds, "space"):
                triangles = triangles_of(built.world)
                return built.world, built, room_space(built.world, triangles), triangles
        with _Clock(self.seconds, "build"):
            moving, still, triangles = self.level(level)
            world = moving if dynamic else still
        with _Clock(self.seconds, "space"):
            if len(world.spawns):
                centre = world.spawns[int(rng.integers(len(world.spawns)))]
            else:
                surface = triangles[int(rng.integers(len(triangles)))].mean(axis=0)
                centre = surface + np.array([0.0, 0.3 * world.near_scale, 0.0])
            space = level_space(world, triangles, np.asarray(centre, np.float64))
            if world.movers:
                moments = np.linspace(0.0, (self.style.frames - 1) / self.style.fps, MOMENTS)
                space = with_movers(space, world.movers, moments)
            return world, None, space, triangles

    def _plan(
        self,
        world: World,
        built: BuiltRoom | None,
        space: FreeSpace,
        triangles: np.ndarray,
        dynamic: bool,
        rng: np.random.Generator,
    ) -> Planned | None:
        style = self.style
        lens = Lens(float(rng.uniform(45.0, 90.0)), style.width / style.height)
        for first, _ in starts(space, world, lens.fov, lens.aspect, rng)[: STARTS[dynamic]]:
            median = median_depth(triangles, first, lens.fov, lens.aspect)
            scene, room = world, space
            source = first
            if dynamic:
                # What moves is costly to place: first see whether the place is good for anything.
                if six_paths(space, first, median, lens, world.near_scale, rng, style.frames, style.movement) is None:
                    continue
                K = intrinsics(style.width, style.height, lens.fov)
                watch = Watch(first, K, style.width, style.height, (style.frames - 1) / style.fps)
                scene, room = populate(world, built, space, triangles, watch, self.library, rng)
                if not visible(scene.movers, space, watch, 3.0 * world.near_scale):
                    continue
                source = self._source(room, first, median, lens, world.near_scale, rng)
            six = six_paths(room, source, median, lens, world.near_scale, rng, style.frames, style.movement)
            if six is None:
                continue
            walks = [
                free_walk(room, first, median, lens, world.near_scale, rng, style.frames) for _ in range(style.walks)
            ]
            paths = (*six, *(w for w in walks if w))
            return self._arranged(scene, room, source, paths, median, lens.fov)
        return None

    def _source(
        self, space: FreeSpace, first: np.ndarray, median: float, lens: Lens, scale: float, rng: np.random.Generator
    ) -> np.ndarray:
        """The camera of the source video f64 [t, 4, 4]: standing still, or in a slow free move."""
        still = np.repeat(first[None], self.style.frames, axis=0)
        if rng.uniform() < 0.5:
            return still
        kind = str(rng.choice(["dolly", "truck", "arc"]))
        moved = walk(first, kind, median, 0.3 * scale, self.style.frames, rng)
        return moved if acceptable(space, moved, lens, scale) else still

    def _arranged(
        self,
        world: World,
        space: FreeSpace,
        source: np.ndarray,
        paths: tuple[CameraPath, ...],
        median: float,
        fov: float,
    ) -> Planned:
        """Names, cameras and times of all clips, in the order of `Facts.clips`."""
        style, dynamic = self.style, bool(world.movers)
        running = np.arange(style.frames) / style.fps if dynamic else np.zeros(style.frames)
        six, walks = paths[: len(SIX)], paths[len(SIX) :]
        rows = [(path.name, path.c2w, running, path.distance) for path in six]
        if dynamic:
            rows.insert(0, ("input", source, running, 0.0))
            relative = [np.linalg.inv(source) @ path.c2w for path in six]
            # Same times, the path walked from far to near: its view t-1-i on the source camera of frame i.
            rows += [
                (f"{path.name}_reversed", source @ views[::-1], running, path.distance)
                for path, views in zip(six, relative, strict=True)
            ]
            if style.twin:
                rows += [
                    (f"{path.name}_frozen", source[:1] @ views, np.zeros(style.frames), path.distance)
                    for path, views in zip(six, relative, strict=True)
                ]
        rows += [(f"walk_{i}", path.c2w, running, 0.0) for i, path in enumerate(walks)]
        names, cameras, times, distances = zip(*rows, strict=True)
        return Planned(world, space, names, np.stack(cameras), np.stack(times), median, distances, fov)


class _Clock:
    """Adds the process time of a block to an entry of a dictionary."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_) -> None:
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + time.process_time() - self.start


def film(maker: SceneMaker, renderer, job: Job) -> Iterator[SceneClips | str]:
    """Render every scene of a job; a sentence instead of clips where no camera was found.

    A still level is uploaded once for all its scenes.
    """
    stage, staged = None, None
    for seed, plan in maker.plans(job):
        if plan is None:
            yield f"scene {seed} ({job.level or 'room'}): no start camera with six clear trajectories"
            continue
        seconds = maker.seconds
        with _Clock(seconds, "upload"):
            if staged is not plan.world:
                if stage is not None:
                    stage.release()
                stage, staged = renderer.upload(plan.world), plan.world
        yield _render(maker, renderer, stage, plan, seed, seconds)
    if stage is not None:
        stage.release()


def _render(maker: SceneMaker, renderer, stage, plan: Planned, seed: int, seconds: dict[str, float]) -> SceneClips:
    style = maker.style
    paths, count = plan.c2w.shape[:2]
    K = intrinsics(style.width, style.height, plan.fov)
    poses, moments = plan.c2w.reshape(-1, 4, 4), plan.times.reshape(-1)
    # Equal camera and time is an equal frame (the six share their first one): draw it once.
    keys = np.concatenate([poses[:, :3].reshape(len(poses), -1), moments[:, None]], axis=1).round(9)
    _, kept, where = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    with _Clock(seconds, "render"):
        look = draw_look(np.random.default_rng([seed, 13]))
        cameras = (poses[kept], np.repeat(K[None], len(kept), 0), moments[kept])
        drawn = renderer.render(stage, *cameras, style.normals, style.motion, look.mean_luma)
    with _Clock(seconds, "pack"):
        where = where.reshape(paths, count)
        said = [_caption(plan.world, *view) for view in zip(drawn.ids, drawn.rgb, strict=True)]
        rgb = (apply(drawn.rgb, look) if style.look else drawn.rgb)[where]
        depth = encode_depth(drawn.depth)[where]
        ids = drawn.ids.astype(np.uint16)[where] if style.ids else None
        normals = drawn.normals.astype(np.float16)[where] if style.normals else None
        motion = drawn.motion.astype(np.float16)[where] if style.motion else None
        first = drawn.depth[where[0, 0]]
        running = [i for i, name in enumerate(plan.names) if not name.endswith("_frozen")]
        moving = drawn.ids[np.unique(where[running])] > len(plan.world.instances)
        away = np.linalg.norm(plan.c2w[:, :, :3, 3] - plan.c2w[0, 0, :3, 3], axis=-1).argmax(axis=1)
        coverage = tuple(
            unseen_share(drawn.depth[where[i, k]], plan.c2w[i, k], K, first, plan.c2w[0, 0]) for i, k in enumerate(away)
        )
    world = plan.world
    facts = Facts(
        name=f"{maker.split}-{seed}",
        world=world.name,
        kind=world.kind,
        split=maker.split,
        seed=seed,
        caption=moving_caption(world.caption, [mover.instance.label for mover in world.movers]),
        clips=plan.names,
        dynamic=bool(world.movers),
        fov=plan.fov,
        fps=style.fps,
        center_depth=plan.center_depth,
        distances=plan.distances,
        coverage=coverage,
        motion=float(moving.mean()),
        assets=tuple(sorted(world.assets)),
        seconds=dict(seconds),
    )
    captions = tuple(tuple(said[view] for view in row) for row in where)
    return SceneClips(facts, rgb, depth, ids, plan.c2w, K, plan.times, captions, normals, motion)


def _caption(world: World, ids: np.ndarray, rgb: np.ndarray) -> str:
    """What one view shows, and what of it moves."""
    first = len(world.instances) + 1  # the number of the first mover
    movers = [m.instance.label for number, m in enumerate(world.movers, first) if (ids == number).mean() >= THING]
    return moving_caption(view_caption(world, ids, rgb), movers)
