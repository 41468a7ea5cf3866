"""A small world whose pictures and depth are known: a textured wall and floor, and a square that slides before them."""

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.depth.depth_map import DepthMap, centred_K
from lyra.scene import Cameras

HEIGHT, WIDTH, FOCAL = 96, 128, 110.0


def _texture(x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Smooth, full of corners, the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 3, 64, 64, generator=generator)
    grid = torch.stack([(x / 4).remainder(2) - 1, (y / 4).remainder(2) - 1], -1)
    return torch.nn.functional.grid_sample(picture, grid[None], mode="bilinear", align_corners=False)[0]


def camera_path(frames: int, travel: float = 0.5) -> Cameras:
    """To the right, turning a little to the left."""
    share = torch.linspace(0, 1, frames)
    angle = -0.08 * share
    c2w = torch.eye(4).repeat(frames, 1, 1)
    c2w[:, 0, 0], c2w[:, 0, 2], c2w[:, 2, 0], c2w[:, 2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    c2w[:, 0, 3] = travel * share
    return Cameras(c2w, centred_K(FOCAL, HEIGHT, WIDTH).expand(frames, 3, 3), WIDTH, HEIGHT)


def film(cameras: Cameras, moves: bool = True) -> tuple[Float[Tensor, "t 3 h w"], Float[Tensor, "t h w"], Tensor]:
    """Pictures, depth along z, and where the square is. The wall is at z = 4 (half of it at 3), the square at 2."""
    pictures, depths, squares = [], [], []
    count = len(cameras)
    for index in range(count):
        origin, ray = (part.double() for part in cameras[index].rays())
        forward = cameras[index].c2w[:3, 2].double()
        place = 0.6 * index / count if moves else 0.0
        colour = torch.zeros(3, HEIGHT, WIDTH)
        distance = torch.full((HEIGHT, WIDTH), torch.inf, dtype=torch.float64)
        square = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        for z, seed in ((4.0, 1), (3.0, 2), (2.0, 3)):
            along = (z - origin[..., 2]) / ray[..., 2]
            x, y = origin[..., 0] + along * ray[..., 0], origin[..., 1] + along * ray[..., 1]
            here = {1: x == x, 2: x < -0.5, 3: ((x + 0.2 - place).abs() < 0.25) & (y.abs() < 0.25)}[seed]
            texture = _texture((x - (place if seed == 3 else 0)).float(), y.float(), seed)
            colour = torch.where(here, texture, colour)
            distance = torch.where(here, along, distance)
            square = square | here if seed == 3 else square
        pictures.append(colour)
        depths.append((distance * (ray @ forward)).float())
        squares.append(square)
    return torch.stack(pictures), torch.stack(depths), torch.stack(squares)


class TrueDepth:
    """A depth model that knows the pictures it is asked about, but gives each another scale."""

    def __init__(self, frames: Tensor, depth: Tensor, K: Tensor, wander: float) -> None:
        self.frames, self.depth, self.K = frames, depth, K
        draws = torch.randn(len(frames), generator=torch.Generator().manual_seed(5))
        self.scales = (wander * draws).exp()

    def __call__(self, image: Float[Tensor, "3 h w"], K: Float[Tensor, "3 3"] | None = None) -> DepthMap:
        index = int((self.frames - image).abs().flatten(1).amax(1).argmin())
        depth = self.depth[index] * self.scales[index]
        return DepthMap(depth, self.K if K is None else K, torch.ones_like(depth, dtype=torch.bool), "metric")
