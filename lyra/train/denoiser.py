"""Training of the camera-controlled video diffusion model: denoising first, then few steps learnt from many.

Denoising: the network behind `CosmosDenoiser`, the class that samples, is fitted to clean latents at random noise
levels (Karras et al. 2022, Eq. 8 with their weights, which make the loss that of the raw output), on all frames but
the given one. Few steps: a frozen copy walks from each noise level of the final schedule to the next in several Euler
steps, and the network learns to arrive at the same place in one (progressive distillation, Salimans and Ho 2022); a
critic of latents may keep it from being soft (`denoiser_critic`).
"""

from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lyra.teacher.codec import SIGMA_DATA
from lyra.teacher.cosmos import MINI, Conditioning, CosmosConfig, CosmosDenoiser, build
from lyra.teacher.sampler import KarrasSchedule, MiniSampling
from lyra.train import checkpoint
from lyra.train.denoiser_clips import Errors
from lyra.train.denoiser_critic import Critic, CriticNetwork
from lyra.train.latents import Latents
from lyra.train.muon import Muon
from lyra.train.processes import Processes


@dataclass(frozen=True)
class DenoiserTraining:
    """The recipe. `batch` is that of one process, `photos` the share of it from photographs; noise levels are drawn
    with log sigma normal; `unseen_weight` is added to the loss where the warp shows nothing; the last `few_share` of
    the training makes the few-step weights, from `substeps` steps of the frozen copy for each one of theirs.

    `adversarial` is the weight of a critic in the few-step part (0: none). Clips are shown no text, as photographs come
    without; what text means is learnt by an adapter (`first_frames`)."""

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
    few_share: float = 0.3
    substeps: int = 4
    adversarial: float = 0.0
    critic_width: int = 64
    critic_rate: float = 2e-4
    clip_norm: float = 1.0

    def as_dict(self) -> dict:
        """Plain values, saved with each run."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of one batch: noise, noise on the given frame, noise levels as unit normal numbers,
    whether buffers are shown, and which step of the schedule is learnt."""

    noise: Float[Tensor, "b c t h w"]
    augment: Float[Tensor, "b c t h w"]
    level: Float[Tensor, " b"]
    buffers: Bool[Tensor, " b"]
    interval: Int64[Tensor, " b"]

    def __getitem__(self, index: slice) -> "Draw":
        """The numbers of some examples."""
        return Draw(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class DenoiserTrainer:
    """Weights, their running average, optimiser, and how far the run has come."""

    def __init__(self, recipe: DenoiserTraining, processes: Processes, seed: int, compiled: bool = False) -> None:
        torch.manual_seed(seed)
        self.recipe, self.processes, self.compiled, self.seed = recipe, processes, compiled, seed
        self.device = processes.device
        self.network = initialise(build(recipe.network)).to(self.device)
        self.average = deepcopy(self.network).requires_grad_(False).eval()
        self.frozen: nn.Module | None = None
        self.critic: Critic | None = None
        self.optimizer = self._optimizer()
        self.generator = torch.Generator().manual_seed(seed + 1000 * processes.rank)
        self.noise = torch.Generator(self.device).manual_seed(seed + 1000 * processes.rank)
        self.step, self.elapsed = 0, 0.0
        self._compile(self.network)

    def _optimizer(self) -> Muon:
        return Muon(self.network.parameters(), 0.0, weight_decay=0.01)

    def _compile(self, network: nn.Module) -> None:
        """Compile the blocks, which are alike, so that one kernel set for each shape serves all of them."""
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
        if self.recipe.adversarial > 0:
            config = self.recipe.network
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)  # the same in every process
                judge = CriticNetwork(config.latent_channels, config.buffer_channels, self.recipe.critic_width)
            self.critic = Critic(judge.to(self.device), self.recipe.adversarial, self.recipe.critic_rate)

    def start_from(self, state: dict[str, Tensor]) -> None:
        """Begin with these weights instead of random ones."""
        self.network.load_state_dict(state)
        self.average.load_state_dict(state)

    def draw(self, shape: torch.Size) -> Draw:
        """Random numbers for a batch of latents of this shape."""
        recipe, options = self.recipe, {"generator": self.noise, "device": self.device}
        b = shape[0]
        return Draw(
            torch.randn(shape, **options),
            torch.randn(shape, **options),
            torch.randn(b, **options),
            torch.rand(b, **options) >= recipe.drop_buffers,
            torch.randint(recipe.sampling.steps, (b,), **options),
        )

    def train_step(self, batch: Latents, draw: Draw, rate: float) -> dict[str, Tensor]:
        """One update on this process's part of a batch; returns its losses and the norm of the averaged gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            made, loss = self.few_loss(batch, draw) if self.few else (None, self.denoising_loss(batch, draw))
            parts = {"loss": loss.detach()}
            if self.critic is not None:
                sigma = self._few_levels(draw)[:, 0]
                term = self.critic.term(made, batch, self._error(made, batch.target, sigma, batch.mask))
                loss, parts = loss + term, parts | {"critic_term": term.detach()}
        loss.backward()
        moved = [p for p in self.network.parameters() if p.grad is not None]
        self.processes.average([p.grad for p in moved])
        norm = nn.utils.clip_grad_norm_(moved, self.recipe.clip_norm)
        for parameter in moved:  # a step that overflowed becomes an empty one, without a sync
            parameter.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        checkpoint.follow(self.average, self.network, self.recipe.ema, self.step)
        if self.critic is not None:
            parts["critic_loss"] = self.critic.learn(made, batch, self.processes)
        return parts | {"grad_norm": norm.detach()}

    def denoising_loss(self, batch: Latents, draw: Draw) -> Tensor:
        """Weighted squared error of the clean latents at random noise levels."""
        mean, std = self.recipe.log_sigma
        sigma = (mean + std * draw.level).exp().clamp(*self.recipe.sigma_limits).reshape(-1, 1, 1, 1, 1)
        denoiser = self._denoiser(self.network, batch, draw)
        noisy = denoiser.prepare(batch.target + sigma * draw.noise, sigma)
        return self._error(denoiser(noisy, sigma), batch.target, sigma, batch.mask)

    def _few_levels(self, draw: Draw) -> Float[Tensor, "b k 1 1 1 1"]:
        """Noise levels of each example's step: where it begins, those between, and where it ends."""
        table = substeps(self.recipe.sampling, self.recipe.substeps).to(self.device)
        return table[draw.interval][..., None, None, None, None]

    def few_loss(self, batch: Latents, draw: Draw) -> tuple[Tensor, Tensor]:
        """What the network makes in one step, and the error as in `denoising_loss`, but towards the estimate that
        takes one step where the frozen model's steps arrive."""
        levels = self._few_levels(draw)
        first, last = levels[:, 0], levels[:, -1]
        shown = replace(draw, buffers=torch.ones_like(draw.buffers))
        denoiser = self._denoiser(self.network, batch, shown)
        start = denoiser.prepare(batch.target + first * draw.noise, first)
        with torch.no_grad():
            expert = self._denoiser(self.frozen, batch, shown)
            x = start
            for sigma, following in pairwise(levels.unbind(1)):
                x = expert.prepare(x, sigma)
                x = x + (x - expert(x, sigma)) / sigma * (following - sigma)
            target = start - first * (x - start) / (last - first)
        made = denoiser(start, first)
        return made, self._error(made, target, first, batch.mask)

    def _denoiser(self, network: nn.Module, batch: Latents, draw: Draw) -> CosmosDenoiser:
        """The sampling class around a network, with some of the buffers left out."""
        cond = conditioning(batch)
        cond = replace(cond, buffers=cond.buffers * draw.buffers.reshape(-1, 1, 1, 1, 1))
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
        fallen = (progress / split - 0.3) / 0.7
        return checkpoint.falling(self.step, recipe.warmup_steps, fallen, recipe.learning_rate, recipe.final_rate)

    def _parts(self) -> dict:
        parts = {"network": self.network, "average": self.average, "optimizer": self.optimizer}
        parts |= {"frozen": self.frozen} if self.few else {}
        return parts | ({"critic": self.critic} if self.critic is not None else {})

    def save(self, path: Path) -> None:
        """Everything needed to go on, in one file a process."""
        generators = (self.generator, self.noise)
        checkpoint.save(path, self._parts(), generators, step=self.step, elapsed=self.elapsed)

    def restore(self, path: Path) -> None:
        """Go on from `save`."""
        state = checkpoint.read(path, self.device)
        if "frozen" in state:
            self.begin_few()
        checkpoint.put(state, self._parts(), (self.generator, self.noise))
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


def conditioning(batch: Latents) -> Conditioning:
    """What the model is given: the first frame and the warp with its mask, and a text without tokens."""
    latent = torch.zeros_like(batch.target)
    latent[:, :, :1] = batch.target[:, :, :1]
    known = torch.zeros_like(latent[:, :1])
    known[:, :, 0] = 1
    text = batch.target.new_zeros(len(batch), 0, 1)
    return Conditioning(latent, known, torch.cat([batch.warp, batch.mask], 1), text, text)


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
