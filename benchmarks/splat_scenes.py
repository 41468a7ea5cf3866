"""Seeded scenes for the rasterisers, shared by benchmarks, tests and the run on a GPU."""

import math

import torch
from torch import Tensor

from lyra.scene import Cameras, Gaussians, rotations

FOCAL = 0.866  # of the image width: a horizontal field of view of 60 degrees


def cameras(count: int, width: int, height: int) -> Cameras:
    """Cameras side by side, each turned a little towards the middle; the first one at the origin along +z."""
    poses = []
    for k in range(count):
        side = math.ceil(k / 2) * (1 if k % 2 else -1)
        poses.append(rotations.look_at(*(torch.tensor(v) for v in ([0.15 * side, 0.0, 0.0], [0.0, 0, 4], [0.0, 1, 0]))))
    K = torch.tensor([[FOCAL * width, 0, width / 2], [0, FOCAL * width, height / 2], [0, 0, 1]])
    return Cameras(torch.stack(poses), K.expand(count, 3, 3), width, height)


def pixel_aligned(n: int, width: int, height: int, seed: int = 0) -> Gaussians:
    """About n Gaussians as a decoder makes them: one a pixel of a wavy depth map, 0.4 to 1.2 pixels in size."""
    generator = torch.Generator().manual_seed(seed)
    density = math.sqrt(n / (width * height))
    columns, rows = round(width * density), round(height * density)
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    z = 4 + 1.5 * torch.sin(6 * x) * torch.cos(5 * y) + 0.05 * torch.randn(rows, columns, generator=generator)
    aspect = height / width
    means = torch.stack([(x - 0.5) / FOCAL * z, (y - 0.5) * aspect / FOCAL * z, z], -1).reshape(-1, 3)
    size = z.reshape(-1, 1) / (FOCAL * width * density)
    return _dressed(means, size * (0.4 + 0.8 * torch.rand(len(means), 3, generator=generator)), generator)


def blobs(n: int, width: int, height: int, seed: int = 0) -> Gaussians:
    """n Gaussians as optimisation makes them: all over the view, about 3 pixels in size, long and short."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 3, generator=generator)
    z = 2 + 6 * u[:, 2]
    x, y = (u[:, 0] - 0.5) * 1.2 / FOCAL * z, (u[:, 1] - 0.5) * 1.2 * height / width / FOCAL * z
    scales = (3 * z / (FOCAL * width))[:, None] * torch.exp(0.5 * torch.randn(n, 3, generator=generator))
    return _dressed(torch.stack([x, y, z], -1), scales, generator)


def hostile(n: int, width: int, height: int, seed: int = 0) -> Gaussians:
    """Blobs with every special case among them.

    Behind the camera, around the near plane, huge, needles, opacity around 1/255 and at 1, equal depths, outside the
    view, and rows that must be left out (NaN, infinity, no extent, no rotation).
    """
    g = blobs(n, width, height, seed)
    group, rare = torch.arange(n) % 20, torch.arange(n) % 100
    means, quats, scales, opacities = g.means.clone(), g.quats.clone(), g.scales.clone(), g.opacities.clone()
    means[group == 0, 2] *= -1
    nearest = 0.0101 / means[group == 1, 2:] * torch.linspace(0.9, 2, int((group == 1).sum()))[:, None]
    means[group == 1] *= nearest
    scales[group == 1] *= nearest
    scales[rare == 2] *= 30
    opacities[rare == 2] *= 0.1
    scales[group == 3, 0] *= 20
    opacities[group == 4] = 1 / 255 + torch.linspace(-1e-3, 1e-3, int((group == 4).sum()))
    opacities[group == 5] = 1
    means[group == 6, 2] = 3.0
    means[group == 7, 0] += 20
    means[rare == 8] *= 0.1
    opacities[rare == 8] *= 0.1
    means[rare == 9, 0], scales[rare == 29, 1] = torch.nan, torch.inf
    scales[rare == 49], quats[rare == 69] = 0, 0
    return Gaussians(means, quats, scales, opacities, g.sh)


def _dressed(means: Tensor, scales: Tensor, generator: torch.Generator) -> Gaussians:
    """Random rotations (not normalised), opacities and colours."""
    n = len(means)
    quats = torch.randn(n, 4, generator=generator)
    return Gaussians.from_rgb(
        means, quats, scales, torch.rand(n, generator=generator), torch.rand(n, 3, generator=generator)
    )
