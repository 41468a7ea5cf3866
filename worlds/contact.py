"""Contact sheets of rendered scenes: a row a scene, frames beside each other, depth in colour."""

import argparse
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from worlds.clips import SceneClips, load_clips, scene_folders
from worlds.errors import WorldsError

# A perceptual ramp from near (light) to far (dark): nine sRGB knots of a blue-to-yellow scale.
_RAMP = np.array(
    [
        (253, 231, 37), (160, 218, 57), (74, 193, 109), (31, 161, 135), (39, 127, 142), (54, 92, 141), (70, 50, 127),
        (68, 1, 84), (20, 0, 30),
    ],
    np.float64,
)  # fmt: skip


def depth_picture(depth: np.ndarray) -> np.ndarray:
    """u8 [h, w, 3] of metric depth f32 [h, w]: log scale between its 2nd and 98th percentile, sky black."""
    finite = np.isfinite(depth)
    if not finite.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    log = np.log(np.where(finite, depth, 1.0))
    low, high = np.percentile(log[finite], [2.0, 98.0])
    place = np.clip((log - low) / max(high - low, 1e-6), 0.0, 1.0) * (len(_RAMP) - 1)
    knots = np.arange(len(_RAMP))
    colour = np.stack([np.interp(place, knots, _RAMP[:, k]) for k in range(3)], axis=-1)
    return np.where(finite[..., None], colour, 0.0).astype(np.uint8)


def row(scene: SceneClips, columns: int) -> np.ndarray:
    """One row u8 [h, columns * w, 3]: the first frame, its depth, and the last frames of the paths (still scenes) or
    frames of one path over time (moving scenes)."""
    cells = [scene.rgb[0, 0], depth_picture(scene.depth[0, 0])]
    if scene.facts.dynamic:
        cells += [scene.rgb[0, i] for i in np.linspace(1, scene.rgb.shape[1] - 1, columns - 2).astype(int)]
    else:
        order = [4, 3, 0, 1, 2, 5, *range(6, scene.rgb.shape[0])]
        cells += [scene.rgb[i, -1 if i != 5 else scene.rgb.shape[1] // 4] for i in order if i < scene.rgb.shape[0]]
    cells = cells[:columns] + [np.zeros_like(scene.rgb[0, 0])] * (columns - len(cells))
    return np.concatenate(cells, axis=1)


def sheet(scenes: list[SceneClips], columns: int = 5, width: int = 224) -> Image.Image:
    """A sheet with one row a scene and cells of `width` px."""
    if not scenes:
        raise WorldsError("there is no scene to show; render some first with `python -m worlds render`")
    rows = []
    for scene in scenes:
        picture = Image.fromarray(row(scene, columns))
        height = round(width * scene.rgb.shape[2] / scene.rgb.shape[3])
        rows.append(np.asarray(picture.resize((columns * width, height), Image.Resampling.LANCZOS)))
    return Image.fromarray(np.concatenate(rows))


def save_sheet(picture: Image.Image, path: Path, most_bytes: int = 250_000) -> int:
    """Write a JPEG of at most `most_bytes` (quality lowered as needed) and return its size."""
    for quality in range(90, 20, -5):
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= most_bytes:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return buffer.tell()


def main(arguments: list[str]) -> None:
    """`python -m worlds contact`: a sheet of some scenes of a rendered folder."""
    parser = argparse.ArgumentParser("worlds contact", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sheet", type=Path, help="the JPEG to write")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--width", type=int, default=224, help="width of a cell, px")
    parser.add_argument("--dynamic", action="store_true", help="moving scenes only")
    parser.add_argument("--kind", choices=["room", "level"], help="rooms or levels only")
    options = parser.parse_args(arguments)
    found = [load_clips(path) for path in scene_folders(options.folder)]
    found = [s for s in found if options.kind in (None, s.facts.kind) and (s.facts.dynamic or not options.dynamic)]
    size = save_sheet(sheet(found[: options.rows], options.columns, options.width), options.sheet)
    print(f"{options.sheet}: {min(len(found), options.rows)} scenes, {size} bytes")
