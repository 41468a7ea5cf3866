"""Losses of the depth network, all on canonical log depth."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.depth.network import Prediction
from lyra.train.depth_augment import DepthBatch


@dataclass(frozen=True)
class DepthLossWeights:
    """Weights of the terms; `share` is how much of the common error the scale-invariant term forgives."""

    absolute: float = 0.5
    invariant: float = 1.0
    gradient: float = 1.0
    sky: float = 0.5
    focal: float = 0.5
    share: float = 0.85


def depth_loss(
    prediction: Prediction, batch: DepthBatch, weights: DepthLossWeights
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The weighted sum, and its terms without weights, detached."""
    seen = batch.known & ~batch.sky
    error = torch.where(seen, prediction.log_depth - batch.log_depth, 0.0)
    sky = functional.binary_cross_entropy_with_logits(prediction.sky, batch.sky.float(), reduction="none")
    terms = {
        "absolute": _mean(error.abs(), seen).mean(),
        "invariant": invariant_loss(error, seen, weights.share),
        "gradient": gradient_loss(error, seen),
        "sky": _mean(sky, batch.known).mean(),
        "focal": (prediction.log_focal - batch.log_focal).abs().mean(),
    }
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return total, {name: value.detach() for name, value in terms.items()}


def invariant_loss(error: Float[Tensor, "b h w"], seen: Bool[Tensor, "b h w"], share: float) -> Float[Tensor, ""]:
    """Root of mean(e^2) - share mean(e)^2 an image (Eigen et al., arXiv 1406.2283, eq. 4)."""
    square = _mean(error.square(), seen) - share * _mean(error, seen).square()
    return (square.clamp_min(0) + 1e-4).sqrt().mean()


def gradient_loss(error: Float[Tensor, "b h w"], seen: Bool[Tensor, "b h w"], scales: int = 4) -> Float[Tensor, ""]:
    """Absolute differences of neighbouring errors at steps of 1, 2, 4, 8 pixels, averaged over the scales (MiDaS,
    arXiv 1907.01341, eq. 11): it puts depth edges where they belong and keeps surfaces smooth."""
    total = error.new_zeros(())
    for scale in range(scales):
        e, m = error[:, :: 2**scale, :: 2**scale], seen[:, :: 2**scale, :: 2**scale]
        for axis in (1, 2):
            length = e.shape[axis] - 1
            both = m.narrow(axis, 0, length) & m.narrow(axis, 1, length)
            total = total + _mean(e.diff(dim=axis).abs(), both).mean()
    return total / scales


def _mean(values: Float[Tensor, "b h w"], where: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Mean of each image over some pixels; 0 where there are none."""
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp_min(1)
