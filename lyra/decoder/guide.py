"""Guidance by the 3D cache: the depth that the teacher's warped views show is given to the decoder (ours, optional).

A small network trained for minutes cannot find metric depth in latents; the cache knows it wherever the first image
shows something. The tokens see it, and the head's depth is a correction of it. Holes are filled from around.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.decoder.config import DecoderConfig
from lyra.scene import Cameras


def fill(depth: Float[Tensor, "v t h w"]) -> tuple[Float[Tensor, "v t h w"], Bool[Tensor, "v t h w"]]:
    """Log depth without holes, and where depth was known (> 0). Holes take means of ever larger neighbourhoods."""
    known = depth > 0
    weight = known.to(depth.dtype)
    levels = [(torch.where(known, depth, 1).log() * weight, weight)]
    while max(levels[-1][0].shape[-2:]) > 1:
        levels.append(tuple(functional.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1]))
    filled = torch.zeros_like(levels[-1][0])  # nothing is known at all: the scene's unit
    for total, share in reversed(levels):
        coarse = functional.interpolate(filled, total.shape[-2:], mode="nearest")
        filled = torch.where(share > 0, total / share.clamp_min(1e-6), coarse)
    return filled, known


def stack(
    log_depth: Float[Tensor, "v t h w"], known: Bool[Tensor, "v t h w"], config: DecoderConfig
) -> Float[Tensor, "v m lt lh lw"]:
    """Both as channels on the latent grid; the first frame fills its latent frame alone."""
    frames, side = config.codec_time // config.time_stride, config.codec_space // config.stride
    maps = torch.stack([log_depth, known.to(log_depth)], 2)
    maps = torch.cat([maps[:, :1].expand(-1, frames - 1, -1, -1, -1), maps], 1)
    return rearrange(maps, "v (lt f) k (lh r) (lw s) -> v (f k r s) lt lh lw", f=frames, r=side, s=side)


def along_rays(log_depth: Float[Tensor, "v t h w"], cameras: Cameras) -> Float[Tensor, "v t h w"]:
    """Log of depth along z to log of distance along the rays of cameras (v, t) of the grid's size."""
    _, directions = cameras.rays()
    forward = cameras.c2w[..., None, None, :3, 2]
    return log_depth - (directions * forward).sum(-1).log()
