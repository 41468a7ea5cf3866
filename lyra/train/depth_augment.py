"""Batches for the depth network: crops of rendered frames that look as if any camera had taken them.

All parameters are drawn on the CPU from one generator, pixel noise on the device from another one. Geometry: zoom (the
focal length follows), shift, roll, mirror. Colour: exposure, white balance, gamma, contrast, saturation, tinted
patches, vignette, blur, noise, JPEG blocks.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.train.depth_data import Frames, decode_log_depth

ZOOM, ROLL, SHIFT = 0.45, math.radians(6), 0.12


@dataclass(frozen=True, eq=False)
class DepthBatch:
    """Images in [0, 1] with canonical log depth log(z / f) (f: focal length over the geometric mean of the sides), log
    f, sky, and which pixels are known at all (not outside the rendered frame)."""

    image: Float[Tensor, "b 3 h w"]
    log_depth: Float[Tensor, "b h w"]
    log_focal: Float[Tensor, " b"]
    sky: Bool[Tensor, "b h w"]
    known: Bool[Tensor, "b h w"]


def crop(frames: Frames, height: int, width: int, generator: torch.Generator | None) -> DepthBatch:
    """Random crops of the frames at height x width; without a generator the largest centred ones."""
    n, rows, columns, _ = frames.rgb.shape
    device = frames.rgb.device
    u = torch.rand(n, 5, generator=generator) if generator else torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.0]]).expand(n, 5)
    largest = min(rows / height, columns / width)  # frame pixels a pixel of the crop
    step = largest * ZOOM ** (1 - u[:, 0])
    roll = ROLL * (2 * u[:, 1] - 1)
    room_y = (0.5 * (rows - step * height)).clamp(min=0, max=SHIFT * rows)
    room_x = (0.5 * (columns - step * width)).clamp(min=0, max=SHIFT * columns)
    centre_y, centre_x = rows / 2 + room_y * (2 * u[:, 2] - 1), columns / 2 + room_x * (2 * u[:, 3] - 1)
    mirror = torch.where(u[:, 4] < 0.5, 1.0, -1.0)
    c, s = (step * roll.cos()), (step * roll.sin())
    matrix = torch.stack([c * mirror, -s, centre_x, s * mirror, c, centre_y], -1).view(n, 2, 3).to(device)
    y = torch.arange(height, device=device) + 0.5 - height / 2
    x = torch.arange(width, device=device) + 0.5 - width / 2
    at = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(height, width, device=device)], -1)
    place = torch.einsum("nij,hwj->nhwi", matrix, at)
    size = torch.tensor([columns, rows], device=device)
    known = ((place > 0) & (place < size)).all(-1)
    grid = 2 * place / size - 1
    colour = functional.grid_sample(
        frames.rgb.permute(0, 3, 1, 2).float() / 255, grid, padding_mode="reflection", align_corners=False
    )
    log_z, sky = (_nearest(part, place) for part in decode_log_depth(frames.code))
    log_focal = (frames.focal.cpu() / step / math.sqrt(height * width)).log().to(device)
    return DepthBatch(colour, log_z - log_focal[:, None, None], log_focal, sky & known, known)


def _nearest(values: Tensor, place: Float[Tensor, "n h w 2"]) -> Tensor:
    """Values [n, rows, columns] at the pixels that hold the places."""
    n, rows, columns = values.shape
    x = place[..., 0].long().clamp(0, columns - 1)
    y = place[..., 1].long().clamp(0, rows - 1)
    return values.view(n, -1).gather(1, (y * columns + x).view(n, -1)).view(x.shape)


def photographed(
    image: Float[Tensor, "b 3 h w"], generator: torch.Generator, noise: torch.Generator
) -> Float[Tensor, "b 3 h w"]:
    """The images as other cameras would have stored them; each effect is drawn anew for every image."""
    b = image.shape[0]
    device = image.device

    def draw(low: float, high: float, *shape: int, share: float = 1.0, off: float = 0.0) -> Tensor:
        """Uniform values for a share of the images, `off` for the others."""
        values = low + (high - low) * torch.rand(b, *shape, generator=generator)
        on = torch.rand(b, *(1 for _ in shape), generator=generator) < share
        return torch.where(on, values, off).view(b, *shape, *(1 for _ in range(3 - len(shape)))).to(device)

    x = image.clamp(0, 1) ** draw(-0.45, 0.45).exp()  # gamma
    x = x * draw(-0.6, 0.45).exp() * draw(-0.18, 0.18, 3).exp()
    x = _tinted(x, generator)
    x = x * _vignette(x, draw(0.0, 0.5, share=0.4))
    grey = x.mean((2, 3), keepdim=True)
    x = grey + (x - grey) * draw(0.7, 1.35)
    luma = x.mean(1, keepdim=True)
    x = luma + (x - luma) * draw(0.3, 1.4, share=0.9)
    x = _blurred(x, draw(0.3, 1.6, share=0.4, off=0.05))
    spread = draw(0.0, 0.05, share=0.7)
    x = x + spread * torch.randn(x.shape, generator=noise, device=device)
    return _jpeg(x.clamp(0, 1), draw(0.01, 0.12, share=0.5, off=1e-3))


def _tinted(x: Tensor, generator: torch.Generator) -> Tensor:
    """Smooth patches of other colours and brightness, of a random size, on half of the images."""
    b, _, h, w = x.shape
    cells = int(torch.randint(2, 9, (), generator=generator))
    field = torch.randn(b, 3, cells, cells, generator=generator) * 0.25 * torch.rand(b, 1, 1, 1, generator=generator)
    field = field * (torch.rand(b, 1, 1, 1, generator=generator) < 0.5)
    return x * functional.interpolate(field.to(x), (h, w), mode="bicubic", align_corners=False).exp()


def _vignette(x: Tensor, strength: Tensor) -> Tensor:
    y = torch.linspace(-1, 1, x.shape[2], device=x.device)
    across = torch.linspace(-1, 1, x.shape[3], device=x.device)
    return 1 - strength * 0.5 * (y.square()[:, None] + across.square())


def _blurred(x: Tensor, sigma: Float[Tensor, "b 1 1 1"]) -> Tensor:
    """A Gaussian of the image's own width, edges repeated."""
    b, c, h, w = x.shape
    taps = torch.arange(-4, 5, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma.view(b, 1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c, 0)
    flat = functional.pad(x.reshape(1, b * c, h, w), (4, 4, 4, 4), mode="replicate")
    flat = functional.conv2d(flat, kernel.view(b * c, 1, 1, 9), groups=b * c)
    return functional.conv2d(flat, kernel.view(b * c, 1, 9, 1), groups=b * c).view(b, c, h, w)


_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
_RGB = torch.linalg.inv(_YCC)


def _jpeg(x: Tensor, step: Float[Tensor, "b 1 1 1"]) -> Tensor:
    """Cosine coefficients of 8x8 blocks rounded to steps that grow with frequency, colour twice as coarse."""
    b, _, h, w = x.shape
    index = torch.arange(8, device=x.device)
    basis = torch.cos(math.pi * (index + 0.5) * index[:, None] / 8) * 0.5
    basis[0] *= math.sqrt(0.5)
    blocks = torch.einsum("kc,bchw->bkhw", _YCC.to(x), x).view(b, 3, h // 8, 8, w // 8, 8)
    coded = torch.einsum("pi,qj,bcyixj->bcypxq", basis, basis, blocks)
    coarse = step.view(b, 1, 1, 1, 1, 1) * (1 + 0.5 * (index[:, None, None] + index))
    coarse = coarse * torch.tensor([1.0, 2.0, 2.0], device=x.device).view(3, 1, 1, 1, 1)
    rounded = (coded / coarse).round() * coarse
    back = torch.einsum("pi,qj,bcypxq->bcyixj", basis, basis, rounded).reshape(b, 3, h, w)
    return torch.einsum("kc,bchw->bkhw", _RGB.to(x), back).clamp(0, 1)
