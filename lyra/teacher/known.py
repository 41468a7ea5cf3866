"""What the photograph shows is known: a teacher's decoded frames with the warped pixels of the 3D cache put back in.

A latent codec keeps less of a picture than the cache does, so frames decoded from latents are softer than the warped
photograph in exactly the places where the answer is known. Where the cache shows a pixel it is taken from there; the
correction that this is to the teacher's frame is carried on smoothly a little way into what the cache does not show, so
that colours meet without a seam. Holes farther away are the teacher's alone.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_REACH = 1 / 32  # of the height: standard deviation of what carries the correction into holes


def with_known(
    frames: Float[Tensor, "n 3 h w"], warp: Float[Tensor, "n 3 h w"], mask: Bool[Tensor, "n h w"]
) -> Float[Tensor, "n 3 h w"]:
    """The frames, in [0, 1], with what the cache shows of them (`warp`, where `mask`)."""
    correction = torch.where(mask[:, None], warp - frames, 0)
    sigma = _REACH * frames.shape[-2]
    weight = _smooth(mask[:, None].to(frames), sigma)
    carried = _smooth(correction, sigma) / weight.clamp_min(1e-4) * (2 * weight).clamp_max(1)
    return (frames + torch.where(mask[:, None], correction, carried)).clamp(0, 1)


def _smooth(values: Float[Tensor, "n c h w"], sigma: float) -> Float[Tensor, "n c h w"]:
    """Gaussian blur; what lies outside the picture counts as nothing."""
    radius = round(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = (-0.5 * (offsets / sigma).square()).exp()
    kernel = (kernel / kernel.sum())[None, None]
    flat = values.flatten(0, 1)[:, None]
    rows = functional.conv2d(flat, kernel[..., None], padding=(radius, 0))
    return functional.conv2d(rows, kernel[:, :, None], padding=(0, radius)).reshape(values.shape)
