"""A tiny denoiser and its codec, batches for it, and a short training, the same in every process."""

from dataclasses import replace

import torch

from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import MINI
from lyra.teacher.sampler import MiniSampling
from lyra.train.denoiser import DenoiserTrainer, DenoiserTraining, Draw
from lyra.train.latents import Latents
from lyra.train.processes import Processes
from lyra.vae.causal_vae import VaeConfig

NETWORK = replace(MINI, heads=2, head_dim=24, blocks=2, adaln_rank=4, latent_channels=4)
RECIPE = DenoiserTraining(
    NETWORK, MiniSampling((10.0, 1.0)), batch=4, warmup_steps=2, ema=0.9, substeps=2, adversarial=0.5, critic_width=4
)
SHAPE = torch.Size((4, 4, 2, 4, 6))


def batch(seed: int) -> tuple[Latents, Draw]:
    """Four examples that depend on the seed, and their random numbers."""
    g = torch.Generator().manual_seed(seed)
    target, warp, noise, augment = (torch.randn(SHAPE, generator=g) for _ in range(4))
    mask = torch.rand(4, 16, 2, 4, 6, generator=g) - 0.5
    latents = Latents(0.5 * target, 0.5 * warp, mask, torch.zeros(4, dtype=torch.long))
    shown = torch.tensor([True, True, False, True])
    return latents, Draw(noise, augment, torch.randn(4, generator=g), shown, torch.tensor([0, 1, 1, 0]))


def tiny_codec() -> VideoCodec:
    """An untrained codec for latents of `NETWORK`, the same every time."""
    torch.manual_seed(0)
    vae = VaeConfig(encoder_channels=(8, 8, 8, 8), decoder_channels=(8, 8, 8, 8), layers=1, latent_channels=4)
    return VideoCodec(vae).eval().requires_grad_(False)


def train(processes: Processes) -> tuple[list[float], torch.Tensor]:
    """Two steps of denoising and one of few steps, each process on its part of the batch: losses and weights."""
    trainer, losses = DenoiserTrainer(RECIPE, processes, 0), []
    for index in range(3):
        if index == 2:
            trainer.begin_few()
        latents, draw = batch(index)
        mine = slice(processes.rank, None, processes.count)
        loss = trainer.train_step(latents[mine], draw[mine], 1e-3)["loss"]
        processes.average([loss])
        losses.append(float(loss))
    return losses, torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
