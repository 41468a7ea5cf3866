"""Train the depth network against the clock: resumable, averaged weights, saved every minute."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lyra.depth.mini import MiniDepth
from lyra.depth.network import DepthConfig, DepthNetwork
from lyra.train import checkpoint
from lyra.train.depth_augment import DepthBatch, crop, photographed
from lyra.train.depth_data import FramePool
from lyra.train.depth_loss import DepthLossWeights, depth_loss


@dataclass(frozen=True)
class DepthTraining:
    """The recipe. Batches cycle through `shapes` (images, height, width); the encoder learns at `encoder_rate` times
    the learning rate, because it starts from ImageNet weights."""

    network: DepthConfig
    shapes: tuple[tuple[int, int, int], ...]
    learning_rate: float = 1.5e-3
    encoder_rate: float = 0.3
    final_rate: float = 1e-5
    warmup_steps: int = 100
    weight_decay: float = 0.02
    ema: float = 0.998
    clip_norm: float = 1.0
    plain: float = 0.15
    loss: DepthLossWeights = field(default_factory=DepthLossWeights)
    save_every: float = 60.0


H100 = DepthTraining(
    network=DepthConfig(),
    shapes=((48, 256, 448), (56, 256, 352), (48, 320, 320), (48, 256, 448), (48, 384, 288)),
)
TINY = DepthTraining(
    network=DepthConfig(widths=(48, 32, 32, 32, 16), pixels=96 * 160),
    shapes=((4, 96, 160), (4, 128, 96)),
    warmup_steps=10,
    ema=0.98,
    save_every=10.0,
)
PRESETS = {"h100": H100, "tiny": TINY}


class DepthTrainer(checkpoint.Resumable):
    """Weights, their running average, optimiser, and how far the run has come."""

    def __init__(self, recipe: DepthTraining, device: torch.device, seed: int, backbone: Path | None = None) -> None:
        torch.manual_seed(seed)
        self.recipe, self.device = recipe, device
        self.network = DepthNetwork(recipe.network)
        if backbone is not None:
            state = {name: value.float() for name, value in load_file(backbone).items()}
            self.network.encoder.load_state_dict(state)
        self.network.to(device, memory_format=torch.channels_last)
        self.average = DepthNetwork(recipe.network).to(device).requires_grad_(False).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(self._groups(), lr=0.0, betas=(0.9, 0.99), fused=device.type == "cuda")
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(device).manual_seed(seed)  # pixel noise: too many numbers to draw on the CPU
        self.step, self.elapsed = 0, 0.0

    def _groups(self) -> list[dict]:
        """Encoder and the rest, each with and without weight decay (gains, biases, normalisation)."""
        groups = {}
        for name, parameter in self.network.named_parameters():
            key = (name.startswith("encoder."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": parameters,
                "scale": self.recipe.encoder_rate if encoder else 1.0,
                "weight_decay": self.recipe.weight_decay if matrix else 0.0,
            }
            for (encoder, matrix), parameters in groups.items()
        ]

    def begin_with(self, model: MiniDepth) -> None:
        """Start from given weights."""
        for network in (self.network, self.average):
            network.load_state_dict(model.network.state_dict())

    def draw(self, pool: FramePool) -> DepthBatch:
        """The batch of the present step: random frames, crops and looks; a share `plain` of it stays as rendered."""
        count, height, width = self.recipe.shapes[self.step % len(self.recipe.shapes)]
        indices = torch.randint(pool.count, (count,), generator=self.generator)
        batch = crop(pool.draw(indices), height, width, self.generator)
        looked = photographed(batch.image, self.generator, self.noise)
        plain = torch.rand(count, 1, 1, 1, generator=self.generator) < self.recipe.plain
        image = torch.where(plain.to(self.device), batch.image, looked)
        return DepthBatch(image, batch.log_depth, batch.log_focal, batch.sky, batch.known)

    def train_step(self, batch: DepthBatch, rate: float) -> dict[str, Tensor]:
        """One update; returns the loss terms and the gradient norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            prediction = self.network(image)
        total, terms = depth_loss(prediction, batch, self.recipe.loss)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        for parameter in self.network.parameters():  # a step that overflowed becomes an empty one, without a sync
            parameter.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        checkpoint.follow(self.average, self.network, self.recipe.ema, self.step)
        return {"loss": total.detach(), **terms, "grad_norm": norm.detach()}

    def parts(self) -> dict:
        """What a checkpoint holds."""
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}


@dataclass(frozen=True)
class Clock:
    """When to stop this run (`deadline`, in time.monotonic) and how long the schedule is over all runs (seconds)."""

    deadline: float
    schedule_seconds: float


def fit(trainer: DepthTrainer, pool: FramePool, clock: Clock, save: Callable[[], None], log: Path) -> None:
    """Train until the deadline; `save` is called once a minute and at the end. The first step is not counted as
    training time, since libraries choose their kernels in it."""
    recipe, before = trainer.recipe, trainer.elapsed
    started = saved = logged = time.monotonic()
    images, totals, first = 0, {}, True
    with log.open("a") as file, contextlib.ExitStack() as last:
        last.callback(save)  # also when the process is told to end
        while (now := time.monotonic()) < clock.deadline:
            trainer.elapsed = before + now - started
            rate = trainer.rate(trainer.elapsed / clock.schedule_seconds)
            batch = trainer.draw(pool)
            for name, value in trainer.train_step(batch, rate).items():
                totals.setdefault(name, []).append(value)
            images += len(batch.image)
            if first:
                float(totals["loss"][0])
                started, first = time.monotonic(), False
            if now - logged >= 5:
                line = {name: round(float(torch.stack(values).mean()), 5) for name, values in totals.items()}
                line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), "rate": round(rate, 7), **line}
                speed = {"images_per_second": round(images / (now - logged), 1), "scenes": pool.scenes}
                file.write(json.dumps({**line, **speed}) + "\n")
                file.flush()
                print(" ".join(f"{key}={value}" for key, value in {**line, **speed}.items()), flush=True)
                logged, images, totals = now, 0, {}
            if now - saved >= recipe.save_every:
                save()
                saved = time.monotonic()


def recipe_text(recipe: DepthTraining) -> str:
    """The resolved recipe as JSON, saved with each run."""
    return json.dumps(asdict(recipe), indent=1)
