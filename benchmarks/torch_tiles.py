"""The yardstick of the CPU benchmark: the best we can do with torch operations alone.

A tile rasteriser like ours, as a GPU programmer would vectorise it: project all Gaussians, one sort of (tile, depth)
pairs, then all tiles at once, 32 splats a step, dropping tiles that are finished. It follows the same rules.
"""

import torch
from torch import Tensor

from lyra.render.reference import project
from lyra.render.rules import MAX_ALPHA, MAX_SIGMAS, MIN_ALPHA, MIN_TRANSMITTANCE, View
from lyra.scene import Gaussians

_TILE = 16
_STEP = 32


def _boxes(xy: Tensor, covariance: Tensor, opacities: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """First and one-past-last tile (column, row) of every splat."""
    reach = (2 * torch.log(opacities / MIN_ALPHA)).sqrt().clamp(max=MAX_SIGMAS)
    radius = reach[:, None] * torch.diagonal(covariance, dim1=-2, dim2=-1).sqrt()
    tiles = torch.tensor([-(-view.width // _TILE), -(-view.height // _TILE)])
    low = ((xy - radius) / _TILE).floor().long().clamp(min=0).minimum(tiles)
    high = ((xy + radius) / _TILE).ceil().long().clamp(min=0).minimum(tiles)
    return low, high


def _pairs(low: Tensor, high: Tensor, depth: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Tile and splat of every (tile, splat) pair, by tile and then by depth."""
    order = depth.argsort(stable=True)
    low, extent = low[order], (high - low)[order]
    counts = extent.prod(-1)
    rank = torch.repeat_interleave(torch.arange(len(order)), counts)
    step = torch.arange(len(rank)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    column = low[rank, 0] + step % extent[rank, 0]
    row = low[rank, 1] + step // extent[rank, 0]
    tile, index = (row * columns + column).sort(stable=True)
    return tile, order[rank[index]]


def _step(pixels: Tensor, splats: Tensor, transmittance: Tensor) -> tuple[Tensor, Tensor]:
    """Composite [t, s] splats (x, y, a, b, c, opacity, values...) at [t, p] pixels: added values, new transmittance."""
    dx = pixels[:, None, :, 0] - splats[..., 0:1]
    dy = pixels[:, None, :, 1] - splats[..., 1:2]
    sigma = splats[..., 2:3] * dx * dx + splats[..., 3:4] * dx * dy + splats[..., 4:5] * dy * dy
    alpha = (splats[..., 5:6] * torch.exp(-sigma)).clamp_(max=MAX_ALPHA)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0.0)
    after = transmittance[:, None] * torch.cumprod(1 - alpha, 1)
    before = torch.cat([transmittance[:, None], after[:, :-1]], 1)
    alive = after > MIN_TRANSMITTANCE
    weights = torch.where(alive, before * alpha, 0.0)
    finished = ~alive[:, -1]
    return splats[..., 6:].transpose(1, 2) @ weights, torch.where(finished, 0.0, after[:, -1])


@torch.no_grad()
def rasterize(gaussians: Gaussians, view: View) -> Tensor:
    """Premultiplied r, g, b and accumulated depth [4, h, w] of one view."""
    z = gaussians.means @ view.w2c[2, :3] + view.w2c[2, 3]
    g = gaussians[(z > view.near) & (gaussians.opacities >= MIN_ALPHA)]
    xy, depth, covariance = project(g.means, g.quats, g.scales, view)
    columns, rows = -(-view.width // _TILE), -(-view.height // _TILE)
    low, high = _boxes(xy, covariance, g.opacities, view)
    tile, splat = _pairs(low, high, depth, columns)
    inverse = torch.linalg.inv(covariance)
    conic = torch.stack([inverse[:, 0, 0] / 2, inverse[:, 0, 1], inverse[:, 1, 1] / 2], -1)
    data = torch.cat([xy, conic, g.opacities[:, None], g.rgb, depth[:, None]], -1)[splat]
    data = torch.cat([data, data.new_zeros(1, data.shape[1])])  # the last row pads short lists: opacity 0
    starts = torch.searchsorted(tile, torch.arange(columns * rows + 1))

    local = torch.stack(torch.meshgrid(torch.arange(_TILE), torch.arange(_TILE), indexing="xy"), -1).reshape(-1, 2)
    corner = torch.stack([torch.arange(columns * rows) % columns, torch.arange(columns * rows) // columns], -1) * _TILE
    pixels = (corner[:, None] + local + 0.5).float()
    image, transmittance = torch.zeros(columns * rows, 4, _TILE**2), torch.ones(columns * rows, _TILE**2)
    active, done = torch.arange(columns * rows), 0
    while len(active := active[(starts[active] + done < starts[active + 1]) & transmittance[active].any(-1)]):
        index = starts[active, None] + done + torch.arange(_STEP)
        index = torch.where(index < starts[active + 1, None], index, len(data) - 1)
        added, transmittance[active] = _step(pixels[active], data[index], transmittance[active])
        image[active] += added
        done += _STEP
    image = image.reshape(rows, columns, 4, _TILE, _TILE).permute(2, 0, 3, 1, 4)
    return image.reshape(4, rows * _TILE, columns * _TILE)[:, : view.height, : view.width]
