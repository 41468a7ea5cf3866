"""Training on single frames with captions: the adapter by which the denoiser makes a first frame from text alone.

Frames are drawn from all paths of rendered scenes that stand still, each as it is and mirrored (captions name no sides)
but never recoloured (they name colours), and kept as latents of one frame. The loss is that of denoising with nothing
given but the text, which is left out now and then for guidance. Only low-rank changes of the weights are learnt
(`lyra.teacher.adapter`): what the denoiser does with videos stays as it is.
"""

import json
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lyra.scene import require
from lyra.teacher.adapter import attach
from lyra.teacher.codec import SIGMA_DATA, VideoCodec
from lyra.teacher.cosmos import CosmosConfig, CosmosDenoiser
from lyra.teacher.first_frame import unconditioned
from lyra.train import checkpoint
from lyra.train.clip_data import to_signed
from lyra.train.latents import Bank, Latents, Source
from lyra.train.muon import Muon
from lyra.train.processes import Processes

A_SCENE = 30  # frames taken of each scene at most


@dataclass(frozen=True)
class FrameTraining:
    """The recipe. `batch` is that of one process; noise levels are drawn with log sigma normal."""

    rank: int = 48
    batch: int = 512
    learning_rate: float = 2e-3
    final_rate: float = 2e-5
    warmup_steps: int = 100
    ema: float = 0.999
    log_sigma: tuple[float, float] = (0.3, 1.4)
    sigma_limits: tuple[float, float] = (0.005, 80.0)
    drop_text: float = 0.15
    clip_norm: float = 1.0

    def as_dict(self) -> dict:
        """Plain values, saved with each run."""
        return asdict(self)


def some_frames(
    folder: Path, size: tuple[int, int], count: int, generator: torch.Generator
) -> tuple[UInt8[np.ndarray, "n h w 3"], list[str]] | None:
    """At most so many different frames of a rendered scene in random order, and the caption of each; None if the scene
    moves or has frames of another size. All paths begin with the same frame. Raises OSError, ValueError or KeyError for
    a folder that is no scene (or has no captions: it was rendered by an older version)."""
    facts, rgb = json.loads((folder / "scene.json").read_text()), np.load(folder / "rgb.npy", mmap_mode="r")
    captions = json.loads((folder / "captions.json").read_text())
    if facts["dynamic"] or rgb.shape[2:4] != size:
        return None
    paths, frames = rgb.shape[:2]
    places = [(0, 0), *((path, frame) for path in range(paths) for frame in range(1, frames))]
    chosen = [places[index] for index in torch.randperm(len(places), generator=generator)[:count].tolist()]
    return np.stack([rgb[place] for place in chosen]), [captions[path][frame] for path, frame in chosen]


class FrameFeed:
    """Frames of the scenes below some folders with the tokens of their captions, read by threads as the scenes appear;
    with `delete` those folders are then removed, so that rendering can go on on a small disk."""

    def __init__(
        self,
        sources: Sequence[Source],
        size: tuple[int, int],
        embed: Callable[[list[str]], Float[Tensor, "n k e"]],
        seed: int = 0,
        *,
        delete: bool = False,
    ) -> None:
        self.sources, self.size, self.embed, self.delete = sources, size, embed, delete
        self.scenes = 0
        self._found: queue.Queue[Path] = queue.Queue()
        self._ready: queue.Queue[tuple[np.ndarray, Tensor]] = queue.Queue(maxsize=32)
        threading.Thread(target=self._look, daemon=True).start()
        for index in range(4):
            generator = torch.Generator().manual_seed(seed + index)
            threading.Thread(target=self._read, args=(generator,), daemon=True).start()

    def next(self, wait: float = 0.0) -> tuple[UInt8[np.ndarray, "n h w 3"], Float[Tensor, "n k e"]] | None:
        """Frames of a new scene and their texts, or None if none is there within `wait` seconds."""
        try:
            found = self._ready.get(timeout=wait) if wait > 0 else self._ready.get_nowait()
        except queue.Empty:
            return None
        self.scenes += 1
        return found

    def _look(self) -> None:
        known: list[set[str]] = [set() for _ in self.sources]
        while True:
            for source, names in zip(self.sources, known, strict=True):
                for folder in source.mine(names):
                    names.add(folder.name)
                    self._found.put(folder)
            time.sleep(self.sources[0].rescan)

    def _read(self, generator: torch.Generator) -> None:
        while True:
            folder = self._found.get()
            try:
                found = some_frames(folder, self.size, A_SCENE, generator)
                if found is not None:
                    self._ready.put((found[0], self.embed(found[1])))
            except (OSError, ValueError, KeyError) as error:
                print(f"left out {folder}: {error}", flush=True)
            if self.delete:
                shutil.rmtree(folder, ignore_errors=True)


@torch.no_grad()
def encode_frames(images: Float[Tensor, "n 3 h w"], codec: VideoCodec, captions: Sequence[int]) -> Latents:
    """Single frames as training examples in float16, without warp and mask."""
    target = codec.encode(images[:, :, None]).half()
    nothing = target[:, :0]
    return Latents(target, nothing, nothing, torch.tensor(captions, device=target.device))


class FrameSupply:
    """A bank of single frames that grows while it is used; `texts` [n, tokens, channels] are those of their captions.

    Each frame is kept as it is and mirrored, with one text for both.
    """

    def __init__(self, feed: FrameFeed, codec: VideoCodec, config: CosmosConfig, capacity: int) -> None:
        self.feed, self.codec = feed, codec
        self._rows = max(1, capacity // 2)
        self.bank = Bank(2 * self._rows)
        size = (self._rows, config.text_tokens, config.text_channels)
        self.texts = torch.empty(size, dtype=torch.float16, device=codec.mean.device)

    def take(self, scenes: int, wait: float = 0.0) -> None:
        """Put the frames of at most so many new scenes into the bank; waits up to `wait` seconds for each."""
        for _ in range(scenes):
            found = self.feed.next(wait)
            if found is None:
                return
            images, tokens = found
            first = self.bank.written // 2
            rows = [(first + index) % self._rows for index in range(len(images))]
            self.texts[rows] = tokens.to(self.texts)
            signed = to_signed(torch.from_numpy(images).to(self.texts.device)).permute(0, 3, 1, 2)
            pairs = torch.stack([signed, signed.flip(-1)], 1).flatten(0, 1)
            self.bank.add(encode_frames(pairs, self.codec, [row for row in rows for _ in range(2)]))


class FrameTrainer(checkpoint.Resumable):
    """The adapter, its running average, optimiser, and how far the run has come."""

    def __init__(
        self,
        recipe: FrameTraining,
        network: nn.Module,
        config: CosmosConfig,
        processes: Processes,
        seed: int,
        *,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self.recipe, self.config, self.processes, self.device = recipe, config, processes, processes.device
        self.network = attach(network.to(self.device), recipe.rank)
        self.learnt = [p for p in self.network.parameters() if p.requires_grad]
        self.average = nn.ParameterList([p.detach().clone() for p in self.learnt]).requires_grad_(False)
        self.optimizer = Muon(self.learnt, 0.0, weight_decay=0.01)
        self.generator = torch.Generator().manual_seed(seed + 1000 * processes.rank)
        self.noise = torch.Generator(self.device).manual_seed(seed + 1000 * processes.rank)
        self.step, self.elapsed = 0, 0.0
        if compiled:
            for block in self.network.transformer_blocks:  # alike, so one kernel set serves all of them
                block.compile(dynamic=False)

    def parts(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}

    def start_from(self, factors: dict[str, Tensor]) -> None:
        """Begin with an adapter that was trained before; InputError if it has another rank or other layers."""
        mine = self.factors()
        fits = {n: v.shape for n, v in factors.items()} == {n: v.shape for n, v in mine.items()}
        require(fits, f"the adapter to start from does not fit: it should have rank {self.recipe.rank}")
        with torch.no_grad():
            for name, average in mine.items():
                average.copy_(factors[name])
                self.network.get_parameter(name).copy_(factors[name])

    def factors(self) -> dict[str, Tensor]:
        """The averaged adapter, as `lyra.teacher.adapter.merged` takes it."""
        names = [name for name, p in self.network.named_parameters() if p.requires_grad]
        return dict(zip(names, self.average, strict=True))

    def train_step(self, frames: Latents, texts: Float[Tensor, "n k e"], rate: float) -> dict[str, Tensor]:
        """One update on this process's batch; returns its loss and the norm of the averaged gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.loss(frames, texts)
        loss.backward()
        self.processes.average([p.grad for p in self.learnt])
        norm = nn.utils.clip_grad_norm_(self.learnt, self.recipe.clip_norm)
        for parameter in self.learnt:  # a step that overflowed becomes an empty one, without a sync
            parameter.grad.nan_to_num_(0, 0, 0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average), [p.detach() for p in self.learnt], 1 - decay)
        return {"loss": loss.detach(), "grad_norm": norm.detach()}

    def loss(self, frames: Latents, texts: Float[Tensor, "n k e"]) -> Tensor:
        """Error of frames made from text at random noise levels."""
        recipe, count = self.recipe, len(frames)
        options = {"generator": self.noise, "device": self.device}
        mean, std = recipe.log_sigma
        sigma = (mean + std * torch.randn(count, 1, 1, 1, 1, **options)).exp().clamp(*recipe.sigma_limits)
        shown = (torch.rand(count, 1, 1, **options) >= recipe.drop_text).float()
        draw = FrameDraw(torch.randn(frames.target.shape, **options), sigma, shown)
        return frame_loss(self.network, frames, texts, draw, self.config.buffer_channels, self.config.fps).mean()


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
