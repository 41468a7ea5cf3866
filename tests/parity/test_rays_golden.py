"""Pluecker maps, rays and the preparation of views against the published code (float32)."""

import pytest
import torch
from golden_cases import Case, case, cases

from lyra.io.fitting import cover, cover_window
from lyra.scene import Cameras


def cameras_of(c2w: torch.Tensor, intrinsics: torch.Tensor, width: int, height: int) -> Cameras:
    """Cameras with intrinsics fx, fy, cx, cy."""
    K = torch.zeros(*intrinsics.shape[:-1], 3, 3)
    K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2] = intrinsics.unbind(-1)
    K[..., 2, 2] = 1
    return Cameras(c2w, K, width, height)


def intrinsics_of(cameras: Cameras) -> torch.Tensor:
    K = cameras.K
    return torch.stack([K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]], -1)


@pytest.mark.parametrize("name", cases("rays"))
def test_rays_and_pluecker_maps(name):
    """Worst difference 2.4e-7 (Pluecker), 1.2e-7 (rays of the small grid)."""
    recorded = case(name)
    c, t = recorded.config, recorded.tensors
    cameras = cameras_of(t["c2ws"], t["intrinsics"], c["width"], c["height"])
    recorded.check("plucker", cameras.plucker())
    origins, directions = cameras.resize(c["height"] // c["out_factor"], c["width"] // c["out_factor"]).rays()
    recorded.check("rays_os", origins.movedim(-1, -3))
    recorded.check("rays_ds", directions.movedim(-1, -3))


def views(recorded: Case) -> tuple[Cameras, int]:
    """The cameras of the prepared views at their source size, and how many of them are inputs."""
    t = recorded.tensors
    height, width = t["prep.images"].shape[-2:]
    return cameras_of(t["prep.c2ws"], t["prep.intrinsics"], width, height), len(t["prep.c2ws_input"])


@pytest.mark.parametrize("name", cases("rays"))
def test_poses_relative_to_the_first(name):
    """Worst difference 2.4e-7."""
    recorded = case(name)
    cameras, inputs = views(recorded)
    relative = cameras.relative_to_first()
    recorded.check("prep.c2ws_input", relative.c2w[:inputs])
    recorded.check("prep.cam_view", relative.w2c[inputs:].transpose(-1, -2))


@pytest.mark.parametrize("name", cases("rays"))
def test_images_depths_and_lenses_after_crop_and_resize(name):
    """Images, depths, focal lengths and principal points; worst difference of images 0.

    Where an odd number of rows or columns is cut, the published code moves the principal point by half of it but the
    image by a whole number of pixels: its lenses are half a source pixel off. Ours follow the image; the test adds
    that half pixel back and then demands equality.
    """
    recorded = case(name)
    t, c = recorded.tensors, recorded.config
    cameras, inputs = views(recorded)
    height, width = c["height"], c["width"]
    images, fitted = cover(t["prep.images"], cameras[inputs:], height, width)
    recorded.check("prep.images_output", images)
    top, left, h, w = cover_window(cameras.height, cameras.width, height, width)
    half = torch.tensor([left - (cameras.width - w) / 2, top - (cameras.height - h) / 2])
    lenses = intrinsics_of(cameras.crop(top, left, h, w).resize(height, width))
    lenses[:, 2:] += half * torch.tensor([width / w, height / h])
    recorded.check("prep.intrinsics_input", lenses[:inputs])
    recorded.check("prep.intrinsics_target", lenses[inputs:])
    assert fitted.K.equal(cameras[inputs:].crop(top, left, h, w).resize(height, width).K)
    depths = t["prep.depths"]
    known = torch.where(depths.isfinite() & (depths > 0), depths, 0.0)
    recorded.check("prep.depths_output", cover(known, cameras[inputs:], height, width, nearest=True)[0])
