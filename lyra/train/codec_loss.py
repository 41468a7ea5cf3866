"""What the video codec is trained on: colour, perception, motion, and latents of a moderate size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class CodecLossWeights:
    """Weights of the terms; `lpips_frames` frames of a batch, drawn at random, go through the VGG network."""

    lpips: float = 0.15
    motion: float = 0.25
    latent: float = 1e-4
    lpips_frames: int = 24


def codec_loss(
    output: Float[Tensor, "b 3 t h w"],
    target: Float[Tensor, "b 3 t h w"],
    latents: Float[Tensor, "b c lt lh lw"],
    lpips: nn.Module,
    weights: CodecLossWeights,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum and its detached terms. Videos in [-1, 1].

    L1 colour + LPIPS (VGG) + L1 of frame differences (flicker and smeared motion) + mean square of the latents.
    """
    output = output.float()
    terms = {"l1": (output - target).abs().mean(), "latent": latents.float().square().mean()}
    if target.shape[2] > 1:
        terms["motion"] = (output.diff(dim=2) - target.diff(dim=2)).abs().mean()
    count = target.shape[0] * target.shape[2]
    chosen = torch.randperm(count, generator=generator)[: weights.lpips_frames].to(target.device)
    pairs = [0.5 + 0.5 * video.transpose(1, 2).flatten(0, 1)[chosen] for video in (output, target)]
    terms["lpips"] = lpips(*pairs).mean()
    total = terms["l1"] + weights.latent * terms["latent"] + weights.lpips * terms["lpips"]
    if "motion" in terms:
        total = total + weights.motion * terms["motion"]
    return total, {name: value.detach() for name, value in terms.items()}
