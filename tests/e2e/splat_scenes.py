"""A textured room with two spheres as Gaussians: flat, overlapping, mostly opaque, as real reconstructions are."""

import math

import torch

from lyra.scene import Cameras, Gaussians, rotations


def room(n: int, k: int = 1, seed: int = 0) -> Gaussians:
    """n Gaussians with k coefficients a colour on the walls of a 6 x 3 x 8 unit room and on the spheres in it."""
    g = torch.Generator().manual_seed(seed)
    half, centre, walls = torch.tensor([3.0, 1.5, 4.0]), torch.tensor([0.0, 0, 3]), n * 3 // 4
    areas = torch.stack([half[1] * half[2], half[0] * half[2], half[0] * half[1]])
    axis, rows = torch.multinomial(areas, walls, True, generator=g), torch.arange(walls)
    sign = torch.where(torch.rand(walls, generator=g) > 0.5, 1.0, -1.0)
    wall = (torch.rand(walls, 3, generator=g) * 2 - 1) * half
    wall[rows, axis] = sign * half[axis]
    normal = torch.zeros(walls, 3)
    normal[rows, axis] = -sign
    ball = rotations.normalize(torch.randn(n - walls, 3, generator=g))
    left = (torch.rand(n - walls, generator=g) > 0.5)[:, None]
    middle = torch.where(left, torch.tensor([-0.9, 0.7, 2.0]), torch.tensor([1.0, 0.3, 3.0]))
    points = torch.cat([wall + centre, middle + ball * torch.where(left, 0.8, 1.1)])
    # 1 cm of noise, as depth has: exact ties in depth would be broken by the order in the file
    points = points + 0.01 * torch.randn(n, 3, generator=g)
    quats = _facing(torch.cat([normal, ball]), g)
    spacing = math.sqrt(300 / n)
    scales = spacing * torch.exp(0.35 * torch.randn(n, 3, generator=g)) * torch.tensor([0.7, 0.7, 0.12])
    opacities = torch.sigmoid(1.5 * torch.randn(n, generator=g) + 2.5)
    waves = torch.sin(points @ torch.tensor([[3.0, 1, 0], [0.5, 4, 2], [2, 0, 5]]))
    rgb = (0.5 + 0.25 * waves + 0.08 * torch.randn(n, 3, generator=g)).clamp(0, 1)
    strength = torch.cat([torch.full((3,), 0.06), torch.full((5,), 0.036), torch.full((7,), 0.024)])[: k - 1]
    rest = torch.randn(n, k - 1, 3, generator=g) * strength[:, None]
    dc = Gaussians.from_rgb(points, quats, scales, opacities, rgb).sh
    return Gaussians(points, quats, scales, opacities, torch.cat([dc, rest], 1), torch.rand(n, generator=g) > 0.3)


def _facing(normal: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Rotations that take z to the normals, turned about them at random."""
    up = torch.where((normal[:, 2].abs() < 0.9)[:, None], torch.tensor([0.0, 0, 1]), torch.tensor([1.0, 0, 0]))
    x = rotations.normalize(torch.linalg.cross(up, normal))
    turn = 2 * math.pi * torch.rand(len(normal), 1, generator=g)
    x = x * turn.cos() + torch.linalg.cross(normal, x) * turn.sin()
    return rotations.matrix_to_quat(torch.stack([x, torch.linalg.cross(normal, x), normal], -1))


def cameras(width: int = 256, height: int = 144) -> Cameras:
    """Three views into the room, one of them close to a sphere."""
    eye = torch.tensor([[0.0, 0, 0], [1.0, -0.3, 0.5], [-1.2, 0.2, 1.0]])
    target = torch.tensor([[0.0, 0, 4], [-0.5, 0.3, 4], [0.8, 0, 4]])
    return Cameras.from_fov(rotations.look_at(eye, target, torch.tensor([0.0, 1, 0])), 70.0, width, height)
