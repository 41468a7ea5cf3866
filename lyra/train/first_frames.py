"""Training on single frames with captions, so that the denoiser can also make a first frame from text alone.

Frames are drawn from all paths of the rendered scenes that are there when training begins, each as it is and mirrored
(captions name no sides) but never recoloured (they name colours), and kept as latents of one frame. The loss is that of
denoising with nothing given but the text, which is left out now and then for guidance.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from lyra.scene import require
from lyra.teacher.codec import SIGMA_DATA, VideoCodec
from lyra.teacher.cosmos import CosmosDenoiser
from lyra.teacher.first_frame import unconditioned
from lyra.train.clip_data import to_signed
from lyra.train.latents import Bank, Latents, Texts

A_SCENE = 30  # frames taken of each scene at most


def some_frames(
    rgb: UInt8[np.ndarray, "p t h w 3"], count: int, generator: torch.Generator
) -> UInt8[np.ndarray, "n h w 3"]:
    """At most so many different frames of a scene, in random order; all paths begin with the same one."""
    paths, frames = rgb.shape[:2]
    places = [(0, 0), *((path, frame) for path in range(paths) for frame in range(1, frames))]
    chosen = torch.randperm(len(places), generator=generator)[:count].tolist()
    return np.stack([rgb[places[index]] for index in chosen])


def frame_bank(
    folders: Sequence[Path], size: tuple[int, int], codec: VideoCodec, texts: Texts, generator: torch.Generator
) -> Bank:
    """Latents of single frames (height, width) of rendered scenes that stand still, with their captions."""
    device, found = codec.mean.device, []
    for folder in folders:
        facts, rgb = json.loads((folder / "scene.json").read_text()), np.load(folder / "rgb.npy", mmap_mode="r")
        if facts["dynamic"] or rgb.shape[2:4] != size:
            continue
        images = torch.from_numpy(some_frames(rgb, A_SCENE, generator)).to(device)
        images = to_signed(images).permute(0, 3, 1, 2)
        rows = [texts.row(facts["caption"])] * 2 * len(images)
        found.append(encode_frames(torch.cat([images, images.flip(-1)]), codec, rows))
    require(len(found) > 0, f"none of {len(folders)} rendered scenes stands still and has frames of {size}")
    bank = Bank(sum(len(latents) for latents in found))
    while found:
        bank.add(found.pop())
    return bank


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
