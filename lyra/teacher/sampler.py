"""From noise to latents through any denoiser. Samplers know nothing of networks, cameras or text."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import require


@runtime_checkable
class Denoiser(Protocol):
    """What a sampler asks of a model."""

    def prepare(self, x: Tensor, sigma: float) -> Tensor:
        """The noisy latents with everything known written into them, at noise level `sigma`."""
        ...

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The clean latents expected behind the prepared noisy ones."""
        ...


@dataclass(frozen=True)
class Step:
    """One finished step: its number, noise level, prepared input, clean estimate, and result."""

    index: int
    sigma: float
    x: Tensor
    clean: Tensor
    result: Tensor


@dataclass(frozen=True)
class KarrasSchedule:
    """Falling noise levels (Karras et al. 2022, Eq. 5); the defaults are those of GEN3C."""

    steps: int = 35
    sigma_min: float = 2e-4
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"sampling needs at least 1 step, got {self.steps}")
        require(
            0 < self.sigma_min < self.sigma_max,
            f"noise levels must satisfy 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}",
        )

    def sigmas(self) -> Float[Tensor, " n"]:
        """steps + 1 noise levels from sigma_max down to sigma_min, then 0."""
        low, high = (sigma ** (1 / self.rho) for sigma in (self.sigma_min, self.sigma_max))
        ramp = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        levels = (high + ramp * (low - high)) ** self.rho
        return torch.cat([levels, levels.new_zeros(1)]).float()


def euler(
    denoiser: Denoiser,
    noise: Float[Tensor, "b c t h w"],
    schedule: KarrasSchedule,
    on_step: Callable[[Step], None] | None = None,
) -> Float[Tensor, "b c t h w"]:
    """Deterministic Euler steps along the probability flow (Karras et al. 2022, Alg. 1), state in float32.

    `noise` is unit normal; `on_step` sees every step as it is done.
    """
    sigmas = schedule.sigmas().tolist()
    x = noise.float() * (schedule.sigma_max**2 + 1) ** 0.5
    for index, (sigma, following) in enumerate(pairwise(sigmas)):
        x = denoiser.prepare(x, sigma)
        clean = denoiser(x, sigma)
        result = x + (x - clean) / sigma * (following - sigma)
        if on_step is not None:
            on_step(Step(index, sigma, x, clean, result))
        x = result
    return x
