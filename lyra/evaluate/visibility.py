"""Which pixels one camera sees of what another one sees, by true depth: seen and hidden regions, and re-warping."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras
from lyra.scene.rotations import transform_points

SKY = 1e4  # depth given to the sky, in units of the scene
TOLERANCE = 0.03  # relative depth within which two surfaces are one


class Regions(NamedTuple):
    """Pixels of a view that another camera sees, and those it does not. Where it cannot be told they are in neither."""

    seen: Bool[Tensor, "n h w"]
    hidden: Bool[Tensor, "n h w"]


def regions(depth: Float[Tensor, "n h w"], cameras: Cameras, other: Float[Tensor, "h w"], camera: Cameras) -> Regions:
    """Split the pixels of n views (depth along z, sky infinite) by what one `camera` with the depth `other` sees.

    A pixel is seen if the surface lies within 3 % of the depths that the other view has in the 3 x 3 pixels around it,
    and hidden if it lies outside the other image or behind all of them.
    """
    pixels, z = _project(depth, cameras, camera)
    far, near = _range(other)
    inside = _inside(pixels, z, camera)
    highest, lowest = _lookup(far, pixels), _lookup(near, pixels)
    seen = inside & (z < (1 + TOLERANCE) * highest) & (z > (1 - TOLERANCE) * lowest)
    return Regions(seen, ~inside | (z > (1 + TOLERANCE) * highest))


def rewarp(
    image: Float[Tensor, "3 h w"],
    other: Float[Tensor, "h w"],
    camera: Cameras,
    depth: Float[Tensor, "h w"],
    at: Cameras,
) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
    """The picture that `camera` took (with its depth `other`), carried to the camera `at` by the depth that `at` has.

    Bilinear look-up; returns the picture and the pixels that both cameras see.
    """
    pixels, _ = _project(depth[None], at[None], camera)
    size = pixels.new_tensor([camera.width, camera.height])
    grid = 2 * pixels / size - 1
    carried = functional.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    return carried, regions(depth[None], at[None], other, camera).seen[0]


def _project(
    depth: Tensor, cameras: Cameras, camera: Cameras
) -> tuple[Float[Tensor, "n h w 2"], Float[Tensor, "n h w"]]:
    """Where one camera sees the pixels of n views, and at which depth."""
    points = cameras.unproject(depth.clamp(max=SKY))
    local = transform_points(camera.w2c, points.reshape(-1, 3)).reshape(points.shape)
    z = local[..., 2]
    projected = local @ camera.K.T
    return projected[..., :2] / z.clamp_min(1e-6)[..., None], z


def _range(depth: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The largest and smallest depth around each pixel."""
    known = depth.clamp(max=SKY)[None, None]
    return functional.max_pool2d(known, 3, 1, 1)[0, 0], -functional.max_pool2d(-known, 3, 1, 1)[0, 0]


def _inside(pixels: Tensor, z: Tensor, camera: Cameras) -> Bool[Tensor, "n h w"]:
    x, y = pixels.unbind(-1)
    return (z > 1e-6) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)


def _lookup(table: Float[Tensor, "h w"], pixels: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n h w"]:
    """The table's value at the pixel in which each position lies."""
    height, width = table.shape
    x, y = torch.nan_to_num(pixels).unbind(-1)
    return table[y.floor().clamp(0, height - 1).long(), x.floor().clamp(0, width - 1).long()]
