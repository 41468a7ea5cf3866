"""Frames a second of the world renderer, on whatever EGL offers (a GPU or the CPU); prints JSON lines.

python benchmarks/world_render.py --packs packs/furniture.pack --scenes 8 --processes 4
"""

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np

from worlds.pack import open_pack
from worlds.paths.starts import intrinsics, look
from worlds.render import Renderer
from worlds.rooms.build import build_room
from worlds.rooms.builtin import builtin_library
from worlds.rooms.library import from_packs
from worlds.scene import World


def turning_clip(world: World, frames: int, width: int, height: int, seed: int) -> tuple[np.ndarray, ...]:
    """Cameras that turn and drift around a spawn point: c2w, K, times."""
    rng = np.random.default_rng(seed)
    spot = world.spawns[int(rng.integers(len(world.spawns)))]
    yaw = rng.uniform(0, 2 * np.pi) + np.linspace(0, 0.6, frames)
    drift = np.linspace(0, 0.3, frames)[:, None] * rng.normal(size=3) * [1, 0.2, 1]
    c2w = np.stack([look(spot + d, y, -0.15) for d, y in zip(drift, yaw, strict=True)])
    return c2w, np.repeat(intrinsics(width, height, 70.0)[None], frames, axis=0), np.arange(frames) / 24


def run(options: argparse.Namespace, worker: int) -> dict[str, float]:
    """Builds, uploads and renders this worker's scenes; returns seconds by stage, frames, and start and end times."""
    library = from_packs(tuple(open_pack(p) for p in options.packs)) if options.packs else builtin_library()
    seconds = {"context": 0.0, "build": 0.0, "upload": 0.0, "render": 0.0}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage] += now - clock
        clock = now

    renderer = Renderer((options.height, options.width), options.supersample)
    warm = renderer.upload(build_room(0, builtin_library()).world)
    renderer.render(warm, *turning_clip(warm.world, 2, options.width, options.height, 0))
    warm.release()
    lap("context")
    start = time.time()
    frames = 0
    for number in range(worker, options.scenes, options.processes):
        world = build_room(number + 1, library).world
        lap("build")
        stage = renderer.upload(world)
        renderer.ctx.finish()
        lap("upload")
        for clip in range(options.clips):
            rendered = renderer.render(stage, *turning_clip(world, options.frames, options.width, options.height, clip))
            frames += len(rendered.rgb)
        lap("render")
        stage.release()
        clock = time.perf_counter()
    card = renderer.ctx.info["GL_RENDERER"]
    return seconds | {"frames": frames, "start": start, "end": time.time(), "card": card}


def main() -> None:
    """Runs the workers and prints one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", nargs="*", type=Path, default=[])
    for name, value in {"scenes": 2, "clips": 1, "frames": 8, "processes": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in {"width": 448, "height": 256, "supersample": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--record", action="store_true", help="append to benchmarks/results/world_render.jsonl")
    options = parser.parse_args()
    if options.processes == 1:
        results = [run(options, 0)]
    else:
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            results = pool.starmap(run, [(options, worker) for worker in range(options.processes)])
    from benchmarks.record import measurement, report  # here: workers need no torch

    frames = sum(r["frames"] for r in results)
    total = {stage: sum(r[stage] for r in results) for stage in ("context", "build", "upload", "render")}
    wall = max(r["end"] for r in results) - min(r["start"] for r in results)
    figures = {
        "frames a second, rendering and reading back": (frames / total["render"] * options.processes, "1/s"),
        "frames a second, scene upload included": (
            frames / (total["upload"] + total["render"]) * options.processes,
            "1/s",
        ),
        "frames a second, building and upload included (wall)": (frames / wall, "1/s"),
        "building a room": (1e3 * total["build"] / options.scenes, "ms"),
        "uploading and lighting a room": (1e3 * total["upload"] / options.scenes, "ms"),
        "context and shaders": (1e3 * total["context"] / options.processes, "ms"),
    }
    config = {k: v for k, v in vars(options).items() if k not in ("packs", "record")}
    config |= {"packs": [p.name for p in options.packs], "opengl": results[0]["card"]}
    rows = [measurement(f"world renderer: {what}", value, unit, config) for what, (value, unit) in figures.items()]
    report("world_render", rows, record=options.record)


if __name__ == "__main__":
    main()
