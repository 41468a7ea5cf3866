"""Small scenes for the viewer's tests, and the picture that our renderer makes of them."""

import math

import numpy as np
import torch

from lyra.render import render
from lyra.scene import Cameras, DynamicGaussians, Gaussians, rotations, sh

WIDTH, HEIGHT = 320, 180


def cloud(count: int, degree: int, seed: int = 0) -> Gaussians:
    """Random Gaussians of all shapes and opacities in front of the origin, some huge, some near or behind it."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    depth = 1 + 5 * uniform(count, 1)
    few = slice(0, count // 100)
    depth[few] = uniform(count // 100, 1) - 0.5
    means = torch.cat([(2 * uniform(count, 2) - 1) * depth.abs().clamp_min(0.5) * torch.tensor([0.9, 0.55]), depth], 1)
    colour = 0.25 * normal(count, (degree + 1) ** 2, 3)
    colour[:, 0] = sh.rgb_to_sh(uniform(count, 3))
    scales = (0.6 * normal(count, 3) - 3.2).exp()
    scales[few.stop : 2 * few.stop] *= 8
    opacities = uniform(count)
    opacities[: 2 * few.stop] *= 0.2  # they cover much of the image
    return Gaussians(means, rotations.normalize(normal(count, 4)), scales, opacities, colour)


def moving(seed: int = 0) -> DynamicGaussians:
    """A static cloud, a flip-book of five balls, and a swarm whose members each have a lifetime and a velocity."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.tensor([[1.0, 0, 0, 0]])
    directions = rotations.normalize(torch.randn(300, 3, generator=generator))
    balls = [
        Gaussians.from_rgb(
            0.4 * directions + torch.tensor([0.5 * i - 1, 0.2, 2.5]), turn.expand(300, 4), torch.full((300, 3), 0.05),
            torch.full((300,), 0.9), torch.tensor([1.0, 0.2 * i, 0.1]).expand(300, 3),
        )
        for i in range(5)
    ]  # fmt: skip
    book = DynamicGaussians.from_frames(balls, fps=5.0, static=cloud(1500, 0, seed))
    swarm = cloud(800, 0, seed + 1)
    start = torch.rand(800, generator=generator) * 0.8
    velocities = torch.randn(800, 3, generator=generator)
    return DynamicGaussians(
        Gaussians.concat([book.gaussians, swarm]),
        torch.cat([book.start, start]),
        torch.cat([book.end, start + 0.3]),
        torch.cat([book.velocities, velocities]),
        duration=1.0,
        fps=5.0,
    )


def path(count: int = 5) -> Cameras:
    """Cameras that wander, roll and have an off-centre lens with unequal focal lengths."""
    s = torch.linspace(0, 1, count)
    eye = torch.stack([0.5 * torch.sin(2 * math.pi * s), -0.2 * s, 0.4 * s], 1)
    down = torch.stack([0.2 * s, torch.ones(count), torch.zeros(count)], 1)
    K = torch.tensor([[240.0, 0, 150], [0, 250, 97], [0, 0, 1]]).expand(count, 3, 3)
    return Cameras(rotations.look_at(eye, torch.tensor([0.0, 0.1, 3]).expand(count, 3), down), K, WIDTH, HEIGHT)


def picture_of(scene: Gaussians, camera: Cameras, background: float = 0.0) -> np.ndarray:
    """Our renderer's image of one camera, [h, w, 3] in [0, 1]."""
    rendering = render(scene, camera, torch.full((3,), background))
    return rendering.rgb.clamp(0, 1).permute(1, 2, 0).double().numpy()


def psnr(seen: np.ndarray, expected: np.ndarray) -> float:
    """Agreement in dB of an 8-bit image with one in [0, 1]; 58.9 dB is what rounding to 8 bits leaves."""
    return float(-10 * np.log10(np.mean((seen / 255 - expected) ** 2)))
