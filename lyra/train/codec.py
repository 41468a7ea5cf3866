"""Train the video codec against the clock: one or several GPUs, resumable, averaged weights, saved every minute."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lyra.scene import require
from lyra.teacher.codec import MINI, VideoCodec
from lyra.train import checkpoint
from lyra.train.clip_data import ClipShape
from lyra.train.codec_loss import CodecLossWeights, codec_loss
from lyra.train.muon import Muon
from lyra.vae.causal_vae import ResidualBlock, VaeConfig


@dataclass(frozen=True)
class CodecTraining:
    """The recipe. Batches have one shape, so that kernels are chosen once; `shape.batch` is per process."""

    vae: VaeConfig
    shape: ClipShape
    pans: int = 400
    learning_rate: float = 2e-3
    final_rate: float = 2e-5
    warmup_steps: int = 100
    ema: float = 0.999
    latent_noise: float = 0.03
    loss: CodecLossWeights = field(default_factory=CodecLossWeights)
    save_every: float = 60.0


H100 = CodecTraining(vae=MINI, shape=ClipShape(8, 25, 256, 448, 0.25))

TINY = CodecTraining(
    vae=VaeConfig(encoder_channels=(8, 16, 16, 16), decoder_channels=(16, 16, 16, 16), layers=1),
    shape=ClipShape(2, 9, 64, 64, 0.5),
    pans=4,
    warmup_steps=5,
    loss=CodecLossWeights(lpips_frames=2),
    save_every=5.0,
)

PRESETS = {"h100": H100, "tiny": TINY}


class CodecTrainer(checkpoint.Resumable):
    """Weights, their running average, optimiser, and how far the run has come."""

    def __init__(self, recipe: CodecTraining, device: torch.device, seed: int, rank: int = 0, world: int = 1) -> None:
        torch.manual_seed(seed)
        self.recipe, self.device, self.world = recipe, device, world
        self.codec = VideoCodec(recipe.vae).to(device)
        calm(self.codec.vae)
        self.average = VideoCodec(recipe.vae).to(device).requires_grad_(False).eval()
        self.average.load_state_dict(self.codec.state_dict())
        self.optimizer = self._optimizer()
        self.generator = torch.Generator().manual_seed(seed * 1000 + rank)
        self.noise = torch.Generator(device).manual_seed(seed * 1000 + rank)  # too many to draw on the CPU
        self.step, self.elapsed = 0, 0.0

    def _optimizer(self) -> Muon:
        return Muon((p for p in self.codec.vae.parameters() if p.requires_grad), 0.0)

    def begin_with(self, codec: VideoCodec, decoder_only: bool = False) -> None:
        """Start from given weights; with `decoder_only` the encoder keeps them, so that latents stay what they are."""
        require(
            codec.config == self.recipe.vae,
            f"the weights to start from have another configuration: {codec.config} instead of {self.recipe.vae}",
        )
        for network in (self.codec, self.average):
            network.vae.load_state_dict(codec.vae.state_dict())
            network.mean, network.std = (table.to(self.device) for table in (codec.mean, codec.std))
        if decoder_only:
            for part in (self.codec.vae.encoder, self.codec.vae.quant_conv):
                part.requires_grad_(False)
            self.optimizer = self._optimizer()

    def gradients(self, video: Tensor, lpips: nn.Module | None) -> dict[str, Tensor]:
        """Forward and backward; gradients are averaged over the processes. Returns the loss terms."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            latents = self.codec.vae.encode(video).latent_dist.mode()
            noise = torch.randn(latents.shape, generator=self.noise, device=latents.device)
            output = self.codec.vae.decode(latents + self.recipe.latent_noise * noise).sample
            total, terms = codec_loss(output, video, latents, lpips, self.recipe.loss, self.generator)
        total.backward()
        grads = [parameter.grad for parameter in self.codec.vae.parameters() if parameter.requires_grad]
        if self.world > 1:
            flat = torch.cat([grad.flatten() for grad in grads])
            torch.distributed.all_reduce(flat, torch.distributed.ReduceOp.AVG)
            parts = flat.split([grad.numel() for grad in grads])
            torch._foreach_copy_(grads, [part.view_as(grad) for part, grad in zip(parts, grads, strict=True)])
        for grad in grads:  # a step that overflowed becomes an empty one, without a sync
            grad.nan_to_num_(0, 0, 0)
        return {"loss": total.detach(), **terms}

    def train_step(self, video: Tensor, lpips: nn.Module | None, rate: float) -> dict[str, Tensor]:
        """One update on a batch; returns the loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.gradients(video, lpips)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        checkpoint.follow(self.average.vae, self.codec.vae, self.recipe.ema, self.step)
        return terms

    def parts(self) -> dict:
        """What a checkpoint holds."""
        return {"codec": self.codec, "average": self.average, "optimizer": self.optimizer}


@dataclass(frozen=True)
class Clock:
    """When to stop this run (`deadline`, in time.monotonic) and how long the schedule is over all runs (seconds)."""

    deadline: float
    schedule_seconds: float


def fit(
    trainer: CodecTrainer,
    draw_batch: Callable[[], Tensor],
    lpips: nn.Module,
    clock: Clock,
    save: Callable[[], None],
    log: Path | None,
) -> None:
    """Train until the deadline; `save` is called once a minute and at the end. Without `log` nothing is reported."""
    before, started = trainer.elapsed, time.monotonic()
    saved = logged = started
    totals: dict[str, list[Tensor]] = {}
    first = trainer.step
    while not _over(trainer, clock.deadline):
        now = time.monotonic()
        trainer.elapsed = before + now - started
        progress = trainer.elapsed / clock.schedule_seconds
        rate = trainer.rate(progress)
        terms = trainer.train_step(draw_batch(), lpips if progress >= trainer.recipe.loss.lpips_from else None, rate)
        for name, value in terms.items():
            totals.setdefault(name, []).append(value)
        if log is not None and now - logged >= 5:
            line = {name: round(float(torch.stack(v).mean()), 5) for name, v in totals.items()}
            line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "rate": round(rate, 7), **line}
            line["steps_per_second"] = round((trainer.step - first) / (time.monotonic() - logged), 2)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)
            logged, first, totals = time.monotonic(), trainer.step, {}
        if now - saved >= trainer.recipe.save_every:
            save()
            saved = time.monotonic()
    trainer.elapsed = before + time.monotonic() - started
    save()


def _over(trainer: CodecTrainer, deadline: float) -> bool:
    """Whether to stop; several processes ask the first one, every 20 steps, so that all stop at the same step."""
    if trainer.world == 1:
        return time.monotonic() >= deadline
    if trainer.step % 20:
        return False
    flag = torch.tensor([float(time.monotonic() >= deadline)], device=trainer.device)
    torch.distributed.broadcast(flag, 0)
    return bool(flag.item())


def calm(vae: nn.Module) -> None:
    """Start every residual block as the identity (its last convolution at zero): deep stacks then learn at once."""
    for module in vae.modules():
        if isinstance(module, ResidualBlock):
            nn.init.zeros_(module.conv2.conv_t.weight)
            nn.init.zeros_(module.conv2.conv_t.bias)


def recipe_text(recipe: CodecTraining) -> str:
    """The resolved recipe as JSON, saved with each run."""
    return json.dumps(asdict(recipe), indent=1)
