"""The splat decoder (Lyra, Sec. 3.2): latents of several trajectories in, one set of Gaussians out.

All trajectories form one sequence of tokens; that is how views are fused. Structure and parameter names are those of
the released models, see lyra/decoder/config.py for what can differ.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lyra.decoder import head
from lyra.decoder.blocks import LAYER_EPS, AttentionBlock, MambaBlock
from lyra.decoder.config import DecoderConfig
from lyra.decoder.guide import fill, stack
from lyra.decoder.maps import Encode, MapMaker, Maps, Times
from lyra.decoder.trunk import CodecTrunk
from lyra.scene import Cameras, DynamicGaussians, Gaussians, require
from lyra.weights import load_folder, save_folder


class PatchEmbed(nn.Module):
    """Latent cells to tokens: a strided convolution in space, then LayerNorm."""

    def __init__(self, channels: int, config: DecoderConfig) -> None:
        super().__init__()
        size = (1, config.patch, config.patch)
        self.proj = nn.Conv3d(channels, config.width, size, stride=size)
        self.norm = nn.LayerNorm(config.width, eps=1e-5)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class SplatDecoder(nn.Module):
    """Raw video latents and cameras to Gaussians.

    `encode` makes raw latents of clips (`VideoCodec.encode_raw`); only models with rays="vae" need it. On CUDA the
    blocks compute in bfloat16, unless `bf16` says otherwise; rays, head and activations never do. `recompute` trades
    time for memory in training: blocks are computed again in the backward pass.
    """

    def __init__(self, config: DecoderConfig, encode: Encode | None = None) -> None:
        super().__init__()
        self.config = config
        self.maps = MapMaker(config, encode)
        self.bf16: bool | None = None
        self.recompute = False
        if config.trunk is not None:
            self.trunk = CodecTrunk(config)
            return
        self.patch_embed = PatchEmbed(config.latent_channels, config)
        self.patch_plucker_embed = PatchEmbed(config.ray_channels, config)
        if config.guide:
            self.patch_guide_embed = PatchEmbed(config.guide_channels, config)
        if config.times:
            self.patch_time_embed = PatchEmbed(config.time_channels, config)
            self.patch_time_embed_tgt = PatchEmbed(config.time_channels, config)
            for embed in (self.patch_time_embed, self.patch_time_embed_tgt):
                nn.init.zeros_(embed.norm.weight)  # so that a still model can go on to moving scenes
        self.enc_blocks = nn.ModuleList(
            AttentionBlock(config) if config.is_attention(i) else MambaBlock(config) for i in range(config.blocks)
        )
        self.enc_norm = nn.LayerNorm(config.width, eps=LAYER_EPS)
        self.deconv = head.build(config)

    def forward(
        self,
        latents: Float[Tensor, "v c lt lh lw"],
        cameras: Cameras,
        times: Times | None = None,
        keep: float | None = None,
        scale: float = 1.0,
        guide: Float[Tensor, "v t h w"] | None = None,
    ) -> Gaussians:
        """The Gaussians of one scene, in the world of its cameras (v, t), of the size and length of the video.

        `latents` are un-normalised (`codec.to_raw`). `scale` is the scene's unit: the median depth of the first view
        for models with a log depth, 1 for the released ones. `keep` (0, 1] keeps the most opaque share.
        `guide`, for models that take it, is the depth along z of the warped cache in world units, 0 where unknown, at
        pixels stride / 2, 3 stride / 2, ... of every `time_stride`-th frame.
        """
        moments, guides = ([x] if x is not None else None for x in (times, guide))
        return self.batch(latents[None], [cameras], moments, keep, [scale], guides)[0]

    def batch(
        self,
        latents: Float[Tensor, "b v c lt lh lw"],
        cameras: Sequence[Cameras],
        times: Sequence[Times] | None = None,
        keep: float | None = None,
        scales: Sequence[float] | None = None,
        guides: Sequence[Float[Tensor, "v t h w"]] | None = None,
    ) -> list[Gaussians]:
        """As `forward`, for several scenes of one shape at once."""
        cameras = [c.to(latents.device) for c in cameras]
        scales = [1.0] * len(cameras) if scales is None else list(scales)
        require(keep is None or 0 < keep <= 1, f"decoder: keep must be a share in (0, 1], got {keep}")
        for scene, scale in zip(cameras, scales, strict=True):
            self._check(latents, scene, scale)
        moments = times if times is not None else [None] * len(cameras)
        maps = [self.maps(_normalised(c, s), t) for c, s, t in zip(cameras, scales, moments, strict=True)]
        bases = [None] * len(cameras)
        require(
            self.config.guide == (guides is not None),
            "decoder: this model needs the depth of the warped cache (guide=...)" if self.config.guide
            else "decoder: this model takes no guide; leave it out",
        )  # fmt: skip
        if guides is not None:
            filled = [fill(self._grid(g, c) / s) for g, c, s in zip(guides, cameras, scales, strict=True)]
            bases = [log_depth for log_depth, _ in filled]
            maps = [m._replace(guide=stack(*f, self.config)) for m, f in zip(maps, filled, strict=True)]
        raw = self.network(latents, maps)
        return [
            head.decode(r, c.to(r.dtype), self.config, keep, s, base)
            for r, c, s, base in zip(raw, cameras, scales, bases, strict=True)
        ]

    def _grid(self, guide: Tensor, cameras: Cameras) -> Tensor:
        """The guide, checked to lie on the grid of Gaussians."""
        views, frames = cameras.shape
        step = self.config.stride
        expected = [views, (frames - 1) // self.config.time_stride + 1, cameras.height // step, cameras.width // step]
        require(list(guide.shape) == expected, f"decoder: the guide must be {expected}, got {list(guide.shape)}")
        return guide.to(next(self.parameters()).dtype)

    def moving(
        self,
        latents: Float[Tensor, "v c lt lh lw"],
        cameras: Cameras,
        fps: float,
        every: int = 1,
        keep: float | None = None,
        scale: float = 1.0,
    ) -> DynamicGaussians:
        """A scene that moves: one set of Gaussians for every `every`-th frame of a video of `fps` frames a second.

        Each set comes from its own pass with that target time, as published. Other arguments as in `forward`.
        """
        require(every >= 1, f"decoder: every must be at least 1 frame, got {every}")
        source = torch.arange(cameras.shape[1]) / fps
        sets = [self(latents, cameras, Times(source, float(target)), keep, scale) for target in source[::every]]
        return DynamicGaussians.from_frames(sets, fps / every)

    def _check(self, latents: Tensor, cameras: Cameras, scale: float) -> None:
        _, views, channels, length, *cells = latents.shape
        height, width = (n * self.config.codec_space for n in cells)
        expected = (views, self.config.frames(length), width, height)
        got = (*cameras.shape, cameras.width, cameras.height)
        require(
            channels == self.config.latent_channels and all(n % self.config.patch == 0 for n in cells),
            f"decoder: latents need {self.config.latent_channels} channels and sides divisible by {self.config.patch}, "
            f"got {channels} channels and {cells[1]}x{cells[0]}",
        )
        require(
            got == expected,
            f"decoder: these latents need cameras (trajectories, frames, width, height) {expected}, got {got}",
        )
        require(0 < scale < float("inf"), f"decoder: scale must be a positive length, got {scale}")

    def network(self, latents: Float[Tensor, "b v c lt lh lw"], maps: Sequence[Maps]) -> Float[Tensor, "b v ch t h w"]:
        """Everything with weights: the head's numbers for every frame and output pixel."""
        batch, views, _, length, height, _ = latents.shape
        precision, recompute = self._precision(latents.device), self.recompute and self.training
        if self.config.trunk is not None:
            return self.trunk(latents, maps, precision, recompute)
        x = self.tokens(latents, maps)
        with precision:
            for block in self.enc_blocks:
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        with torch.autocast(x.device.type, enabled=False):
            x = self.enc_norm(x)
            grid = {"v": views, "t": length, "h": height // self.config.patch}
            cells = rearrange(x, "b (v t h w) d -> (b v) d t h w", **grid)
            return self.deconv(cells).unflatten(0, (batch, views))

    def tokens(self, latents: Float[Tensor, "b v c lt lh lw"], maps: Sequence[Maps]) -> Float[Tensor, "b n d"]:
        """The sequence that enters the blocks, in the order scene, trajectory, latent frame, row, column."""
        views, length = latents.shape[1], latents.shape[3]
        with torch.autocast(latents.device.type, enabled=False):
            dtype = self.enc_norm.weight.dtype
            x = self.patch_embed(latents.flatten(0, 1).to(dtype))
            x = x + self.patch_plucker_embed(torch.cat([m.rays for m in maps]).to(dtype))
            if maps[0].guide is not None:
                x = x + self.patch_guide_embed(torch.cat([m.guide for m in maps]).to(dtype))
            x = x.unflatten(0, (-1, views))
            if maps[0].source is not None:
                source = self.patch_time_embed(torch.stack([m.source for m in maps]).to(dtype))
                target = self.patch_time_embed_tgt(torch.stack([m.target for m in maps]).to(dtype))
                x = x + (source + target.repeat(1, length, 1))[:, None]
            return x.flatten(1, 2)

    @property
    def blocks(self) -> nn.ModuleList:
        """The parts that hold most of the weights, in their order."""
        return self.enc_blocks if self.config.trunk is None else self.trunk.up_blocks

    def save(self, folder: str | os.PathLike, precision: str = "float16") -> None:
        """Write config.json and model.safetensors; big matrices as float32, float16 or int8."""
        save_folder(folder, self.state_dict(), self.config.as_dict(), precision)

    @classmethod
    def load(cls, folder: str | os.PathLike, encode: Encode | None = None) -> "SplatDecoder":
        """Read what `save` wrote, strictly; computes in float32."""
        values, tensors = load_folder(folder)
        decoder = cls(DecoderConfig.from_dict(values), encode)
        decoder.load_strict(tensors, str(folder))
        return decoder.eval()

    def load_strict(self, state: Mapping[str, Tensor], what: str) -> None:
        """Copy a state dict; unknown or missing names and other shapes are an InputError that begins with `what`."""
        own = self.state_dict()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        require(
            not missing and not unknown,
            f"{what}: these are not the weights of this decoder; missing {missing[:3]} ({len(missing)}), "
            f"unknown {unknown[:3]} ({len(unknown)})",
        )
        wrong = [f"{k} {list(state[k].shape)} for {list(own[k].shape)}" for k in own if state[k].shape != own[k].shape]
        require(not wrong, f"{what}: {len(wrong)} tensors have other shapes than this decoder's, first {wrong[:1]}")
        self.load_state_dict(state)

    def _precision(self, device: torch.device):
        use = device.type == "cuda" if self.bf16 is None else self.bf16
        return torch.autocast(device.type, torch.bfloat16) if use else nullcontext()


def _normalised(cameras: Cameras, scale: float) -> Cameras:
    """The same cameras seen from the first one, in units of `scale`."""
    relative = cameras.relative_to_first()
    c2w = relative.c2w.clone()
    c2w[..., :3, 3] /= scale
    return replace(relative, c2w=c2w)
