"""The part of `lyra generate` that turns a video into a scene that moves."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lyra.cli.imagine import Options, asked, start
from lyra.cli.report import finish, stages

_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp", ".ts")
_ANIMATED = (".gif", ".webp", ".apng")  # a video if it has more than one frame


@dataclass(frozen=True)
class VideoOptions:
    """Of videos.

    Args:
        cameras: The cameras of a video: a camera file, a folder of ViPE, or a .npz of VGGT or Depth Anything 3. Without
            it they are found (needs the extra `video`).
        start: Seconds of the video to leave out at its beginning.
        seconds: How much of the video to take; everything up to 8 s if not given.
        fps: The frame rate of a folder of images.
        animate: Let a photograph move. No weights that can do it are known to this version, so it is refused.
    """

    cameras: Path | None = None
    start: float = 0.0
    seconds: float | None = None
    fps: float = 24.0
    animate: bool = False

    def check(self, source: Path | None) -> None:
        """Raises InputError if something is asked that no weights can do."""
        from lyra.scene import require

        video = source is not None and is_video(source)
        require(
            not self.animate or video,
            "--animate: a photograph cannot be made to move; the models here only continue the motion of a video. "
            "Give a video of it, or leave --animate out",
        )


VIDEO = VideoOptions()


def is_video(path: Path) -> bool:
    """Whether a path is a video rather than a photograph: by its name, or a folder, or an animation."""
    if path.is_dir() or path.suffix.lower() in _SUFFIXES:
        return True
    if path.suffix.lower() not in _ANIMATED or not path.is_file():
        return False
    from PIL import Image

    try:
        with Image.open(path) as file:
            return getattr(file, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError):
        return False


def generate_video(video: Path, out: Path, quality: str, options: Options, about: VideoOptions, as_json: bool) -> None:
    """Fill `out` with the scene of a video."""
    from lyra.pipeline.order import Order
    from lyra.pipeline.video import Clip, generate_video

    began = time.perf_counter()
    cameras = None if about.cameras is None else str(about.cameras)
    with stages() as watch:
        job = start(out, options, watch)
        order = Order(quality, **asked(options))
        made = generate_video(video, order, Clip(about.start, about.seconds, about.fps, cameras), job)
        files = made.save(out, job)
    report = made.report
    if not as_json:
        for note in report["video"]["notes"]:
            print(f"lyra: {note}", file=sys.stderr)
    seconds = time.perf_counter() - began
    facts = {
        "out": [str(file) for file in files],
        **{name: report[name] for name in ("gaussians", "static_gaussians", "moving_gaussians", "moving_share")},
        "seconds": round(seconds, 2),
    }
    finish(
        facts,
        f"wrote {out}: {report['gaussians']:,} Gaussians, {report['static_gaussians']:,} of them for the whole "
        f"{made.gaussians.duration:.1f} s, in {seconds:.0f} s; open {out / 'viewer.html'}",
        as_json,
    )
