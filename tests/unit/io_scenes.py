"""Scenes for file tests, and how to compare two of them."""

import torch
from strategies import generator, random_quats
from torch import Tensor

from lyra.scene import DynamicGaussians, Gaussians


def random_scene(n: int, k: int = 1, seed: int = 0, seen: bool = True) -> Gaussians:
    """n Gaussians of 1 cm to 30 cm in front of the origin, with k coefficients a colour."""
    g = generator(seed)
    means = torch.randn(n, 3, generator=g) * 2 + torch.tensor([0.0, 0, 6])
    scales = torch.exp(torch.randn(n, 3, generator=g) * 0.7 - 3)
    opacities = torch.sigmoid(torch.randn(n, generator=g) * 2 + 1)
    sh = torch.randn(n, k, 3, generator=g) * torch.cat([torch.tensor([0.8]), torch.full((k - 1,), 0.08)])[:, None]
    quats = random_quats(n, seed, torch.float32)
    return Gaussians(means, quats, scales, opacities, sh, torch.rand(n, generator=g) > 0.5 if seen else None)


def moving_scene(seed: int = 0, frames: int = 4, n: int = 30) -> DynamicGaussians:
    """A flip-book over a part that stands still."""
    return DynamicGaussians.from_frames(
        [random_scene(n, 4, seed + 1 + i) for i in range(frames)], 10.0, static=random_scene(2 * n, 4, seed)
    )


def match(given: Gaussians, found: Gaussians) -> Gaussians:
    """`found` in the order of `given`, by nearest mean; every Gaussian must be hit once."""
    nearest = torch.cdist(given.means.double(), found.means.double()).argmin(1)
    assert len(given) == len(found) == len(nearest.unique())
    return found[nearest]


def worst(given: Gaussians, found: Gaussians) -> dict[str, float]:
    """Largest difference of each part: relative for scales, through R S for rotations (in units of the scale)."""
    differences = {
        "means": given.means - found.means,
        "scales": found.scales / given.scales - 1,
        "opacities": given.opacities - found.opacities,
        "colour": given.sh[:, 0] - found.sh[:, 0],
        "turn": 1 - (given.quats * found.quats).sum(-1).abs(),
    }
    if given.sh.shape == found.sh.shape:
        differences["sh"] = given.sh - found.sh
    return {name: float(value.abs().max()) for name, value in differences.items()}


def covariance_gap(given: Gaussians, found: Gaussians) -> Tensor:
    """Largest difference of the covariances, which do not care how axes are named."""
    return (given.covariances() - found.covariances()).abs().max()
