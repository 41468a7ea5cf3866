"""The losses of the splat decoder: colour, depth, opacity, and the resize in front of LPIPS (Lyra, Sec. 3.3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossWeights:
    """Published weights; the opacity term is used only while pruning."""

    mse: float = 1.0
    lpips: float = 0.5
    depth: float = 0.05
    opacity: float = 0.1


def normalise_depth(depth: Float[Tensor, "*b n"], valid: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Depth without its scale and shift: minus the median, over the mean absolute deviation of the valid pixels.

    As published: invalid pixels (valid = 0) count as depth 0 in the lower median over all pixels, and the deviation is
    clamped to [1e-3, 1e3]. The gradient flows through the median and the deviation.
    """
    masked = depth * valid
    centred = (masked - masked.median(-1, keepdim=True).values) * valid
    deviation = centred.abs().sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp_min(1)
    return centred / deviation.clamp(1e-3, 1e3)


def depth_loss(depth: Float[Tensor, "*b 1 h w"], target: Float[Tensor, "*b 1 h w"]) -> Float[Tensor, ""]:
    """Smooth L1 between normalised depths, mean over all pixels; targets that are 0 or not finite are invalid."""
    good = target.isfinite() & (target > 0)
    valid = good.to(depth.dtype).flatten(-3)
    theirs = torch.where(good, target, torch.zeros_like(target)).flatten(-3)
    mine = normalise_depth(depth.flatten(-3), valid)
    return functional.smooth_l1_loss(mine, normalise_depth(theirs, valid))


def opacity_loss(opacities: Float[Tensor, "*b"]) -> Float[Tensor, ""]:
    """Mean of sigmoid(opacity). The published code applies the sigmoid to values that are opacities already."""
    return opacities.sigmoid().mean()


def colour_loss(image: Float[Tensor, "*b 3 h w"], target: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, ""]:
    """Mean squared error."""
    return functional.mse_loss(image, target)


def shrink_for_lpips(images: Float[Tensor, "*b 3 h w"], max_height: int) -> Float[Tensor, "n 3 h2 w2"]:
    """Images in [0, 1] as a batch in [-1, 1], shrunk bilinearly to `max_height` if they are taller, never enlarged."""
    height, width = images.shape[-2:]
    flat = 2 * images.reshape(-1, 3, height, width) - 1
    if height <= max_height:
        return flat
    return functional.interpolate(flat, (max_height, int(max_height / height * width)), mode="bilinear")
