"""Time and memory of a video that becomes a scene, by stages: python -m benchmarks.video [CLIP] [--quality ...].

Without CLIP a video of 25 frames is written from a moving scene of the public evaluation set: 13_moving_room, whose
camera moves (--scene 12_moving_room: it stands still). Cameras and depth are found, all six paths are imagined, and all
files are written, viewer.html and two videos among them.

`lyra generate` runs as a process of its own, as a user starts it; demanded of two CPU cores: 120 s. With --loaded the
job runs in this process with all networks in memory: the best of three runs after a first one, which is told too, from
the file of the video to the last file of the scene; demanded of one H100: 5 s. Exits with 1 when a demand is missed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.generate import REPEATS, command, loaded, memory, of_loaded
from benchmarks.record import report
from lyra.evaluate.video import moving_truths
from lyra.io.video_writer import save_video
from lyra.pipeline import machine
from lyra.pipeline.job import Job
from lyra.pipeline.order import Order
from lyra.pipeline.video import generate_video
from lyra.pipeline.video_result import MovingScene

COMMAND_SECONDS, LOADED_SECONDS = 120.0, 5.0  # asked of two CPU cores; of one H100


def written(scene: str, folder: Path) -> Path:
    """The video of a scene of the evaluation set, as H.264."""
    truth = next(each for each in moving_truths(Path("tests/assets/eval_worlds")) if each.footage.name == scene)
    path = folder / f"{scene}.mp4"
    save_video(truth.footage.frames, path, truth.footage.fps)
    return path


def measure_loaded(clip: Path, quality: str, device: str, folder: Path) -> list[dict]:
    """From the video to all files with all networks in memory, the fastest run first."""

    def make(job: Job) -> MovingScene:
        scene = generate_video(clip, Order(quality), job=job)
        scene.save(folder / "out", job)
        return scene

    runs, scene = loaded(make, device)
    facts = scene.report
    config = {
        "clip": clip.name, "quality": quality, "device": facts["versions"]["device"], "camera": facts["camera"],
        "threads": torch.get_num_threads(), "gaussians": facts["gaussians"], "repeats": REPEATS,
    }  # fmt: skip
    return of_loaded(runs, "video", config) + memory(machine.peak_memory(torch.device(device)), "video, loaded", config)


def main() -> int:
    """Measure, report, and say by the exit code whether the demand is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path, nargs="?")
    parser.add_argument("--scene", default="13_moving_room", help="of the evaluation set, if there is no clip")
    parser.add_argument("--quality", default="standard", choices=("draft", "standard", "full"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--loaded", action="store_true", help="in this process, networks in memory")
    parser.add_argument("--record", action="store_true", help="append the results to benchmarks/results/video.jsonl")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        clip = asked.clip or written(asked.scene, Path(place))
        if asked.loaded:
            lines, limit = measure_loaded(clip, asked.quality, asked.device, Path(place)), LOADED_SECONDS
        else:
            lines, limit = command(clip, asked.quality, asked.device, "video", "clip"), COMMAND_SECONDS
    report("video", lines, record=asked.record)
    seconds = lines[0]["value"]
    if seconds > limit:
        print(f"missed: {limit:.0f} s", file=sys.stderr)
    return int(seconds > limit)


if __name__ == "__main__":
    sys.exit(main())
