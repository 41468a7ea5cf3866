"""A model of the mini structure with small widths and random weights: it knows nothing, but every stage runs."""

from dataclasses import replace
from pathlib import Path

import torch

from lyra.decoder import MINI, SplatDecoder
from lyra.depth.mini import MiniDepth
from lyra.depth.network import DepthConfig, DepthNetwork
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosConfig, CosmosTeacher, build
from lyra.teacher.sampler import MiniSampling
from lyra.vae.causal_vae import VaeConfig

CHANNELS = 16


def write_tiny_model(place: Path) -> Path:
    """Folders codec/, denoiser/, depth/ and decoder/ below `place`; the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = VaeConfig(encoder_channels=(8, 16, 16, 16), decoder_channels=(16, 16, 16, 16), layers=1)
        codec = VideoCodec(vae)
        codec.save(place / "codec")
        config = CosmosConfig(
            heads=2, head_dim=16, blocks=1, text_channels=16, text_tokens=2, adaln_rank=8, max_size=(4, 64, 64),
            latent_channels=CHANNELS, buffers=1, masks="pooled",
        )  # fmt: skip
        CosmosTeacher(codec, build(config), config, MiniSampling((2.0, 0.5))).save(place / "denoiser")
        MiniDepth(DepthNetwork(DepthConfig((8, 8, 8, 8, 8), 64 * 64))).save(place / "depth")
        small = replace(MINI, latent_channels=CHANNELS, width=32, blocks=2, heads=2, head_dim=16, d_state=8)
        SplatDecoder(small).save(place / "decoder")
    return place
