"""Frames a second of the whole data engine, scene set-up included: worlds, paths, rendering, hand-over.

python benchmarks/world_dataset.py --packs packs --scenes 500 --workers 14 [--dynamic 0.4] [--out FOLDER]

Without --out the scenes are taken from memory as a training would take them and dropped; with it they stay on disk.
Prints one JSON line: frames and scenes a second from the first worker's start, CPU seconds by stage, bytes.
"""

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path

from worlds.dataset import add_request_options, clips, render_folder, request_of


def from_memory(options: argparse.Namespace) -> dict[str, float]:
    """Take all scenes through `clips` and drop them; totals as of `render_folder`."""
    totals: dict[str, float] = {"scenes": 0, "frames": 0, "bytes": 0}
    began = time.perf_counter()
    for scene in clips(request_of(options), options.workers):
        totals["scenes"] += 1
        totals["frames"] += scene.frames
        totals["bytes"] += scene.rgb.nbytes + scene.depth_code.nbytes + (0 if scene.ids is None else scene.ids.nbytes)
        totals.setdefault("seconds_to_first_scene", time.perf_counter() - began)
        for stage, seconds in scene.facts.seconds.items():
            totals[f"cpu_{stage}"] = totals.get(f"cpu_{stage}", 0.0) + seconds
    return totals | {"wall_seconds": time.perf_counter() - began}


def main() -> None:
    """Measure once and print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_request_options(parser)
    parser.add_argument("--out", type=Path, help="keep the scenes in this folder")
    options = parser.parse_args()
    if options.out is None:
        totals = from_memory(options)
    else:
        totals = render_folder(request_of(options), options.out, options.workers)
    wall = totals["wall_seconds"]
    print(
        json.dumps(
            {
                "what": "world dataset",
                "value": round(totals["frames"] / wall, 1),
                "unit": "frames/s",
                "scenes_per_second": round(totals["scenes"] / wall, 2),
                **{key: round(value, 2) for key, value in totals.items()},
                "config": {key: str(value) for key, value in vars(options).items()},
                "cores": os.cpu_count(),
                "machine": platform.machine(),
                "python": platform.python_version(),
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            }
        )
    )


if __name__ == "__main__":
    main()
