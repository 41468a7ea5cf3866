"""Train the video codec against the clock: resumable, averaged weights, saved every minute."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lyra.teacher.causal_vae import VaeConfig
from lyra.teacher.codec import MINI, VideoCodec
from lyra.train.clip_data import ClipShape, draw
from lyra.train.codec_loss import CodecLossWeights, codec_loss


@dataclass(frozen=True)
class CodecTraining:
    """The recipe. Batches cycle through `shapes` in the order of `schedule` (indices into shapes)."""

    vae: VaeConfig
    shapes: tuple[ClipShape, ...]
    schedule: tuple[int, ...]
    learning_rate: float = 8e-4
    final_rate: float = 2e-5
    warmup_steps: int = 200
    ema: float = 0.999
    latent_noise: float = 0.05
    clip_norm: float = 1.0
    loss: CodecLossWeights = field(default_factory=CodecLossWeights)
    save_every: float = 60.0


H100 = CodecTraining(
    vae=MINI,
    shapes=(
        ClipShape(24, 17, 192, 256, 0.25),
        ClipShape(64, 1, 256, 320, 0.5),
        ClipShape(6, 25, 256, 448, 0.25),
    ),
    schedule=(0, 1, 0, 2),
)

TINY = CodecTraining(
    vae=VaeConfig(encoder_channels=(8, 16, 16, 16), decoder_channels=(16, 16, 16, 16), layers=1),
    shapes=(ClipShape(2, 9, 64, 64, 0.5), ClipShape(4, 1, 64, 64, 0.5)),
    schedule=(0, 1),
    warmup_steps=5,
    loss=CodecLossWeights(lpips_frames=2),
    save_every=5.0,
)

PRESETS = {"h100": H100, "tiny": TINY}


class CodecTrainer:
    """Weights, their running average, optimiser, and how far the run has come."""

    def __init__(self, recipe: CodecTraining, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.recipe, self.device = recipe, device
        self.codec = VideoCodec(recipe.vae).to(device)
        self.average = VideoCodec(recipe.vae).to(device).requires_grad_(False).eval()
        self.average.load_state_dict(self.codec.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.codec.vae.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=1e-3, fused=device.type == "cuda"
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(device).manual_seed(seed)  # too many numbers a step to draw them on the CPU
        self.step, self.elapsed = 0, 0.0

    def compile_blocks(self) -> None:
        """Compile the residual blocks (regional compilation: blocks of one size share their kernels).

        Shapes stay static: with symbolic ones the compiler of torch 2.13 fails on the folded convolutions. What cannot
        be compiled runs as it is.
        """
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.suppress_errors = True
        from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosResnetBlock3d

        for module in self.codec.vae.modules():
            if isinstance(module, CosmosResnetBlock3d):
                module.compile(dynamic=False)

    def train_step(self, video: Tensor, lpips: nn.Module, rate: float) -> dict[str, Tensor]:
        """One update on a batch; returns the loss terms and the gradient norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            latents = self.codec.vae.encode(video).latent_dist.mode()
            noise = torch.randn(latents.shape, generator=self.noise, device=latents.device)
            output = self.codec.vae.decode(latents + self.recipe.latent_noise * noise).sample
            total, terms = codec_loss(output, video, latents, lpips, self.recipe.loss, self.generator)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.codec.vae.parameters(), self.recipe.clip_norm)
        for parameter in self.codec.vae.parameters():  # a step that overflowed becomes an empty one, without a sync
            parameter.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._update_average()
        return {"loss": total.detach(), **terms, "grad_norm": norm.detach()}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        mine, average = list(self.codec.vae.parameters()), list(self.average.vae.parameters())
        torch._foreach_lerp_(average, mine, 1 - decay)

    def rate(self, progress: float) -> float:
        """Learning rate: linear warm-up in steps, then half a cosine in time; progress 0..1 of the whole schedule."""
        r = self.recipe
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return min(1.0, (self.step + 1) / r.warmup_steps) * (r.final_rate + (r.learning_rate - r.final_rate) * cosine)

    def save(self, path: Path) -> None:
        """Everything needed to go on, in one file, never half-written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "codec": self.codec.state_dict(),
            "average": self.average.state_dict(),
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
        self.codec.load_state_dict(state["codec"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for generator, saved in zip((self.generator, self.noise), state["generators"], strict=True):
            generator.set_state(saved.cpu())
        self.step, self.elapsed = state["step"], state["elapsed"]


@dataclass(frozen=True)
class Clock:
    """When to stop this run (`deadline`, in time.monotonic) and how long the schedule is over all runs (seconds)."""

    deadline: float
    schedule_seconds: float


def fit(
    trainer: CodecTrainer,
    clips: Tensor | None,
    photos: list[Tensor],
    lpips: nn.Module,
    clock: Clock,
    save: Callable[[], None],
    log: Path,
) -> None:
    """Train until the deadline; `save` is called once a minute and at the end."""
    recipe = trainer.recipe
    before, started = trainer.elapsed, time.monotonic()
    saved = logged = started
    shapes, frames, totals = _Shapes(recipe), 0, {}
    with log.open("a") as file:
        while True:
            shape = shapes.at(trainer.step)
            now = time.monotonic()
            if now >= clock.deadline:
                break
            trainer.elapsed = before + now - started
            rate = trainer.rate(trainer.elapsed / clock.schedule_seconds)
            try:
                video = draw(shape, clips, photos, trainer.generator)
                terms = trainer.train_step(video, lpips, rate)
            except torch.OutOfMemoryError:
                shapes.shrink(shape)
                continue
            frames += shape.batch * shape.frames
            for name, value in terms.items():
                totals.setdefault(name, []).append(value)
            if now - logged >= 5:
                line = {name: round(float(torch.stack(v).mean()), 5) for name, v in totals.items()}
                line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "rate": round(rate, 7), **line}
                line["frames_per_second"] = round(frames / (now - logged), 1)
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(" ".join(f"{key}={value}" for key, value in line.items()), flush=True)
                logged, frames, totals = now, 0, {}
            if now - saved >= recipe.save_every:
                save()
                saved = time.monotonic()
    trainer.elapsed = before + time.monotonic() - started
    save()


class _Shapes:
    """The endless cycle of batch shapes; a shape that does not fit into memory goes on with half its batch."""

    def __init__(self, recipe: CodecTraining) -> None:
        self._shapes, self._schedule = list(recipe.shapes), recipe.schedule

    def at(self, step: int) -> ClipShape:
        """The shape of a step."""
        return self._shapes[self._schedule[step % len(self._schedule)]]

    def shrink(self, shape: ClipShape) -> None:
        """Halve the batch of a shape; a batch of one that does not fit is the end."""
        if shape.batch == 1:
            raise MemoryError(f"one clip of {shape.frames} frames {shape.width}x{shape.height} does not fit")
        self._shapes[self._shapes.index(shape)] = replace(shape, batch=shape.batch // 2)
        torch.cuda.empty_cache()
        print(f"out of memory: batches of {shape.frames} frames now have {shape.batch // 2} clips", flush=True)


def recipe_text(recipe: CodecTraining) -> str:
    """The resolved recipe as JSON, saved with each run."""
    return json.dumps(asdict(recipe), indent=1)
