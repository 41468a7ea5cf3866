"""From noise to latents through any denoiser. Samplers know nothing of networks, cameras or text."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Levels:
    """Falling noise levels given one by one; sampling ends with the step from the last of them to 0."""

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        falling = all(high > low for high, low in pairwise((*self.levels, 0.0)))
        require(len(self.levels) >= 1 and falling, f"noise levels must fall and stay above 0, got {self.levels}")

    @property
    def sigma_max(self) -> float:
        """The level of the start noise."""
        return self.levels[0]

    def sigmas(self) -> Float[Tensor, " n"]:
        """The levels, then 0."""
        return torch.tensor([*self.levels, 0.0])


@dataclass(frozen=True)
class MiniSampling:
    """How weights made for few steps are sampled: their noise levels, guidance, and where the first step starts.

    `start` is "noise", or "warp" for noise around the latents of the first warped buffer.
    """

    sigmas: tuple[float, ...] = (20.0, 2.0, 0.7, 0.25)
    guidance: float = 0.0
    start: str = "noise"

    def __post_init__(self) -> None:
        require(self.start in ("noise", "warp"), f"sampling starts from 'noise' or 'warp', not from {self.start!r}")

    @property
    def steps(self) -> int:
        """Evaluations of the network, without those for guidance."""
        return len(self.sigmas)

    @property
    def schedule(self) -> Levels:
        """The noise levels as a schedule."""
        return Levels(self.sigmas)

    def as_dict(self) -> dict:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "MiniSampling":
        """The inverse of `as_dict` after a trip through JSON, where tuples become lists; entries of older folders are
        left out."""
        return cls(tuple(values["sigmas"]), values["guidance"], values["start"])


def euler(
    denoiser: Denoiser,
    noise: Float[Tensor, "b c t h w"],
    schedule: KarrasSchedule | Levels,
    on_step: Callable[[Step], None] | None = None,
    start: Float[Tensor, "b c t h w"] | None = None,
) -> Float[Tensor, "b c t h w"]:
    """Deterministic Euler steps along the probability flow (Karras et al. 2022, Alg. 1), state in float32.

    `noise` is unit normal; `on_step` sees every step as it is done. The first state is the noise times
    sqrt(sigma_max^2 + 1), as published, or with `start` (latents near the result) start + sigma_max noise.
    """
    sigmas = schedule.sigmas().tolist()
    x = noise.float() * (schedule.sigma_max**2 + 1) ** 0.5
    if start is not None:
        x = start.float() + schedule.sigma_max * noise.float()
    for index, (sigma, following) in enumerate(pairwise(sigmas)):
        x = denoiser.prepare(x, sigma)
        clean = denoiser(x, sigma)
        result = x + (x - clean) / sigma * (following - sigma)
        if on_step is not None:
            on_step(Step(index, sigma, x, clean, result))
        x = result
    return x
