"""A finished scene and the files that are made of it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.depth.depth_map import DepthMap
from lyra.io import save as save_scene
from lyra.io.cameras import save_cameras
from lyra.io.images import save_image
from lyra.pipeline import machine
from lyra.pipeline.folder import filling, write_report
from lyra.pipeline.job import Job
from lyra.render import render
from lyra.scene import Cameras, Gaussians
from lyra.scene.limits import limit
from lyra.scene.trajectories import PRESETS
from lyra.view.page import save_html

FILES = ("scene.ply", "scene.spz", "viewer.html", "orbit.mp4", "preview.png", "cameras.json", "report.json")
_ORBIT_FRAMES, _FPS, _LARGER, _CLEARANCE, _NEAR = 60, 20.0, 1.5, 0.15, 0.25


@dataclass(frozen=True, eq=False)
class Scene:
    """What `generate` returns: Gaussians in the world, the cameras (v, t) they were made for, the photo and its depth.

    `gaussians.seen` says for each whether the photograph showed its place. `report` is what report.json holds.
    """

    gaussians: Gaussians
    cameras: Cameras
    depth: DepthMap
    image: Float[Tensor, "3 h w"]
    report: dict

    def orbit(self, frames: int = _ORBIT_FRAMES) -> Cameras:
        """Cameras [frames] in a lying figure of eight that face what the photo shows, not so far that they hit it.

        Their distance is measured by what is near; by the median depth, a cup would sweep through the picture.
        """
        start = self.cameras[0, 0]
        depth, valid = self.depth.depth, self.depth.valid
        near = float(depth[valid].quantile(_NEAR)) if bool(valid.any()) else 1.0

        def travel(share: float) -> Cameras:
            return PRESETS["lemniscate"].cameras(start, frames, near, share, _FPS)

        return limit(travel, start, depth, valid, clearance=_CLEARANCE * near, coverage=0.5)[0]

    def save(self, folder: str | os.PathLike, job: Job | None = None) -> list[Path]:
        """Write FILES into a folder, which is made if need be; files of these names are replaced, others stay.

        Everything is written under another name first, so a kill leaves either the old files or the new ones, and
        report.json, which comes last, says that a folder is complete. Raises InputError where it cannot be written.
        """
        job = job or Job()
        began = time.perf_counter()
        with filling(folder) as new, job.stage("writing", _ORBIT_FRAMES) as tell:
            save_scene(self.gaussians, new / "scene.ply")
            save_scene(self.gaussians, new / "scene.spz")
            path = self.orbit()
            save_html(self.gaussians, new / "viewer.html", path, self.report["photo"]["name"])
            save_cameras(self.cameras.flatten(), new / "cameras.json")
            self._draw(new, path, job.device, tell)
            write_report(self.report, time.perf_counter() - began, new)
        return [Path(folder) / name for name in FILES]

    @torch.no_grad()
    def _draw(self, new: Path, path: Cameras, device: torch.device, tell: Callable[[int], None]) -> None:
        """orbit.mp4, somewhat larger than what the model sees, and its first frame."""
        from lyra.io.video_writer import VideoWriter  # PyAV: not needed to generate

        device = machine.drawing(device)
        scene = self.gaussians.to(device)
        large = path.resize(round(_LARGER * path.height), round(_LARGER * path.width)).to(device)
        with VideoWriter(new / "orbit.mp4", _FPS) as writer:
            for index in range(len(large)):
                picture = render(scene, large[index]).rgb.clamp(0, 1).cpu()
                writer.write(picture)
                if index == 0:
                    save_image(picture, new / "preview.png")
                tell(index + 1)
