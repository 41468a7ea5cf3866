"""What the video codec is trained on: colour, perception, and latents of a moderate size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class CodecLossWeights:
    """Weights of the terms; `lpips_frames` frames of a batch, drawn at random, go through the VGG network.

    LPIPS joins in once the share `lpips_from` of the training is over: before that, colours are far too wrong for it to
    help, and it costs a fifth of the time.
    """

    lpips: float = 0.1
    lpips_from: float = 0.5
    latent: float = 1e-4
    lpips_frames: int = 16


def codec_loss(
    output: Float[Tensor, "b 3 t h w"],
    target: Float[Tensor, "b 3 t h w"],
    latents: Float[Tensor, "b c lt lh lw"],
    lpips: nn.Module | None,
    weights: CodecLossWeights,
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """The weighted sum and its detached terms: L1 colour, mean square of the latents, LPIPS (VGG) if given.

    Videos in [-1, 1]. `mse` is only reported.
    """
    output = output.float()
    difference = output - target
    terms = {"l1": difference.abs().mean(), "latent": latents.float().square().mean()}
    total = terms["l1"] + weights.latent * terms["latent"]
    if lpips is not None:
        count = target.shape[0] * target.shape[2]
        chosen = torch.randperm(count, generator=generator)[: weights.lpips_frames].to(target.device)
        pairs = [0.5 + 0.5 * video.transpose(1, 2).flatten(0, 1)[chosen] for video in (output, target)]
        terms["lpips"] = lpips(*pairs).mean()
        total = total + weights.lpips * terms["lpips"]
    terms["mse"] = difference.detach().square().mean()
    return total, {name: value.detach() for name, value in terms.items()}
