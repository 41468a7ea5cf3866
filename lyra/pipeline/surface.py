"""The part of a scene that the photograph itself shows, taken from the photograph: one Gaussian a pixel, at its depth.

The student decodes latents of 8x8 pixels, so what it draws is softer than the photo. Where the photo shows a surface,
its own pixels are exact and sharp; the student's Gaussians are kept for everything that was imagined. docs/log.md has
the numbers of both and of the two together.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.pipeline.views import SKY, FirstView
from lyra.scene import Cameras, Gaussians, rotations
from lyra.teacher.cache import CacheOptions, depth_edges

SURFACES = ("photo", "student")
"""Where the Gaussians of what the photo shows come from."""

DETAIL = 1.5  # pixels of the photo layer for one pixel of the model, along each side; as in orbit.mp4
_SIZE, _OPACITY = 0.6, 0.99  # standard deviation in steps from pixel to pixel
_SIDES = 7  # pixels of the window in which the two sides of a depth edge are found
_STRETCH, _THICKNESS = 6.0, 0.2  # longest and shortest extent in footprints of a pixel
_BEHIND = 0.1  # so far behind the photo's surface, as a share of its depth, counts as unseen


def with_photo(view: FirstView, image: Float[Tensor, "3 h2 w2"], student: Gaussians) -> Gaussians:
    """The photo's pixels (`image`, of any size) and the student's Gaussians of what they do not show.

    `student` is in the world, with `seen` set; so is the result.
    """
    return Gaussians.concat([pixels(view, image), student[~student.seen]])


def pixels(view: FirstView, image: Float[Tensor, "3 h2 w2"]) -> Gaussians:
    """Flat, nearly opaque Gaussians of the image's pixels in the world.

    Each lies in the surface: it spans its pixel, also where the surface is seen at a slant and pixels lie far apart.
    Depth edges are made sharp first, and pixels beside them face the camera.
    """
    height, width = image.shape[1:]
    camera = view.camera.resize(height, width)
    size = {"size": (height, width), "mode": "bilinear", "align_corners": False}
    depth = functional.interpolate(_filled(view).log()[None, None], **size)[0, 0].exp()
    depth, edge = sharpened(depth)
    points = camera.unproject(depth)
    down, right = torch.gradient(points, dim=(0, 1))
    footprint = depth / (0.5 * (camera.K[0, 0] + camera.K[1, 1]))
    flat = footprint[edge][:, None] * torch.eye(3)[:2, None]  # steps that face the camera
    right[edge], down[edge] = flat
    quats, sizes = _tangent(right.reshape(-1, 3), down.reshape(-1, 3), footprint.reshape(-1))
    opacities = torch.full((height * width,), _OPACITY)
    means, colours = points.reshape(-1, 3) * view.unit, image.permute(1, 2, 0).reshape(-1, 3)
    made = Gaussians.from_rgb(means, quats, sizes * view.unit, opacities, colours)
    return replace(made, seen=torch.ones(len(opacities), dtype=torch.bool))


def sharpened(depth: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Depth whose pixels at edges lie on the near or the far side, whichever is closer, and where the edges are.

    A network's depth passes through all values in between, which would leave a trail of pixels in the air.
    """
    edge = depth_edges(depth[None], CacheOptions.for_width(depth.shape[1]))[0]
    far, near = (sign * functional.max_pool2d(sign * depth[None], _SIDES, 1, _SIDES // 2)[0] for sign in (1, -1))
    middle = (near * far).sqrt()
    return torch.where(edge, torch.where(depth < middle, near, far), depth), edge


def _tangent(
    right: Float[Tensor, "n 3"], down: Float[Tensor, "n 3"], footprint: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 3"]]:
    """Rotations and scales of Gaussians that span the steps to the next pixels, at most _STRETCH footprints long."""
    normal = functional.normalize(torch.linalg.cross(right, down), dim=-1)
    along = functional.normalize(right, dim=-1)
    across = torch.linalg.cross(normal, along)
    lengths = torch.stack([right.norm(dim=-1), (down * across).sum(-1).abs(), _THICKNESS * footprint], -1)
    limits = footprint[:, None] * torch.tensor([0.5, 0.5, 0.0]), footprint[:, None] * _STRETCH
    quats = rotations.matrix_to_quat(torch.stack([along, across, normal], -1))
    return quats, _SIZE * lengths.clamp(*limits)


def seen_by(view: FirstView, means: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Which places the photograph shows: in its frame, and not behind what it sees there (in median depths)."""
    column, row, inside = _place(view.camera, means)
    _, z = view.camera.project(means)
    return inside & (z <= (1 + _BEHIND) * view.relative_depth[row, column])


def _filled(view: FirstView) -> Float[Tensor, "h w"]:
    """Depth in median depths, the sky at SKY as in the cache."""
    return torch.nan_to_num(view.relative_depth, nan=SKY, posinf=SKY).clamp(1e-3, SKY)


def _place(camera: Cameras, means: Float[Tensor, "n 3"]) -> tuple[Tensor, Tensor, Bool[Tensor, " n"]]:
    """Column and row of the pixel that each place falls on (the nearest one if outside), and whether it is inside."""
    where, z = camera.project(means)
    column, row = where.nan_to_num(-1.0).clamp(-1, 1e6).floor().long().unbind(-1)
    inside = (z > 0) & (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
    return column.clamp(0, camera.width - 1), row.clamp(0, camera.height - 1), inside
