"""A video with everything known of it, in median depths, and the camera paths that leave from its moving camera."""

from dataclasses import dataclass

import torch

from lyra.pipeline.order import Order
from lyra.pipeline.views import CLEARANCE, COVERAGE, SKY, CameraPath
from lyra.scene import Cameras
from lyra.scene.limits import limit
from lyra.scene.lyra_paths import LYRA_SET, LyraPath, lyra_set
from lyra.scene.trajectories import follow
from lyra.teacher.cache import Cache, CacheOptions
from lyra.video.footage import Footage
from lyra.video.survey import Survey

_PLANNED = 2  # frames of the video at which a path is tried out


@dataclass(frozen=True, eq=False)
class Filmed:
    """A video with its survey; lengths below are in `unit`, the median depth of its first frame."""

    footage: Footage
    survey: Survey

    @property
    def cameras(self) -> Cameras:
        """Cameras [t] in median depths."""
        whole = self.survey.cameras
        c2w = whole.c2w.clone()
        c2w[:, :3, 3] /= self.survey.unit
        return Cameras(c2w, whole.K, whole.width, whole.height)

    def cache(self, device: torch.device, step: int = 1) -> Cache:
        """The cache of every `step`-th frame, in median depths, with the sky at SKY."""
        images = 2 * self.footage.frames[::step].to(device) - 1
        depth = (self.survey.depth[::step] / self.survey.unit).to(device)
        return Cache.from_depth(images, depth, self.cameras[::step].to(device), CacheOptions(max_depth=SKY))


def plan(filmed: Filmed, order: Order) -> list[CameraPath]:
    """The paths of the method about the moving camera, drawn from the seed, short enough for all frames tried."""
    draws = torch.rand(len(LYRA_SET), generator=torch.Generator().manual_seed(order.seed))
    whole, count = lyra_set(draws, order.motion), len(filmed.footage)
    tried = torch.linspace(0, count - 1, _PLANNED).round().long().tolist()
    made = []
    for folder in order.folders:
        kind, distance = whole[folder].kind, whole[folder].distance
        share = min(_room(filmed, frame, kind, distance) for frame in tried)
        cameras = follow(filmed.cameras, LyraPath(kind, distance * share).poses(count))
        cameras = Cameras(cameras.c2w, cameras.K.contiguous(), cameras.width, cameras.height)
        made.append(CameraPath(kind, distance, share, cameras))
    return made


def _room(filmed: Filmed, frame: int, kind: str, distance: float) -> float:
    """The share of a path that is free about one frame."""
    depth = filmed.survey.depth[frame] / filmed.survey.unit
    here = filmed.cameras[frame]
    start = Cameras(torch.eye(4), here.K, here.width, here.height)

    def travel(amount: float) -> Cameras:
        return follow(start, LyraPath(kind, distance * amount).poses(len(filmed.footage)))

    return limit(travel, start, depth, depth.isfinite(), clearance=CLEARANCE, coverage=COVERAGE)[1]
