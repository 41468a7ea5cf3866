"""Judge the cameras that are found for videos: `python runs/evaluate_poses.py --worlds DIR ... --out DIR`.

A folder is the public evaluation set, of which the videos with a moving camera are taken, or scenes rendered by
`python -m worlds render`: scene number i shows its path number i (of left, right, up, zoom_out, zoom_in, clockwise and
walk_0, over and over), or with --all every path. Depth and lens are those of the model; nothing of the truth is told.

Per clip and on average: degrees by which cameras are turned, their displacement in % of the true path's length (first
cameras together, one scale fitted), the focal length over the true one, the median error of depth in % after one factor
for the whole clip (rendered scenes), frames without a place of their own, seconds without and with the depth network. A
clip that is refused counts as a camera that stands still. Written to --out: metrics.json and table.md.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra import depth
from lyra.evaluate.scores import markdown
from lyra.evaluate.video import moving_truths
from lyra.io.atomic import replacing_file, write_json
from lyra.metrics.poses import trajectory_error
from lyra.scene import Cameras, InputError, require
from lyra.train.student_scenes import decode_depth
from lyra.video import survey as surveying
from lyra.video.footage import Footage

PATHS = ("left", "right", "up", "zoom_out", "zoom_in", "clockwise", "walk_0")
MEASURES = ("rotation", "displacement", "lens", "depth", "lost", "seconds", "with_depth")


@dataclass(frozen=True, eq=False)
class Clip:
    """A video with its true cameras [t], and its true depth (sky infinite) where that is known."""

    footage: Footage
    cameras: Cameras
    depth: Float[Tensor, "t h w"] | None


def clips(folder: Path, every: bool) -> Iterator[Clip]:
    """The clips of a folder in which the camera moves."""
    rendered = sorted(path.parent for path in folder.glob("*/scene.json"))
    for number, place in enumerate(rendered):
        names = json.loads((place / "scene.json").read_text())["clips"]
        wanted = PATHS if every else (PATHS[number % len(PATHS)],)
        for name in (name for name in wanted if name in names):
            yield of_rendered(place, name, names.index(name))
    for truth in () if rendered else moving_truths(folder):
        if float(truth.source.centers.diff(dim=0).abs().max()) > 1e-4:
            yield Clip(truth.footage, truth.source, None)


def of_rendered(place: Path, name: str, number: int) -> Clip:
    """One path of a rendered scene."""
    rgb, code = (np.array(np.load(place / f"{what}.npy", mmap_mode="r")[number]) for what in ("rgb", "depth"))
    with np.load(place / "cameras.npz") as file:
        c2w, K = torch.from_numpy(file["c2w"][number]).float(), torch.from_numpy(file["K"]).float()
    count, height, width = rgb.shape[:3]
    frames = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255
    footage = Footage(frames, torch.arange(count), 12.0, f"{place.name}/{name}", (width, height))
    return Clip(footage, Cameras(c2w, K.expand(count, 3, 3), width, height), decode_depth(code))


def judged(clip: Clip, model: depth.DepthModel) -> dict[str, float]:
    """Find the cameras of a clip and compare them with the truth."""
    spent = 0.0

    def timed(*given: Tensor) -> depth.DepthMap:
        nonlocal spent
        began = time.perf_counter()
        made = model(*given)
        spent += time.perf_counter() - began
        return made

    began = time.perf_counter()
    try:
        found = surveying.survey(clip.footage, timed)
    except InputError as error:
        print(f"  refused: {error}")
        still = trajectory_error(torch.eye(4).expand(len(clip.footage), 4, 4), clip.cameras.c2w)
        return {"rotation": still.rotation, "displacement": 100 * still.displacement, "lost": len(clip.footage)}
    seconds = time.perf_counter() - began
    error = trajectory_error(found.cameras.c2w, clip.cameras.c2w)
    result = {
        "rotation": error.rotation,
        "displacement": 100 * error.displacement,
        "lens": float(found.cameras.K[0, 0, 0] / clip.cameras.K[0, 0, 0]),
        "lost": found.lost,
        "seconds": seconds - spent,
        "with_depth": seconds,
    }
    if clip.depth is not None:
        away = (found.depth / clip.depth).log()[found.depth.isfinite() & clip.depth.isfinite()]
        result["depth"] = 100 * float((away - away.median()).abs().median())
    return result


def averaged(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over the clips that have a value; of the lens the mean distance from 1."""
    made = {name: [row[name] for row in rows if name in row] for name in MEASURES}
    made["lens"] = [abs(value - 1) for value in made["lens"]]
    return {name: sum(values) / len(values) for name, values in made.items() if values}


def main() -> None:
    """Read, find, score, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", help="the depth model, see lyra.depth.load")
    parser.add_argument("--worlds", type=Path, nargs="+", default=[Path("tests/assets/eval_worlds")])
    parser.add_argument("--all", action="store_true", help="every path of a rendered scene")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = depth.load(args.model, args.device)
    results: dict[str, dict[str, float]] = {}
    for folder in args.worlds:
        for clip in clips(folder, args.all):
            results[clip.footage.name] = judged(clip, model)
            print(clip.footage.name, {name: round(value, 3) for name, value in results[clip.footage.name].items()})
    require(bool(results), "none of the folders holds a video with a moving camera")
    results["mean (lens: distance from 1)"] = averaged(list(results.values()))
    write_json(args.out / "metrics.json", results)
    table = markdown({name: {args.model: row} for name, row in results.items()}, MEASURES)
    with replacing_file(args.out / "table.md") as temporary:
        temporary.write_text(table)
    print(table)


if __name__ == "__main__":
    main()
