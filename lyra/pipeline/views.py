"""From a photograph and its depth to what a teacher is asked: camera paths, and what the photo shows along them.

Lengths are in units of the first view's median depth, as in training: a scene of any size looks the same to the models.
The finished scene is scaled back by `FirstView.unit`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.depth.depth_map import DepthMap
from lyra.scene import Cameras, require
from lyra.scene.limits import limit
from lyra.scene.lyra_paths import LYRA_SET, LyraPath, lyra_set
from lyra.scene.trajectories import follow
from lyra.teacher.cache import Cache, CacheOptions
from lyra.teacher.cosmos import CameraRequest
from lyra.teacher.warp import Warped

SKY = 100.0  # median depths at which the cache puts pixels without depth, as in training
CLEARANCE, COVERAGE = 0.1, 0.4  # of a path: median depths kept from surfaces; least share of a frame that is known


@dataclass(frozen=True, eq=False)
class FirstView:
    """The photograph [3, h, w] in [0, 1] with its depth; it is taken by a camera at the origin looking along +z."""

    image: Float[Tensor, "3 h w"]
    depth: DepthMap

    @property
    def unit(self) -> float:
        """Median depth of what is not sky, in the depth's own unit; 1 if everything is sky."""
        known = self.depth.depth[self.depth.valid]
        return float(known.median()) if len(known) else 1.0

    @property
    def camera(self) -> Cameras:
        """The camera that took it, shape []."""
        height, width = self.image.shape[1:]
        K = self.depth.K.float().cpu()
        return Cameras(torch.eye(4), K, width, height)

    @property
    def relative_depth(self) -> Float[Tensor, "h w"]:
        """Depth in median depths, infinite where there is none."""
        return torch.where(self.depth.valid, self.depth.depth / self.unit, torch.inf).float().cpu()

    def cache(self, device: torch.device) -> Cache:
        """The 3D cache of the photograph, in median depths."""
        image = 2 * self.image.to(device)[None] - 1
        depth = self.relative_depth[None].to(device)
        return Cache.from_depth(image, depth, self.camera[None].to(device), CacheOptions(max_depth=SKY))


@dataclass(frozen=True, eq=False)
class CameraPath:
    """One camera path in median depths: cameras [t], its kind, its distance, and what share of it was left to travel.

    A path is shortened where it would run into a surface or lose sight of what the photo shows (`lyra.scene.limits`).
    """

    kind: str
    distance: float
    share: float
    cameras: Cameras


def plan_paths(view: FirstView, folders: tuple[int, ...], frames: int, motion: float, seed: int) -> list[CameraPath]:
    """The paths of the method with these indices into LYRA_SET; distances are drawn from the seed."""
    draws = torch.rand(len(LYRA_SET), generator=torch.Generator().manual_seed(seed))
    whole = lyra_set(draws, motion)
    depth = view.relative_depth
    made = []
    for folder in folders:
        kind, distance = whole[folder].kind, whole[folder].distance

        def travel(amount: float, kind: str = kind, distance: float = distance) -> Cameras:
            return follow(view.camera, LyraPath(kind, distance * amount).poses(frames))

        cameras, share = limit(
            travel, view.camera, depth, view.depth.valid.cpu(), clearance=CLEARANCE, coverage=COVERAGE
        )
        made.append(CameraPath(kind, distance, share, cameras))
    return made


def request(image: Float[Tensor, "3 h w"], warped: Warped, device: torch.device) -> CameraRequest:
    """What a teacher is asked for one path."""
    require(warped.image.ndim == 4, f"a request is made for one path, got warps {list(warped.image.shape)}")
    return CameraRequest(
        image=(2 * image[None] - 1).to(device),
        warp=warped.image[None, :, None].to(device),
        warp_mask=warped.mask[None, :, None, None].to(device, torch.float32),
    )
