"""Training on single frames with captions, so that the denoiser can also make a first frame from text alone.

Frames are drawn from all paths of a rendered scene, mirrored at random (captions name no sides) but never recoloured
(they name colours), and kept as latents of one frame. The loss is that of denoising with nothing given but the text,
which is left out now and then for guidance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyra.teacher.codec import SIGMA_DATA, VideoCodec
from lyra.teacher.cosmos import CosmosDenoiser
from lyra.teacher.first_frame import unconditioned
from lyra.train.clip_data import to_signed
from lyra.train.denoiser_clips import Views
from lyra.train.latents import Latents

A_SCENE = 16  # frames taken each time a scene is read


def some_frames(views: Views, count: int, generator: torch.Generator) -> Float[Tensor, "n 3 h w"]:
    """Random frames of a scene in [-1, 1], half of them mirrored."""
    paths, frames = views.rgb.shape[:2]
    chosen = torch.randint(paths * frames, (count,), generator=generator)
    images = to_signed(views.rgb[chosen // frames, chosen % frames]).permute(0, 3, 1, 2)
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


@torch.no_grad()
def encode_frames(images: Float[Tensor, "n 3 h w"], codec: VideoCodec, captions: Sequence[int]) -> Latents:
    """Single frames as training examples in float16, without warp and mask."""
    target = codec.encode(images[:, :, None]).half()
    nothing = target[:, :0]
    return Latents(target, nothing, nothing, torch.tensor(captions, device=target.device))


@dataclass(frozen=True, eq=False)
class FrameDraw:
    """The random numbers of one batch: noise, noise levels, and whether the text is shown (1) or not (0)."""

    noise: Float[Tensor, "b c 1 h w"]
    sigma: Float[Tensor, "b 1 1 1 1"]
    shown: Float[Tensor, "b 1 1"]


def frame_loss(
    network: nn.Module, batch: Latents, texts: Float[Tensor, "n k e"], draw: FrameDraw, buffers: int, fps: int
) -> Float[Tensor, " b"]:
    """Error of each example in units of the network's output; `buffers` is their number of channels."""
    text = texts[batch.caption] * draw.shown
    cond = unconditioned(batch.target, text, buffers)
    denoiser = CosmosDenoiser(network, fps, cond, 0.0, torch.zeros_like(batch.target))
    clean = denoiser(batch.target + draw.sigma * draw.noise, draw.sigma)
    unit = (draw.sigma**2 + SIGMA_DATA**2) / (draw.sigma * SIGMA_DATA) ** 2
    return (unit * (clean - batch.target).float().square()).flatten(1).mean(1)


@torch.no_grad()
def text_gain(
    network: nn.Module, batch: Latents, texts: Float[Tensor, "n k e"], buffers: int, fps: int, seed: int = 0
) -> dict[str, float]:
    """Loss of held-out frames with their own text, with that of another scene, and with none, at the same noise.

    Captions of neighbours in the batch must differ in most places for the second to mean anything.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch.target.shape, generator=generator).to(batch.target)
    levels = torch.randn(len(batch), 1, 1, 1, 1, generator=generator).mul(0.8).exp().to(batch.target)
    half = len(batch) // 2
    other = Latents(batch.target, batch.warp, batch.mask, batch.caption.roll(half))
    ways = {"own_text": (batch, 1.0), "other_text": (other, 1.0), "no_text": (batch, 0.0)}
    results = {}
    for name, (examples, shown) in ways.items():
        draw = FrameDraw(noise, levels, torch.full((len(batch), 1, 1), shown).to(levels))
        results[name] = round(float(frame_loss(network, examples, texts, draw, buffers, fps).mean()), 5)
    return results
