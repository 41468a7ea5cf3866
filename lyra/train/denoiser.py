"""Training of the camera-controlled video diffusion model: denoising first, then few steps learnt from many.

Denoising: the network behind `CosmosDenoiser`, the class that samples, is fitted to clean latents at random noise
levels (Karras et al. 2022, Eq. 8 with their weights, which make the loss that of the raw output), on all frames but
the given one. Few steps: a frozen copy walks from each noise level of the final schedule to the next in several Euler
steps, and the network learns to arrive at the same place in one (progressive distillation, Salimans and Ho 2022).
"""

import math
import os
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lyra.teacher.codec import SIGMA_DATA
from lyra.teacher.cosmos import MINI, Conditioning, CosmosConfig, CosmosDenoiser, build
from lyra.teacher.sampler import KarrasSchedule, MiniSampling
from lyra.train.denoiser_clips import Errors
from lyra.train.latents import Latents
from lyra.train.muon import Muon
from lyra.train.processes import Processes


@dataclass(frozen=True)
class DenoiserTraining:
    """The recipe. `batch` is that of one process, `photos` the share of it from photographs; noise levels are drawn
    with log sigma normal; `unseen_weight` is added to the loss where the warp shows nothing; the last `few_share` of
    the training makes the few-step weights, from `substeps` steps of the frozen copy for each one of theirs."""

    network: CosmosConfig = MINI
    sampling: MiniSampling = field(default_factory=MiniSampling)
    errors: Errors = field(default_factory=Errors)
    batch: int = 96
    photos: float = 0.15
    learning_rate: float = 2e-3
    final_rate: float = 5e-5
    few_rate: float = 3e-4
    warmup_steps: int = 200
    ema: float = 0.998
    log_sigma: tuple[float, float] = (0.0, 1.5)
    sigma_limits: tuple[float, float] = (0.005, 80.0)
    unseen_weight: float = 1.0
    drop_buffers: float = 0.1
    drop_text: float = 0.15
    few_share: float = 0.3
    substeps: int = 4
    clip_norm: float = 1.0

    def as_dict(self) -> dict:
        """Plain values, saved with each run."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of one batch: noise, noise on the given frame, noise levels as unit normal numbers, and
    whether buffers and text are shown."""

    noise: Float[Tensor, "b c t h w"]
    augment: Float[Tensor, "b c t h w"]
    level: Float[Tensor, " b"]
    buffers: Bool[Tensor, " b"]
    text: Bool[Tensor, " b"]
    interval: Int64[Tensor, " b"]

    def __getitem__(self, index: slice) -> "Draw":
        """The numbers of some examples."""
        return Draw(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class DenoiserTrainer:
    """Weights, their running average, optimiser, and how far the run has come."""

    def __init__(self, recipe: DenoiserTraining, processes: Processes, seed: int, compiled: bool = False) -> None:
        torch.manual_seed(seed)
        self.recipe, self.processes, self.compiled = recipe, processes, compiled
        self.device = processes.device
        self.network = initialise(build(recipe.network)).to(self.device)
        self.average = deepcopy(self.network).requires_grad_(False).eval()
        self.frozen: nn.Module | None = None
        self.optimizer = self._optimizer()
        self.generator = torch.Generator().manual_seed(seed + 1000 * processes.rank)
        self.noise = torch.Generator(self.device).manual_seed(seed + 1000 * processes.rank)
        self.step, self.elapsed = 0, 0.0
        self._compile(self.network)

    def _optimizer(self) -> Muon:
        return Muon(self.network.parameters(), 0.0, weight_decay=0.01)

    def _compile(self, network: nn.Module) -> None:
        """Compile the blocks, which are alike, so that one kernel set serves all of them."""
        if self.compiled:
            for block in network.transformer_blocks:
                block.compile(dynamic=False)

    @property
    def few(self) -> bool:
        """Whether the run is in its second part, in which few steps are learnt."""
        return self.frozen is not None

    def begin_few(self) -> None:
        """Freeze the averaged weights as the model to learn from, and go on from them."""
        self.frozen = deepcopy(self.average)
        self._compile(self.frozen)
        self.network.load_state_dict(self.average.state_dict())
        self.optimizer = self._optimizer()

    def draw(self, shape: torch.Size) -> Draw:
        """Random numbers for a batch of latents of this shape."""
        recipe, options = self.recipe, {"generator": self.noise, "device": self.device}
        b = shape[0]
        return Draw(
            torch.randn(shape, **options),
            torch.randn(shape, **options),
            torch.randn(b, **options),
            torch.rand(b, **options) >= recipe.drop_buffers,
            torch.rand(b, **options) >= recipe.drop_text,
            torch.randint(recipe.sampling.steps, (b,), **options),
        )

    def train_step(self, batch: Latents, texts: Tensor | None, draw: Draw, rate: float) -> dict[str, Tensor]:
        """One update on this process's part of a batch; returns its loss and the norm of the averaged gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.few_loss(batch, texts, draw) if self.few else self.denoising_loss(batch, texts, draw)
        loss.backward()
        moved = [p for p in self.network.parameters() if p.grad is not None]
        self.processes.average([p.grad for p in moved])
        norm = nn.utils.clip_grad_norm_(moved, self.recipe.clip_norm)
        for parameter in moved:  # a step that overflowed becomes an empty one, without a sync
            parameter.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        return {"loss": loss.detach(), "grad_norm": norm.detach()}

    def denoising_loss(self, batch: Latents, texts: Tensor | None, draw: Draw) -> Tensor:
        """Weighted squared error of the clean latents at random noise levels."""
        mean, std = self.recipe.log_sigma
        sigma = (mean + std * draw.level).exp().clamp(*self.recipe.sigma_limits).reshape(-1, 1, 1, 1, 1)
        denoiser = self._denoiser(self.network, batch, texts, draw)
        noisy = denoiser.prepare(batch.target + sigma * draw.noise, sigma)
        return self._error(denoiser(noisy, sigma), batch.target, sigma, batch.mask)

    def few_loss(self, batch: Latents, texts: Tensor | None, draw: Draw) -> Tensor:
        """As `denoising_loss`, towards the estimate that takes one step where the frozen model's steps arrive."""
        table = substeps(self.recipe.sampling, self.recipe.substeps).to(self.device)
        levels = table[draw.interval][..., None, None, None, None]
        first, last = levels[:, 0], levels[:, -1]
        shown = Draw(draw.noise, draw.augment, draw.level, torch.ones_like(draw.buffers), draw.text, draw.interval)
        denoiser = self._denoiser(self.network, batch, texts, shown)
        start = denoiser.prepare(batch.target + first * draw.noise, first)
        with torch.no_grad():
            expert = self._denoiser(self.frozen, batch, texts, shown)
            x = start
            for sigma, following in pairwise(levels.unbind(1)):
                x = expert.prepare(x, sigma)
                x = x + (x - expert(x, sigma)) / sigma * (following - sigma)
            target = start - first * (x - start) / (last - first)
        return self._error(denoiser(start, first), target, first, batch.mask)

    def _denoiser(self, network: nn.Module, batch: Latents, texts: Tensor | None, draw: Draw) -> CosmosDenoiser:
        """The sampling class around a network, with some of the conditioning left out."""
        cond = conditioning(batch, texts)
        shown = [flag.reshape(-1, *[1] * rest) for flag, rest in ((draw.buffers, 4), (draw.text, 2))]
        cond = Conditioning(cond.latent, cond.known, cond.buffers * shown[0], cond.text * shown[1], cond.negative_text)
        return CosmosDenoiser(network, self.recipe.network.fps, cond, 0.0, draw.augment)

    def _error(self, clean: Tensor, target: Tensor, sigma: Tensor, mask: Tensor) -> Tensor:
        """Squared error over the frames that are not given, in units of the network's output."""
        unit = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        covered = (mask / SIGMA_DATA + 1).mean(1, keepdim=True) / 2
        weight = (1 + self.recipe.unseen_weight * (1 - covered))[:, :, 1:]
        error = (clean - target).float().square()[:, :, 1:]
        return (unit * weight * error).mean()

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the whole training: warm-up in steps, level, then down; again for few steps."""
        recipe, split = self.recipe, 1 - self.recipe.few_share
        if self.few:
            return recipe.few_rate * max(0.02, min(1.0, 2 * (1 - progress) / max(recipe.few_share, 1e-6)))
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress / split - 0.3) / 0.7)))
        level = recipe.final_rate + (recipe.learning_rate - recipe.final_rate) * falling
        return min(1.0, (self.step + 1) / recipe.warmup_steps) * level

    def save(self, path: Path) -> None:
        """Everything needed to go on, in one file a process, never half-written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "frozen": self.frozen.state_dict() if self.few else None,
            "optimizer": self.optimizer.state_dict(),
            "generators": [self.generator.get_state(), self.noise.get_state()],
            "step": self.step,
            "elapsed": self.elapsed,
        }
        torch.save(state, f"{path}.part")
        os.replace(f"{path}.part", path)

    def restore(self, path: Path) -> None:
        """Go on from `save`."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["frozen"] is not None:
            self.begin_few()
            self.frozen.load_state_dict(state["frozen"])
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, saved in zip((self.generator, self.noise), state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.step, self.elapsed = state["step"], state["elapsed"]


def initialise(network: nn.Module) -> nn.Module:
    """Start values with which every block passes its input on and the output is zero (adaLN-Zero, Peebles 2023).

    The way out of the text attention starts at zero too, so that weights trained without text ignore it.
    """
    for block in network.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            nn.init.zeros_(norm.linear_2.weight)
        nn.init.zeros_(block.attn2.to_out[0].weight)
    nn.init.zeros_(network.norm_out.linear_2.weight)
    nn.init.zeros_(network.time_embed.t_embedder.linear_2.weight)
    nn.init.zeros_(network.proj_out.weight)
    position = network.learnable_pos_embed
    for table in (position.pos_emb_t, position.pos_emb_h, position.pos_emb_w):
        nn.init.normal_(table, std=0.02)
    return network


def conditioning(batch: Latents, texts: Tensor | None) -> Conditioning:
    """What the model is given: the first frame, the warp with its mask, and a row of `texts` if there are any."""
    latent = torch.zeros_like(batch.target)
    latent[:, :, :1] = batch.target[:, :, :1]
    known = torch.zeros_like(latent[:, :1])
    known[:, :, 0] = 1
    text = batch.target.new_zeros(len(batch), 0, 1) if texts is None else texts[batch.caption]
    return Conditioning(latent, known, torch.cat([batch.warp, batch.mask], 1), text, torch.zeros_like(text))


def substeps(sampling: MiniSampling, count: int) -> Float[Tensor, "n k"]:
    """For every step of the schedule the noise levels of `count` smaller ones between its ends, spaced as Karras."""
    ends = sampling.schedule.sigmas().tolist()
    rows = []
    for high, low in pairwise(ends):
        if low > 0:
            power = torch.linspace(high ** (1 / 7), low ** (1 / 7), count + 1, dtype=torch.float64)
            rows.append((power**7).float())
        elif count == 1:
            rows.append(torch.tensor([high, 0.0]))
        else:
            rows.append(KarrasSchedule(count, min(0.02, high / 4), high).sigmas())
    return torch.stack(rows)
