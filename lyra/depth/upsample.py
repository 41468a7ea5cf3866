"""Depth at the image's size: joint bilateral upsampling (Kopf et al., SIGGRAPH 2007) over 2x2 neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_BAND = 2**18  # pixels worked on at a time: stays in the cache of a CPU core
_SPREAD = 0.06  # colour difference at which a neighbour's weight has fallen to 61 %


def upsample_guided(
    values: Float[Tensor, "c h w"], guide: Float[Tensor, "3 h w"], image: Float[Tensor, "3 H W"]
) -> Float[Tensor, "c H W"]:
    """Values at the size of `guide` brought to the size of `image`, both colours in [0, 1].

    The four neighbours of a pixel count by distance (as in bilinear interpolation) and by how much their colour in
    `guide` is like the pixel's: depth edges follow colour edges instead of turning into ramps. Shrinking averages.
    """
    height, width = image.shape[1:]
    h, w = values.shape[1:]
    if height <= h and width <= w:
        return functional.interpolate(values[None], (height, width), mode="bilinear", antialias=True)[0]
    y, dy = _places(h, height, values)
    x, dx = _places(w, width, values)
    columns = ((x, 1 - dx), ((x + 1).clamp_max(w - 1), dx))
    both = torch.cat([values, guide])
    parts = []
    step = max(1, _BAND // width)
    for start in range(0, height, step):
        band = slice(start, start + step)
        total, norm = 0.0, 0.0
        for row, along_y in ((y[band], 1 - dy[band]), ((y[band] + 1).clamp_max(h - 1), dy[band])):
            near = both[:, row]
            for column, along_x in columns:
                neighbour = near[:, :, column]
                unlike = (neighbour[-3:] - image[:, band]).square().sum(0)
                weight = along_y[:, None] * along_x * (torch.exp(unlike * (-0.5 / _SPREAD**2)) + 1e-4)
                total, norm = total + weight * neighbour[:-3], norm + weight
        parts.append(total / norm)
    return torch.cat(parts, 1)


def _places(size: int, target: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """For every target pixel the source pixel before it and the way to the next one (pixel edges aligned)."""
    at = ((torch.arange(target, device=like.device, dtype=like.dtype) + 0.5) * (size / target) - 0.5).clamp(0, size - 1)
    before = at.floor()
    return before.long(), at - before
