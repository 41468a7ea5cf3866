"""Statistics of rendered scenes: depth range, what later frames show anew, how much moves, how bright they are."""

import argparse
import json
from pathlib import Path

import numpy as np

from worlds.clips import SceneClips, load_clips, scene_folders

QUANTILES = (5, 25, 50, 75, 95)


def measure(scene: SceneClips) -> dict[str, float]:
    """Numbers of one scene: its median depth (m), ratio of the 95th to the 5th depth percentile, sky share, coverage by
    kind of path, motion share, mean luma and shares of black (< 8) and burnt (> 247) pixels of the first frame."""
    code = scene.depth[0, 0, ::2, ::2]
    finite = np.isfinite(code)
    near, median, far = np.percentile(code[finite], [5, 50, 95]) if finite.any() else (np.nan,) * 3
    luma = scene.rgb[0, 0] @ np.array([0.2126, 0.7152, 0.0722])
    facts = scene.facts
    found = {
        "median_depth": float(median),
        "depth_ratio": float(far / near),
        "sky": float(1.0 - finite.mean()),
        "motion": facts.motion,
        "luma": float(luma.mean()),
        "black": float((luma < 8).mean()),
        "burnt": float((luma > 247).mean()),
        "fov": facts.fov,
    }
    still = (name for name in facts.clips if "_" not in name or name in ("zoom_in", "zoom_out"))
    shares = dict(zip(facts.clips, facts.coverage, strict=True))
    return found | {f"unseen {name}": shares[name] for name in still if name != "input"}


def table(scenes: list[SceneClips]) -> dict[str, dict[str, float]]:
    """Percentiles and mean of every number over scenes; motion over the moving ones alone."""
    rows = [(scene.facts.dynamic, measure(scene)) for scene in scenes]
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    found = {}
    for name in names:
        values = [row[name] for dynamic, row in rows if name in row and (dynamic or name != "motion")]
        if values:
            found[name] = {f"p{q}": round(float(np.nanpercentile(values, q)), 4) for q in QUANTILES}
            found[name]["mean"] = round(float(np.nanmean(values)), 4)
    return found


def main(arguments: list[str]) -> None:
    """`python -m worlds statistics`: a JSON table over the scenes of a rendered folder."""
    parser = argparse.ArgumentParser("worlds statistics", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    scenes = [load_clips(path) for path in scene_folders(parser.parse_args(arguments).folder)]
    print(json.dumps({"scenes": len(scenes), **table(scenes)}, indent=1))
