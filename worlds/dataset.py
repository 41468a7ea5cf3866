"""The runner: many scenes through several processes, into a folder or straight into memory.

    for scene in clips(Request(packs=(...), scenes=500), workers=14): ...        # numpy, from shared memory
    render_folder(Request(...), Path("out"), workers=14)                         # one folder a scene, and index.jsonl

Every worker has its own renderer. Scenes come in order of completion; each is deterministic from its seed.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from worlds.clips import SceneClips, load_clips, save_clips
from worlds.errors import WorldsError
from worlds.pack import open_pack
from worlds.scenes import Job, SceneMaker, Style, film
from worlds.splits import SEED_RANGE, seed_of, split_list, trainable_keys

AHEAD = 2  # jobs in the queue for each worker


@dataclass(frozen=True)
class Request:
    """Which scenes: `scenes` of a split from index `first` on; shares of rooms (the rest are levels) and of moving
    scenes; `starts` scenes are filmed from different places each time a level is loaded; `supersample` samples along
    each pixel side; `device` as in worlds.render.context.open_context."""

    packs: tuple[Path, ...] = ()
    split: str = "train"
    scenes: int = 10
    first: int = 0
    rooms: float = 0.6
    dynamic: float = 0.0
    starts: int = 5
    supersample: int = 2
    device: str = "auto"
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        if self.scenes < 1 or self.first < 0 or self.first + self.scenes > SEED_RANGE:
            raise WorldsError(f"scenes must be at least 1 and first not negative, not {self.scenes} and {self.first}")
        if not (0.0 <= self.rooms <= 1.0 and 0.0 <= self.dynamic <= 1.0):
            raise WorldsError(f"rooms and dynamic are shares from 0 to 1, not {self.rooms} and {self.dynamic}")
        if self.starts < 1:
            raise WorldsError(f"starts must be at least 1, not {self.starts}")


def jobs(request: Request) -> list[Job]:
    """The work list, deterministic from the request. Without levels in the packs everything is a room."""
    seed_of(request.split, request.first)
    levels = levels_of(request)
    found: list[Job] = []
    at, end = request.first, request.first + request.scenes
    while at < end:
        rng = np.random.default_rng([seed_of(request.split, at), 5])
        # A level job gives `starts` scenes: draw it so much more rarely.
        weight = (1.0 - request.rooms) / request.starts if levels else 0.0
        is_level = levels and rng.uniform() < weight / (weight + request.rooms)
        count = min(request.starts, end - at) if is_level else 1
        level = str(rng.choice(levels)) if is_level else ""
        seeds = tuple(seed_of(request.split, at + k) for k in range(count))
        found.append(Job(seeds, level, tuple(bool(rng.uniform() < request.dynamic) for _ in seeds)))
        at += count
    return found


def levels_of(request: Request) -> list[str]:
    """The level keys of a request's packs and split; training takes only those whose licence allows it."""
    packs = tuple(open_pack(path) for path in request.packs)
    allowed = trainable_keys(packs) if request.split == "train" else None
    keys = (key for pack in packs for key in pack.keys("world"))
    return sorted(k for k in keys if split_list().of(k) == request.split and (allowed is None or k in allowed))


_maker: SceneMaker | None = None
_renderer = None


def _start(request: Request) -> None:
    global _maker, _renderer
    from worlds.render.renderer import Renderer

    _maker = SceneMaker(request.packs, request.split, request.style)
    _renderer = Renderer((request.style.height, request.style.width), request.supersample, request.device)


@dataclass(frozen=True)
class Done:
    """What a worker says of one scene: the folder's `name`, its `size` in bytes and the CPU seconds of writing it, or
    the sentence `why` there is none."""

    name: str = ""
    size: int = 0
    write_seconds: float = 0.0
    why: str = ""


def _work(job: Job, folder: str) -> list[Done]:
    """Film one job into `folder`."""
    done = []
    for scene in film(_maker, _renderer, job):
        if isinstance(scene, str):
            done.append(Done(why=scene))
            continue
        began = time.process_time()
        size = save_clips(scene, Path(folder) / scene.facts.name)
        done.append(Done(scene.facts.name, size, time.process_time() - began))
    return done


def _results(request: Request, folder: Path, workers: int) -> Iterator[Done]:
    """Run all jobs on `workers` processes and yield what became of every scene, as jobs finish."""
    if workers < 1:
        raise WorldsError(f"workers must be at least 1, not {workers}")
    context = multiprocessing.get_context("spawn")
    queue = iter(jobs(request))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(request,)) as pool:
        pending: set[Future] = set()
        try:
            while True:
                while len(pending) < AHEAD * workers and (job := next(queue, None)) is not None:
                    pending.add(pool.submit(_work, job, str(folder)))
                if not pending:
                    return
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield from future.result()
        except BrokenProcessPool as error:
            raise WorldsError(
                "a render process stopped; its message is above (a script that calls this must do so under "
                'if __name__ == "__main__", and an EGL driver must be there)'
            ) from error
        finally:
            for future in pending:
                future.cancel()


def clips(request: Request, workers: int = 1) -> Iterator[SceneClips]:
    """Scenes in memory, rendered by `workers` processes while the caller works.

    They pass through the memory file system where it is large enough, else through the temporary folder; a scene's
    memory is freed with its arrays. Scenes for which no camera was found are left out.
    """
    style = request.style
    frames = style.frames * ((19 if request.dynamic else 6) + style.walks)
    pixel = 5 + 2 * style.ids + 6 * style.normals + 6 * style.motion + 1  # bytes, and room for the rest
    waiting = AHEAD * workers * request.starts * frames * style.width * style.height * pixel
    shared = Path("/dev/shm")
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > waiting
    folder = Path(tempfile.mkdtemp(prefix="worlds-", dir=shared if roomy else None))
    try:
        for done in _results(request, folder, workers):
            if not done.why:
                scene = load_clips(folder / done.name)
                shutil.rmtree(folder / done.name)  # the mapped arrays stay alive until they are dropped
                yield scene
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def render_folder(request: Request, folder: Path, workers: int = 1) -> dict[str, float]:
    """Render into `folder` and return the totals: scenes, frames, bytes, wall seconds and CPU seconds by stage.

    index.jsonl lists the scenes that are complete; scenes already there are rendered again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    totals = {"scenes": 0, "left_out": 0, "frames": 0, "bytes": 0}
    stages: dict[str, float] = {}
    began = time.perf_counter()
    partial = folder / "index.jsonl.partial"
    with partial.open("w") as index:
        for done in _results(request, folder, workers):
            if done.why:
                totals["left_out"] += 1
                continue
            scene = load_clips(folder / done.name)
            totals["scenes"] += 1
            totals["frames"] += scene.frames
            totals["bytes"] += done.size
            for stage, seconds in (*scene.facts.seconds.items(), ("write", done.write_seconds)):
                stages[stage] = stages.get(stage, 0.0) + seconds
            index.write(json.dumps({"folder": done.name, "bytes": done.size, **asdict(scene.facts)}) + "\n")
    os.replace(partial, folder / "index.jsonl")
    wall = time.perf_counter() - began
    return {**totals, "wall_seconds": wall, **{f"cpu_{stage}": seconds for stage, seconds in sorted(stages.items())}}


def pack_paths(folder: Path) -> tuple[Path, ...]:
    """The packs in a folder, sorted by name; WorldsError if there is none."""
    found = tuple(sorted(folder.glob("*.pack")))
    if not found:
        raise WorldsError(f"{folder} holds no pack; write them with `python -m worlds pack` or choose --packs builtin")
    return found


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """The options of `render` and of the benchmark that make a Request."""
    add = parser.add_argument
    add("--packs", default="packs", help='folder with the packs, or "builtin" for rooms of boxes (default packs)')
    add("--split", default="train", help="train, val or test")
    add("--scenes", type=int, default=10)
    add("--first", type=int, default=0, help="index of the first scene")
    add("--rooms", type=float, default=0.6, help="share of rooms; the rest are levels")
    add("--dynamic", type=float, default=0.0, help="share of moving scenes")
    add("--starts", type=int, default=5, help="scenes filmed each time a level is loaded")
    add("--supersample", type=int, default=2)
    add("--device", default="auto", help='"egl:1" renders on the second GPU')
    add("--size", type=int, nargs=2, default=(448, 256), metavar=("WIDTH", "HEIGHT"))
    add("--frames", type=int, default=25, help="frames a path")
    add("--fps", type=float, default=12.0)
    add("--movement", type=float, default=1.0, help="scales the six trajectories")
    add("--walks", type=int, default=0, help="free walks a scene, beside the six")
    add("--no-twin", action="store_true", help="leave out the frozen-time twin of moving scenes")
    add("--ids", action="store_true", help="write object ids")
    add("--normals", action="store_true", help="write normals")
    add("--motion", action="store_true", help="write the velocity of every surface point")
    add("--look", action="store_true", help="film with cameras that have a white balance, tone, noise and JPEG")
    add("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))


def request_of(options: argparse.Namespace) -> Request:
    """The Request that command-line options describe."""
    style = Style(
        width=options.size[0], height=options.size[1], frames=options.frames, fps=options.fps,
        movement=options.movement, walks=options.walks, twin=not options.no_twin, ids=options.ids,
        normals=options.normals, motion=options.motion, look=options.look,
    )  # fmt: skip
    return Request(
        packs=() if options.packs == "builtin" else pack_paths(Path(options.packs)),
        split=options.split,
        scenes=options.scenes,
        first=options.first,
        rooms=options.rooms,
        dynamic=options.dynamic,
        starts=options.starts,
        supersample=options.supersample,
        device=options.device,
        style=style,
    )


def main(arguments: list[str]) -> None:
    """`python -m worlds render`: scenes into a folder."""
    parser = argparse.ArgumentParser("worlds render", description=main.__doc__)
    add_request_options(parser)
    parser.add_argument("--out", type=Path, default=Path("out/worlds"))
    options = parser.parse_args(arguments)
    totals = render_folder(request_of(options), options.out, options.workers)
    print(json.dumps({key: round(value, 3) for key, value in totals.items()}, indent=1))
