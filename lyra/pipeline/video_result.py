"""A finished scene that moves, and the files that are made of it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.io import save as save_scene
from lyra.io.cameras import save_cameras
from lyra.io.images import save_image
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
        """Write FILES into a folder, which is made if need be; all or none, report.json last. Raises InputError."""
        job = job or Job()
        began = time.perf_counter()
        fixed, bullet = self.fixed_camera(), self.bullet_time()
        with filling(folder) as new, job.stage("writing", len(fixed) + len(bullet)) as tell:
            save_scene(self.gaussians, new / "scene.lyra4d")
            save_html(self.gaussians, new / "viewer.html", self._source(), self.report["video"]["name"])
            save_cameras(self._source(), new / "cameras.json")
            self._draw(fixed, new / "fixed-camera.mp4", job.device, tell)
            self._draw(bullet, new / "bullet-time.mp4", job.device, lambda done: tell(len(fixed) + done))
            save_image(self.picture(fixed[len(fixed) // 2], job.device), new / "preview.png")
            write_report(self.report, time.perf_counter() - began, new)
        return [Path(folder) / name for name in FILES]

    def _source(self) -> Cameras:
        """The video's own cameras with their times."""
        times = torch.arange(len(self.frames)) / self.gaussians.fps
        return replace(self.survey.cameras, times=times)

    @torch.no_grad()
    def picture(self, camera: Cameras, device: torch.device) -> Float[Tensor, "3 h w"]:
        """What a camera sees at its time."""
        device = machine.drawing(device)
        still = self.gaussians.at(float(camera.times)).to(device)
        return render(still, camera.to(device)).rgb.clamp(0, 1).cpu()

    def _draw(self, path: Cameras, file: Path, device: torch.device, tell: Callable[[int], None]) -> None:
        with VideoWriter(file, self.rate) as writer:
            for index in range(len(path)):
                writer.write(self.picture(path[index], device))
                tell(index + 1)
