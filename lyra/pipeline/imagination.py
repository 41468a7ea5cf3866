"""What the teacher imagined, and the files that show it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.depth.depth_map import DepthMap
from lyra.io.cameras import save_cameras
from lyra.io.images import colour_depth, save_image
from lyra.pipeline.folder import filling, write_report
from lyra.pipeline.job import Job
from lyra.scene import Cameras

_FPS = 24.0
_SHEET_SHARES = (0.5, 1.0)  # moments of each path on the contact sheet


@dataclass(frozen=True, eq=False)
class Imagination:
    """What `imagine` returns.

    depth is that of the photo (world units), `cameras` (v, t) are in the same units, `videos` what the teacher imagined
    along them, `warps` what the photo alone shows there (black where nothing is known), `kinds` the paths' names.
    """

    image: Float[Tensor, "3 h w"]
    depth: DepthMap
    cameras: Cameras
    kinds: tuple[str, ...]
    videos: UInt8[Tensor, "v t 3 h w"]
    warps: UInt8[Tensor, "v t 3 h w"]
    report: dict

    def save(self, folder: str | os.PathLike, job: Job | None = None) -> list[Path]:
        """Write KIND.mp4 and KIND_warp.mp4 for each path, depth.png, depth.npy, sheet.png, cameras.json, report.json.

        depth.npy is float32 [h, w] along z, infinite where there is none. The folder is made if need be; files of these
        names are replaced, others stay; report.json comes last. Raises InputError where it cannot be written.
        """
        from lyra.io.video_writer import save_video  # PyAV: not needed to imagine

        job = job or Job()
        began = time.perf_counter()
        with filling(folder) as new, job.stage("writing", len(self.kinds)) as tell:
            for index, kind in enumerate(self.kinds):
                save_video(self.videos[index], new / f"{kind}.mp4", _FPS)
                save_video(self.warps[index], new / f"{kind}_warp.mp4", _FPS)
                tell(index + 1)
            save_image(colour_depth(self.depth.depth, self.depth.valid), new / "depth.png")
            np.save(new / "depth.npy", self.depth.depth.numpy())
            save_image(self.sheet(), new / "sheet.png")
            save_cameras(self.cameras.flatten(), new / "cameras.json")
            write_report(self.report, time.perf_counter() - began, new)
            made = [Path(folder) / file.name for file in sorted(new.iterdir())]
        return made

    def sheet(self) -> Float[Tensor, "3 h2 w2"]:
        """Photograph and depth above one row a path: at its middle and at its end, the warp and what was imagined."""
        last = self.videos.shape[1] - 1
        top = [self.image, colour_depth(self.depth.depth, self.depth.valid)]
        rows = [[*top, *[torch.ones_like(self.image)] * 2]]
        for video, warp in zip(self.videos, self.warps, strict=True):
            moments = [round(share * last) for share in _SHEET_SHARES]
            rows.append([clip[moment].float() / 255 for moment in moments for clip in (warp, video)])
        whole = torch.cat([torch.cat(row, 2) for row in rows], 1)
        return functional.interpolate(whole[None], scale_factor=0.5, mode="bilinear", antialias=True)[0]
