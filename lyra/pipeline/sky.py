"""The sky beyond the photograph: a shell of large Gaussians far behind everything, in the colours of the sky it shows.

What a decoder imagines far away is thin, and behind it every renderer shows its own background, mostly black. So a
scene whose photograph shows sky gets one in the other directions too. It lies above the lowest sky of the photograph;
each direction has the colour of the nearest sky in the picture, smoothed.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra.pipeline.views import SKY, FirstView
from lyra.scene import Gaussians

_LEAST = 0.01  # share of the photo's pixels that must be sky
_BEYOND = 1.1  # times the depth of the photo's own sky
_PLANE = 0.4  # least cosine to the axis for which the shell is a plane behind that, as wide lenses need
_STEP = math.radians(4.0)  # between the centres
_SIZE, _OPACITY = 0.7, 0.99  # standard deviation in steps
_SMOOTH = 1 / 16  # of the height: standard deviation of the blur


def sky_of(view: FirstView) -> Gaussians:
    """The shell in the world, marked as not seen; empty without sky in the photograph."""
    camera, sky = view.camera, ~view.depth.valid.cpu()
    if float(sky.float().mean()) < _LEAST:
        return _imagined(Gaussians.empty())
    rays = camera.rays()[1]
    heights = torch.atan2(-rays[..., 1], rays[..., [0, 2]].norm(dim=-1))
    lowest = float(heights[sky].quantile(0.02))
    rows = torch.arange(lowest, math.pi / 2, _STEP)
    parts = []
    for height in rows.tolist():
        count = max(1, round(2 * math.pi * math.cos(height) / _STEP))  # equally dense everywhere
        turn = 2 * math.pi * torch.arange(count) / count
        level = math.cos(height) * torch.stack([turn.sin(), turn.cos()])
        parts.append(torch.stack([level[0], torch.full((count,), -math.sin(height)), level[1]], -1))
    directions = torch.cat(parts)
    count = len(directions)
    radius = _BEYOND * SKY * view.unit / directions[:, 2:].clamp_min(_PLANE)  # the photo's sky lies in a plane
    scales = (_SIZE * _STEP * radius).expand(count, 3)
    quats = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(count, 4)
    opacities = torch.full((count,), _OPACITY)
    return _imagined(Gaussians.from_rgb(radius * directions, quats, scales, opacities, _colours(view, sky, directions)))


def _imagined(gaussians: Gaussians) -> Gaussians:
    return replace(gaussians, seen=torch.zeros(len(gaussians), dtype=torch.bool))


def _colours(view: FirstView, sky: Tensor, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The smoothed sky of the photo at its pixel nearest to each direction; what is behind is mirrored to the front."""
    height, width = sky.shape
    K = view.camera.K
    x, y, z = directions.unbind(-1)
    ahead = z.abs().clamp_min(1e-3)
    column = (K[0, 0] * x / ahead + K[0, 2]).clamp(0, width - 1).long()
    row = (K[1, 1] * y / ahead + K[1, 2]).clamp(0, height - 1).long()
    weight = sky[None, None].float()
    colour, total = _smooth(view.image.cpu()[None] * weight), _smooth(weight)
    mean = (view.image.cpu() * sky).sum((1, 2)) / sky.sum()
    smooth = (colour + 1e-3 * mean[None, :, None, None]) / (total + 1e-3)
    return smooth[0, :, row, column].T


def _smooth(values: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 c h w"]:
    """Three box blurs, close to a Gaussian one."""
    size = 2 * round(_SMOOTH * values.shape[-2]) + 1
    for _ in range(3):
        values = functional.avg_pool2d(values, size, 1, size // 2, count_include_pad=False)
    return values
