"""The public evaluation set: still and moving test scenes with true images and depth at held-out cameras.

Plain files, so that nothing of this package is needed to read them. A scene's folder holds `cameras.json`,
`first.webp` (the input image; moving scenes also `input_00.webp` ...), `first_depth.png` and, for each held-out view,
`view_00.webp` and `view_00_depth.png`. Depth is u16: z = depth_scale / value metres along the camera's z axis, 0 is
sky; inverse depth is linear on planes, which PNG packs well. View depths hold every fourth pixel: entry (y, x) is the
pixel (4 y, 4 x). Poses are camera-to-world, OpenCV axes, relative to the first camera.
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from worlds.captions import moving_caption
from worlds.dataset import pack_paths
from worlds.errors import WorldsError
from worlds.paths.plan import Lens, acceptable
from worlds.paths.starts import intrinsics, look_along
from worlds.scenes import Job, Planned, SceneMaker, Style
from worlds.splits import seed_of

FOLDER = Path("tests/assets/eval_worlds")
INPUT_QUALITY, VIEW_QUALITY = 90, 70
NOVEL = 3  # cameras off the paths, in still scenes
MOST_BYTES = 6 * 1024 * 1024

# (index in the test split, level or "" for a room, moving)
SCENES: tuple[tuple[int, str, bool], ...] = (
    *((index, "", False) for index in (0, 1, 2, 4, 6, 9, 11, 13, 14)),
    (301, "stk/gran_paradiso_island", False),
    (302, "stk/zengarden", False),
    (303, "stk/pumpkin_park", False),
    (102, "", True),
    (103, "", True),
    (400, "stk/gran_paradiso_island", True),
    (401, "stk/zengarden", True),
)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One held-out view: its path and frame, time s, c2w f64 [4, 4], rgb u8 [h, w, 3], depth f32 [h/4, w/4]."""

    name: str
    frame: int
    time: float
    c2w: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True, eq=False)
class EvalScene:
    """One scene of the set: first image u8 [h, w, 3] and depth f32 [h, w], K f64 [3, 3], the source video u8
    [t, h, w, 3] with its cameras f64 [t, 4, 4] and times (moving scenes; one frame otherwise), the held-out views."""

    name: str
    dynamic: bool
    caption: str
    center_depth: float
    K: np.ndarray
    first: np.ndarray
    first_depth: np.ndarray
    source: np.ndarray
    source_c2w: np.ndarray
    source_times: np.ndarray
    views: tuple[HeldOut, ...]


def load(folder: Path = FOLDER) -> Iterator[EvalScene]:
    """The scenes of the set in order. WorldsError if a file is missing or damaged."""
    try:
        for name in json.loads((folder / "scenes.json").read_text())["scenes"]:
            yield _load_scene(folder / name)
    except (OSError, ValueError, KeyError) as error:
        raise WorldsError(f"{folder} is not a complete evaluation set ({error})") from error


def _load_scene(folder: Path) -> EvalScene:
    record = json.loads((folder / "cameras.json").read_text())
    scale = record["depth_scale"]
    views = tuple(
        HeldOut(
            v["path"], v["frame"], v["time"], np.array(v["c2w"]), _image(folder / v["image"]),
            _depth(folder / v["depth"], scale),
        )
        for v in record["views"]
    )  # fmt: skip
    source = record["source"]
    return EvalScene(
        folder.name, record["dynamic"], record["caption"], record["center_depth"], np.array(record["K"]),
        _image(folder / "first.webp"), _depth(folder / "first_depth.png", scale),
        np.stack([_image(folder / s["image"]) for s in source]), np.array([s["c2w"] for s in source]),
        np.array([s["time"] for s in source]), views,
    )  # fmt: skip


def _image(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _depth(path: Path, scale: float) -> np.ndarray:
    with Image.open(path) as image:
        code = np.asarray(image).astype(np.float32)
    return np.where(code > 0, np.float32(scale) / np.maximum(code, 1.0), np.inf).astype(np.float32)


def _webp(rgb: np.ndarray, quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def _depth_png(depth: np.ndarray, scale: float) -> bytes:
    code = np.where(np.isfinite(depth), np.clip(np.rint(scale / np.maximum(depth, 1e-6)), 1, 65535), 0)
    buffer = BytesIO()
    Image.fromarray(code.astype(np.uint16)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def novel_cameras(plan: Planned, aspect: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Cameras f64 [4, 4] near the first one but on none of the paths; they look at about the same things."""
    first = plan.c2w[0, 0]
    lens = Lens(plan.fov, aspect)
    found: list[np.ndarray] = []
    for _ in range(200):
        shift = first[:3, :3] @ (rng.normal(0.0, 1.0, 3) * np.array([0.16, 0.08, 0.12]) * plan.center_depth)
        target = first[:3, 3] + plan.center_depth * (
            first[:3, 2] + 0.15 * rng.normal() * first[:3, 0] + 0.08 * rng.normal() * first[:3, 1]
        )
        camera = look_along(first[:3, 3] + shift, target - first[:3, 3] - shift)
        if np.linalg.norm(shift) > 0.08 * plan.center_depth and acceptable(
            plan.space, camera[None], lens, plan.world.near_scale
        ):
            found.append(camera)
        if len(found) == NOVEL:
            break
    return found


def _picks(plan: Planned, dynamic: bool) -> list[tuple[str, int, int]]:
    """(path, row, frame) of the held-out views: middle and end of the six; for moving scenes their ends and a frame of
    each reversed path. (The spiral is where it began at its middle and end: other frames of it are taken.)"""
    last = plan.c2w.shape[1] - 1
    found = []
    for row, name in enumerate(plan.names):
        if name == "input" or name.endswith("_frozen"):
            continue
        if not dynamic:
            frames = (last // 8, last // 4) if name == "clockwise" else (last // 2, last)
            found += [(name, row, frame) for frame in frames]
        elif name.endswith("_reversed"):
            found += [(name, row, last // 4)]
        else:
            found += [(name, row, 3 * last // 4 if name == "clockwise" else last)]
            found += [(name, row, last // 2)] if name in ("left", "up", "zoom_in") else []
    return found


def write_scene(maker: SceneMaker, renderer, job: Job, folder: Path) -> dict[str, object]:
    """Render one scene into `folder` and return its line of the index (size, caption, assets)."""
    plan = next(plan for _, plan in maker.plans(job))
    if plan is None:
        raise WorldsError(f"no camera was found for {job}; take another seed")
    dynamic = job.dynamic[0]
    last = plan.c2w.shape[1]
    rows = [("first", 0, 0), *[("input", 0, i) for i in range(last if dynamic else 1)], *_picks(plan, dynamic)]
    poses = [plan.c2w[row, frame] for _, row, frame in rows]
    times = [float(plan.times[row, frame]) for _, row, frame in rows]
    if not dynamic:
        rng = np.random.default_rng([job.seeds[0], 3])
        for camera in novel_cameras(plan, maker.style.width / maker.style.height, rng):
            rows.append(("novel", len(plan.names), 0))
            poses.append(camera)
            times.append(0.0)
    K = intrinsics(maker.style.width, maker.style.height, plan.fov)
    stage = renderer.upload(plan.world)
    drawn = renderer.render(stage, np.stack(poses), np.repeat(K[None], len(poses), 0), np.array(times))
    stage.release()
    depth_scale = 65535.0 * 0.98 * float(min(np.min(drawn.depth), 0.2 * plan.center_depth))
    inverse = np.linalg.inv(poses[0])
    folder.mkdir(parents=True)
    record = {
        "caption": moving_caption(plan.world.caption, [m.instance.label for m in plan.world.movers]),
        "dynamic": dynamic, "width": maker.style.width, "height": maker.style.height, "fps": maker.style.fps,
        "fov": plan.fov, "K": K.tolist(), "center_depth": plan.center_depth, "depth_scale": depth_scale,
        "source": [], "views": [],
    }  # fmt: skip
    (folder / "first.webp").write_bytes(_webp(drawn.rgb[0], INPUT_QUALITY))
    (folder / "first_depth.png").write_bytes(_depth_png(drawn.depth[0], depth_scale))
    for i, (name, _, frame) in enumerate(rows[1:], start=1):
        entry = {"frame": frame, "time": times[i], "c2w": (inverse @ poses[i]).round(9).tolist()}
        if name == "input":
            entry["image"] = f"input_{frame:02d}.webp" if dynamic else "first.webp"
            if dynamic:
                (folder / entry["image"]).write_bytes(_webp(drawn.rgb[i], VIEW_QUALITY))
            record["source"].append(entry)
            continue
        number = len(record["views"])
        entry |= {"path": name, "image": f"view_{number:02d}.webp", "depth": f"view_{number:02d}_depth.png"}
        (folder / entry["image"]).write_bytes(_webp(drawn.rgb[i], VIEW_QUALITY))
        (folder / entry["depth"]).write_bytes(_depth_png(drawn.depth[i, ::4, ::4], depth_scale))
        record["views"].append(entry)
    (folder / "cameras.json").write_text(json.dumps(record, indent=1))
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"bytes": size, "caption": record["caption"], "world": plan.world.name, "assets": sorted(plan.world.assets)}


def build(packs: tuple[Path, ...], jobs: list[Job], folder: Path) -> int:
    """Render the set into `folder` (complete or not at all) and return its size; WorldsError above MOST_BYTES."""
    from worlds.render.renderer import Renderer

    maker = SceneMaker(packs, "test", Style(), open_only=True)
    renderer = Renderer((maker.style.height, maker.style.width), supersample=2)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    index: dict[str, dict[str, object]] = {}
    for number, job in enumerate(jobs):
        name = f"{number:02d}_{'moving' if job.dynamic[0] else 'still'}_{job.level.rsplit('/', 1)[-1] or 'room'}"
        index[name] = write_scene(maker, renderer, job, partial / name)
        print(f"{name}: {index[name]['bytes']} bytes, {index[name]['caption']}")
    used = {key for scene in index.values() for key in scene["assets"]}
    credits = [pack.entries[key].credit.record(key) for pack in maker.packs for key in sorted(used & set(pack.entries))]
    closed = [line["key"] for line in credits if not line["train_ok"]]
    if closed:
        raise WorldsError(f"the set may not be redistributed: {', '.join(closed[:5])}")
    (partial / "CREDITS.json").write_text(json.dumps(credits, indent=0))
    (partial / "scenes.json").write_text(json.dumps({"scenes": list(index), "about": index}, indent=1))
    size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise WorldsError(f"the set takes {size} bytes, more than {MOST_BYTES}; lower the quality or the views")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return size


def main(arguments: list[str]) -> None:
    """`python -m worlds evalset`: render the public evaluation set anew."""
    parser = argparse.ArgumentParser("worlds evalset", description=main.__doc__)
    parser.add_argument("--packs", type=Path, default=Path("packs"))
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    size = build(
        pack_paths(options.packs), [Job((seed_of("test", s),), level, (d,)) for s, level, d in SCENES], options.out
    )
    print(f"{options.out}: {size} bytes")
