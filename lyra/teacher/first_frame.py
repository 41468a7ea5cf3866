"""A first frame from text alone, by the same network: one latent frame, nothing given, no 3D cache.

To the network this is a video of one frame whose frame indicator and buffers are all zero. It takes more steps than a
video, since nothing is known beforehand, and guidance; one frame has few tokens, so both are cheap. An adapter makes
the network do it (`lyra.teacher.adapter`). Guidance is away from no text (Ho and Salimans 2022) and from the network
without its adapter, which does the same worse (Karras et al. 2024: autoguidance).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyra.scene import require
from lyra.teacher.codec import SIGMA_DATA
from lyra.teacher.cosmos import Conditioning, CosmosDenoiser, CosmosTeacher
from lyra.teacher.sampler import KarrasSchedule, Step, euler

_JUDGED_LEVELS = (3.0, 6.0, 12.0, 24.0)  # noise at which text decides what is seen; below, what is there already does


@dataclass(frozen=True)
class TextSampling:
    """Steps and guidance of a first frame; guidance g adds g times the difference that adapter and text make."""

    steps: int = 18
    guidance: float = 2.0
    sigma_min: float = 0.02
    sigma_max: float = 80.0

    @property
    def schedule(self) -> KarrasSchedule:
        """The noise levels."""
        return KarrasSchedule(self.steps, self.sigma_min, self.sigma_max)


def unconditioned(like: Float[Tensor, "b c t h w"], text: Float[Tensor, "b n e"], buffers: int) -> Conditioning:
    """Nothing but text for latents of this shape, with so many channels of empty buffers."""
    known, zero = like.new_zeros(len(like), 1, *like.shape[2:]), torch.zeros_like(like)
    none = like.new_zeros(len(like), buffers, *like.shape[2:])
    return Conditioning(zero, known, none, text.to(like), torch.zeros_like(text).to(like))


def first_frame(
    teacher: CosmosTeacher, text: Float[Tensor, "b n e"], height: int, width: int, device: torch.device | str = "cpu"
) -> Conditioning:
    """The conditioning for `teacher.sample` of first frames of this size (pixels, multiples of 16)."""
    require(height % 16 == 0 and width % 16 == 0, f"frame sides must be multiples of 16, got {width}x{height}")
    config, space = teacher.config, teacher.codec.spec.space
    fits = text.shape[2] == config.text_channels and text.shape[1] <= config.text_tokens
    require(
        fits,
        f"this teacher reads at most {config.text_tokens} text tokens of {config.text_channels} channels, "
        f"got {text.shape[1]} of {text.shape[2]}",
    )
    shape = (len(text), config.latent_channels, 1, height // space, width // space)
    return unconditioned(torch.zeros(shape, device=device), text.to(device), config.buffer_channels)


@torch.no_grad()
def paint(
    teacher: CosmosTeacher,
    guide: nn.Module,
    cond: Conditioning,
    seeds: list[int],
    sampling: TextSampling | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Float[Tensor, "b c 1 h w"]:
    """Normalised latents of first frames, one seed each; the same on every device up to rounding.

    `guide` is the teacher's network without the adapter.
    """
    sampling = sampling or TextSampling()
    noise = teacher.noise(cond, seeds)
    nothing = torch.zeros_like(cond.latent)
    denoiser = CosmosDenoiser(teacher.network, teacher.config.fps, cond, sampling.guidance, nothing, guide)
    return euler(denoiser, noise, sampling.schedule, on_step)


@torch.no_grad()
def agreement(teacher: CosmosTeacher, latents: Float[Tensor, "b c 1 h w"], text: Tensor) -> Float[Tensor, " b"]:
    """How much better the text explains each frame than no text does, 0 if not at all; comparable for one text.

    The network as a classifier (Li et al. 2023): the share by which the text lowers the error of denoising, over fixed
    noise at several levels.
    """
    shape = latents.shape[1:]
    cond = unconditioned(latents, text.expand(len(latents), -1, -1), teacher.config.buffer_channels)
    denoiser = CosmosDenoiser(teacher.network, teacher.config.fps, cond, 0.0, torch.zeros_like(latents))
    errors = []
    for index, sigma in enumerate(_JUDGED_LEVELS):
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(index)).to(latents)
        noisy, c = latents + sigma * noise, (sigma**2 + SIGMA_DATA**2) ** 0.5
        wanted = (latents - SIGMA_DATA**2 / c**2 * noisy) * c / (sigma * SIGMA_DATA)
        branches = [denoiser.branch(noisy, sigma, conditional=flag) for flag in (True, False)]
        errors.append(torch.stack([(branch - wanted).square().flatten(1).mean(1) for branch in branches]))
    with_text, without = torch.stack(errors).mean(0)
    return 1 - with_text / without
