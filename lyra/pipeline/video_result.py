"""A finished scene that moves, and the files that are made of it."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lyra.io import packed
from lyra.io.cameras import save_cameras
from lyra.io.images import save_image, to_uint8
from lyra.io.video_writer import VideoWriter
from lyra.pipeline import machine
from lyra.pipeline.folder import filling, write_report
from lyra.pipeline.job import Job
from lyra.render import render
from lyra.scene import Cameras, DynamicGaussians
from lyra.scene.limits import limit
from lyra.scene.trajectories import PRESETS, bullet_time
from lyra.video.survey import Survey
from lyra.view.page import save_html

FILES = (
    "scene.lyra4d", "viewer.html", "fixed-camera.mp4", "bullet-time.mp4", "preview.png", "cameras.json", "report.json"
)  # fmt: skip
_SWEEP, _RATES, _CLEARANCE = 48, (12.0, 24.0), 0.15
_SWING = 0.45  # of the preset's 15 degrees: what one side of a moving thing shows does not reach further
_MOST = 72  # frames of a video while the scene plays


@dataclass(frozen=True, eq=False)
class MovingScene:
    """What `generate_video` returns: Gaussians over time in the world, what is known of the video, its frames.

    `report` is what report.json holds.
    """

    gaussians: DynamicGaussians
    survey: Survey
    frames: Float[Tensor, "t 3 h w"]
    report: dict

    @property
    def rate(self) -> float:
        """Frames a second of the videos that are written: smooth, but not too many."""
        low, high = _RATES
        return min(max(self.gaussians.fps, low), high, max(low, _MOST / self.gaussians.duration))

    def sweep(self, moment: int, frames: int = _SWEEP) -> Cameras:
        """Cameras that swing about what the video's camera sees at a frame, not so far that they run into it."""
        start, depth = self.survey.cameras[moment], self.survey.depth[moment]
        valid = depth.isfinite()
        middle = float(depth[valid].median()) if bool(valid.any()) else 1.0

        def travel(share: float) -> Cameras:
            return PRESETS["swing"].cameras(start, frames, middle, _SWING * share, self.rate)

        return limit(travel, start, depth, valid, clearance=_CLEARANCE * middle, coverage=0.5)[0]

    def fixed_camera(self) -> Cameras:
        """One camera aside of the video's, while the scene plays."""
        aside = self.sweep(0)[_SWEEP // 4]
        count = max(2, round(self.gaussians.duration * self.rate))
        times = torch.arange(count) / self.rate
        c2w, K = (each.expand(count, *each.shape) for each in (aside.c2w, aside.K))
        return replace(aside, c2w=c2w, K=K, times=times.clamp(max=self.gaussians.duration))

    def bullet_time(self) -> Cameras:
        """The scene plays to its middle, time stops while the camera swings, and it plays on."""
        moment = self.gaussians.duration / 2
        frame = min(round(moment * self.gaussians.fps), len(self.frames) - 1)
        return bullet_time(self.sweep(frame), moment, self.gaussians.duration, self.rate)

    def save(self, folder: str | os.PathLike, job: Job | None = None) -> list[Path]:
        """Write FILES into a folder, which is made if need be; all or none, report.json last. Raises InputError.

        The scene is packed while its videos are drawn, and a picture is encoded while the next one is drawn.
        """
        job = job or Job()
        began = time.perf_counter()
        fixed, bullet = self.fixed_camera(), self.bullet_time()
        scene = self.gaussians.to(machine.drawing(job.device))
        with filling(folder) as new, job.stage("writing", len(fixed) + len(bullet)) as tell:
            with ThreadPoolExecutor(1) as aside:
                packing = aside.submit(self._pack, new)
                _film(scene, fixed, new / "fixed-camera.mp4", self.rate, tell)
                _film(scene, bullet, new / "bullet-time.mp4", self.rate, lambda done: tell(len(fixed) + done))
                middle = fixed[[len(fixed) // 2]]
                save_image(next(pictures(scene, middle)).float() / 255, new / "preview.png")
                packing.result()
            write_report(self.report, time.perf_counter() - began, new)
        return [Path(folder) / name for name in FILES]

    def _pack(self, new: Path) -> None:
        """The scene, the page that plays it, and the video's cameras."""
        container = packed.pack(self.gaussians, path="scene.lyra4d")
        (new / "scene.lyra4d").write_bytes(container)
        name = self.report["video"]["name"]
        save_html(self.gaussians, new / "viewer.html", self._source(), name, container=container)
        save_cameras(self._source(), new / "cameras.json")

    def _source(self) -> Cameras:
        """The video's own cameras with their times."""
        times = torch.arange(len(self.frames)) / self.gaussians.fps
        return replace(self.survey.cameras, times=times)


@torch.no_grad()
def pictures(scene: DynamicGaussians, path: Cameras) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """What cameras [t] see at their times: drawn where the scene lies, given on the CPU."""
    shown, before = None, None
    for index, moment in enumerate(path.times.tolist()):
        if moment != before:  # time may stand still
            shown, before = scene.at(moment), moment
        yield to_uint8(render(shown, path[index]).rgb).cpu()


def _film(scene: DynamicGaussians, path: Cameras, file: Path, rate: float, tell: Callable[[int], None]) -> None:
    """Draw and encode the pictures of a path."""
    with VideoWriter(file, rate) as writer, ThreadPoolExecutor(1) as encoder:
        waiting = []
        for picture in pictures(scene, path):
            waiting.append(encoder.submit(writer.write, picture))
            tell(len(waiting))
        for written in waiting:
            written.result()
