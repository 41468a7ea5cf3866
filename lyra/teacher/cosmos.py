"""The camera-controlled video diffusion model: GEN3C's structure on diffusers' Cosmos transformer.

One class for the published 7B model and for our small one; only sizes and weights differ. Conditioning, preconditioning
and guidance follow GEN3C (Ren et al. 2025) as the Lyra code runs it.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lyra.scene import require
from lyra.teacher.codec import SIGMA_DATA, LatentSpec, VideoCodec
from lyra.teacher.convert import load_strict
from lyra.teacher.sampler import KarrasSchedule, Levels, MiniSampling, Step, euler
from lyra.weights import load_folder, save_folder

AUGMENT_SIGMA = 0.001  # noise left on the given first frame
QK_EPS = 1e-6  # of the norms of queries and keys, as published; diffusers' default of 1e-5 is off by up to 7e-6


@dataclass(frozen=True)
class CosmosConfig:
    """Sizes of the transformer; the defaults are GEN3C-Cosmos-7B. `max_size` is in latent frames, rows and columns.

    `masks` says how the masks of the buffers become channels: "codec" encodes them like colours (as published),
    "pooled" takes the covered share of each of `mask_cells` parts (in time, rows, columns) of a latent cell, which
    needs no network.
    """

    heads: int = 32
    head_dim: int = 128
    blocks: int = 28
    mlp_ratio: float = 4.0
    text_channels: int = 1024
    text_tokens: int = 512
    adaln_rank: int = 256
    max_size: tuple[int, int, int] = (128, 240, 240)
    rope_scale: tuple[float, float, float] = (2.0, 1.0, 1.0)
    latent_channels: int = 16
    buffers: int = 2
    fps: int = 24
    masks: str = "codec"
    mask_cells: tuple[int, int, int] = (4, 2, 2)

    def __post_init__(self) -> None:
        require(self.masks in ("codec", "pooled"), f"masks are encoded as 'codec' or 'pooled', not as {self.masks!r}")

    @property
    def mask_channels(self) -> int:
        """Channels of one buffer's mask."""
        return math.prod(self.mask_cells) if self.masks == "pooled" else self.latent_channels

    @property
    def buffer_channels(self) -> int:
        """Channels of the warped buffers: colour and mask of each."""
        return self.buffers * (self.latent_channels + self.mask_channels)

    def as_dict(self) -> dict:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "CosmosConfig":
        """The inverse of `as_dict` after a trip through JSON, where tuples become lists."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


MINI = CosmosConfig(  # 9.2 M parameters, for 25 frames of 448x256
    heads=4,
    head_dim=64,
    blocks=8,
    text_channels=64,
    text_tokens=16,
    adaln_rank=48,
    max_size=(8, 64, 64),
    rope_scale=(1.0, 1.0, 1.0),
    latent_channels=32,
    buffers=1,
    masks="pooled",
)


def build(config: CosmosConfig) -> nn.Module:
    """A randomly initialised `CosmosTransformer3DModel` for this conditioning.

    Input channels: noisy latent, frame indicator, buffers, and the padding mask of the published model. That mask is
    always zero; giving it as an ordinary channel keeps torchvision out of the forward pass.
    """
    from diffusers import CosmosTransformer3DModel  # slow to import

    network = CosmosTransformer3DModel(
        in_channels=config.latent_channels + 1 + config.buffer_channels + 1,
        out_channels=config.latent_channels,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        num_layers=config.blocks,
        mlp_ratio=config.mlp_ratio,
        text_embed_dim=config.text_channels,
        adaln_lora_dim=config.adaln_rank,
        max_size=config.max_size,
        rope_scale=config.rope_scale,
        concat_padding_mask=False,
    )
    network.learnable_pos_embed = AxisEmbedding(network.learnable_pos_embed)
    for block in network.transformer_blocks:
        for attention in (block.attn1, block.attn2):
            attention.set_processor(Attend())
            attention.norm_q.eps = attention.norm_k.eps = QK_EPS
    return network


class Attend:
    """Attention of one diffusers layer: per-head RMS norm of queries and keys, half-rotation RoPE, softmax attention.

    The same function as diffusers' processor, but RoPE keeps double precision, and torch picks the kernel.
    """

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Float[Tensor, "b n d"],
        encoder_hidden_states: Float[Tensor, "b m e"] | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "b n d"]:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if context.shape[1] == 0:  # no text
            return torch.zeros_like(hidden_states)
        inputs = ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        query, key, value = (layer(x).unflatten(2, (attn.heads, -1)).transpose(1, 2) for layer, x in inputs)
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            query, key = _rotate(query, *image_rotary_emb), _rotate(key, *image_rotary_emb)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


def _rotate(x: Float[Tensor, "b k n d"], cos: Float[Tensor, "n d"], sin: Float[Tensor, "n d"]) -> Tensor:
    """Rotate the pairs (i, i + d / 2) of every head vector by the angles of its token."""
    first, second = x.chunk(2, -1)
    return (x * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)


class AxisEmbedding(nn.Module):
    """Learned position vectors of the three axes, summed and divided by their root mean square.

    The same function and parameters as diffusers' layer, which cannot compute in double precision.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.pos_emb_t, self.pos_emb_h, self.pos_emb_w = layer.pos_emb_t, layer.pos_emb_h, layer.pos_emb_w
        self.patch, self.eps = layer.patch_size, layer.eps

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "1 n d"]:
        t, h, w = (size // patch for size, patch in zip(x.shape[2:], self.patch, strict=True))
        table = self.pos_emb_t[:t, None, None] + self.pos_emb_h[:h, None] + self.pos_emb_w[:w]
        wide = table.to(torch.promote_types(table.dtype, torch.float32))
        rms = wide.square().mean(-1, keepdim=True).sqrt()
        return (wide / (rms + self.eps)).to(x.dtype).reshape(1, t * h * w, -1)


@dataclass(frozen=True, eq=False)
class CameraRequest:
    """What a teacher is asked: a first frame and what the 3D cache shows along a camera path.

    image [b, 3, h, w] in [-1, 1]; warp [b, t, n, 3, h, w] in [-1, 1], -1 in holes, for n caches; warp_mask
    [b, t, n, 1, h, w], 1 where a cache shows something; text embeddings [b, tokens, channels] or None for none.
    """

    image: Float[Tensor, "b 3 h w"]
    warp: Float[Tensor, "b t n 3 h w"]
    warp_mask: Float[Tensor, "b t n 1 h w"]
    text: Float[Tensor, "b tokens channels"] | None = None
    negative_text: Float[Tensor, "b tokens channels"] | None = None


@dataclass(frozen=True, eq=False)
class Conditioning:
    """A request in latents. `known` is 1 in the latent frames whose content is given by `latent`."""

    latent: Float[Tensor, "b c t h w"]
    known: Float[Tensor, "b 1 t h w"]
    buffers: Float[Tensor, "b d t h w"]
    text: Float[Tensor, "b tokens channels"]
    negative_text: Float[Tensor, "b tokens channels"]


Level = float | Float[Tensor, "b 1 1 1 1"]  # a noise level, or one for each item of a batch


def _holds(sigma: Level) -> bool:
    """Whether the given frames are still held at this noise level."""
    return isinstance(sigma, Tensor) or sigma > AUGMENT_SIGMA


class CosmosDenoiser:
    """The preconditioned, guided network for one conditioning (a `Denoiser`).

    Output: F = F_cond + guidance (F_cond - F_uncond); the unconditional branch has the negative text and no buffers,
    and is of the network `guide` if there is one (autoguidance: Karras et al. 2024). With guidance 0 it is not run.
    While sigma > AUGMENT_SIGMA the given frames are held at their latents; levels given item by item, as in training,
    must be above it.
    """

    def __init__(
        self,
        network: nn.Module,
        fps: int,
        cond: Conditioning,
        guidance: float,
        augment_noise: Tensor,
        guide: nn.Module | None = None,
    ) -> None:
        self.network, self.fps, self.cond, self.guidance = network, fps, cond, guidance
        self.guide = network if guide is None else guide
        self.held = cond.latent + AUGMENT_SIGMA * augment_noise

    def prepare(self, x: Float[Tensor, "b c t h w"], sigma: Level) -> Float[Tensor, "b c t h w"]:
        """Write the given frames into the noisy latents, scaled so that the network sees them nearly clean."""
        if not _holds(sigma):
            return x
        given = self.held * (c_in(AUGMENT_SIGMA) / c_in(sigma))
        return torch.where(self.cond.known > 0, given, x)

    def __call__(self, x: Float[Tensor, "b c t h w"], sigma: Level) -> Float[Tensor, "b c t h w"]:
        """The clean latents (Karras et al. 2022, Eq. 7)."""
        output = self.branch(x, sigma, conditional=True)
        if self.guidance != 0:
            output = output + self.guidance * (output - self.branch(x, sigma, conditional=False))
        variance = sigma**2 + SIGMA_DATA**2
        clean = SIGMA_DATA**2 / variance * x + sigma * SIGMA_DATA / variance**0.5 * output
        return torch.where(self.cond.known > 0, self.cond.latent, clean) if _holds(sigma) else clean

    def branch(self, x: Float[Tensor, "b c t h w"], sigma: Level, *, conditional: bool) -> Float[Tensor, "b c t h w"]:
        """The raw network output of one branch."""
        cond = self.cond
        buffers = cond.buffers if conditional else torch.zeros_like(cond.buffers)
        text = cond.text if conditional else cond.negative_text
        network = self.network if conditional else self.guide
        return forward(network, x * c_in(sigma), cond.known, buffers, text, sigma, self.fps)


def c_in(sigma: Level) -> Level:
    """Input scale of the preconditioning: 1 / sqrt(sigma^2 + sigma_data^2)."""
    return (sigma**2 + SIGMA_DATA**2) ** -0.5


def forward(
    network: nn.Module,
    scaled: Float[Tensor, "b c t h w"],
    known: Float[Tensor, "b 1 t h w"],
    buffers: Float[Tensor, "b d t h w"],
    text: Float[Tensor, "b tokens channels"],
    sigma: Level,
    fps: int,
) -> Float[Tensor, "b c t h w"]:
    """One pass of the network on latents already scaled by `c_in`; computes in the dtype of its weights.

    Text may have no tokens. An all-zero text does the same, since the layers that read it have no biases, so without
    gradients it is left out.
    """
    dtype = network.patch_embed.proj.weight.dtype
    if text.shape[1] > 0 and not torch.is_grad_enabled() and not bool(text.any()):
        text = text[:, :0]
    level = torch.as_tensor(sigma, dtype=torch.float32, device=scaled.device).reshape(-1).expand(scaled.shape[0])
    channels = torch.cat([scaled, known, buffers, torch.zeros_like(known)], 1).to(dtype)
    output = network(
        hidden_states=channels,
        timestep=0.25 * level.log(),
        encoder_hidden_states=text.to(dtype),
        fps=fps,
        return_dict=False,
    )[0]
    return output.to(scaled.dtype)


def pool_masks(
    mask: Float[Tensor, "b t h w"], spec: LatentSpec, cells: tuple[int, int, int]
) -> Float[Tensor, "b d lt lh lw"]:
    """Covered shares of the parts of every latent cell, mapped to [-0.5, 0.5] (the scale of latents).

    `cells` parts a latent cell in time, rows and columns; the first frame stands alone in its cell, whose parts in time
    are then equal.
    """
    spec.latent_frames(mask.shape[1])
    b, _, height, width = mask.shape
    filled = torch.cat([mask[:, :1].expand(-1, spec.time - 1, -1, -1), mask], 1)
    window = (spec.time // cells[0], spec.space // cells[1], spec.space // cells[2])
    shares = functional.avg_pool3d(filled.reshape(b, 1, -1, height, width), window)[:, 0]
    parted = rearrange(shares, "b (t p) (h q) (w r) -> b (p q r) t h w", p=cells[0], q=cells[1], r=cells[2])
    return SIGMA_DATA * (2 * parted - 1)


class CosmosTeacher:
    """Codec and transformer together: a camera request in, normalised latents out.

    `condition` does all the work of the codec and `sample` all that of the transformer, so that the two need not share
    a device, and one conditioning can be sampled with several seeds.
    """

    def __init__(
        self, codec: VideoCodec, network: nn.Module, config: CosmosConfig, sampling: MiniSampling | None = None
    ) -> None:
        self.codec, self.network, self.config, self.sampling = codec, network, config, sampling

    @classmethod
    def load(cls, folder: str | Path, codec: VideoCodec | None = None) -> "CosmosTeacher":
        """Read what `save` wrote; without a codec, that of the folder `codec` beside this one is read too."""
        folder = Path(folder)
        values, tensors = load_folder(folder)
        described = {"network", "sampling"} <= values.keys()
        require(described, f"{folder / 'config.json'} describes no denoiser: it needs the entries network and sampling")
        config = CosmosConfig.from_dict(values["network"])
        codec = VideoCodec.load(folder.parent / "codec") if codec is None else codec
        require(
            codec.spec.channels == config.latent_channels,
            f"{folder} works on latents with {config.latent_channels} channels, the codec has {codec.spec.channels}",
        )
        network = build(config)
        load_strict(network, tensors, str(folder))
        sampling = None if values["sampling"] is None else MiniSampling.from_dict(values["sampling"])
        return cls(codec, network.eval(), config, sampling)

    def save(self, folder: str | Path, precision: str = "int8") -> None:
        """Write the transformer and how to sample it (not the codec) to a folder."""
        sampling = None if self.sampling is None else self.sampling.as_dict()
        config = {"network": self.config.as_dict(), "sampling": sampling}
        save_folder(folder, self.network.state_dict(), config, precision)

    @torch.no_grad()
    def condition(self, request: CameraRequest) -> Conditioning:
        """Encode the first frame and the buffers. Frames must be 1 + 8 n, sides multiples of 16 pixels.

        The published code encodes the first frame followed by grey frames; the codec is causal and only latent frame 0
        is used, so here the first frame is encoded alone.
        """
        b, frames, buffers, _, height, width = request.warp.shape
        require(
            1 <= buffers <= self.config.buffers,
            f"this teacher takes 1 to {self.config.buffers} caches, got {buffers}",
        )
        require(height % 16 == 0 and width % 16 == 0, f"frame sides must be multiples of 16, got {width}x{height}")
        first = self.codec.encode(request.image[:, :, None])
        latent = first.new_zeros(*first.shape[:2], self.codec.spec.latent_frames(frames), *first.shape[3:])
        latent[:, :, :1] = first
        known = torch.zeros_like(latent[:, :1])
        known[:, :, 0] = 1
        text = request.text
        if text is None:
            text = latent.new_zeros(b, self.config.text_tokens, self.config.text_channels)
        negative = torch.zeros_like(text) if request.negative_text is None else request.negative_text
        return Conditioning(latent, known, self._encode_buffers(request), text, negative)

    def _encode_buffers(self, request: CameraRequest) -> Tensor:
        """Colour and mask latents of every cache, zeros for missing caches: [rgb 0, mask 0, rgb 1, mask 1, ...]."""
        parts = []
        for index in range(request.warp.shape[2]):
            colour = rearrange(request.warp[:, :, index], "b t c h w -> b c t h w")
            parts += [self.codec.encode(colour), self._encode_mask(request.warp_mask[:, :, index])]
        missing = self.config.buffer_channels - sum(part.shape[1] for part in parts)
        return torch.cat([*parts, parts[0].new_zeros(parts[0].shape[0], missing, *parts[0].shape[2:])], 1)

    def _encode_mask(self, mask: Float[Tensor, "b t 1 h w"]) -> Tensor:
        if self.config.masks == "pooled":
            return pool_masks(mask[:, :, 0], self.codec.spec, self.config.mask_cells)
        return self.codec.encode(repeat(2 * mask - 1, "b t 1 h w -> b c t h w", c=3))

    @torch.no_grad()
    def sample(
        self,
        cond: Conditioning,
        noise: Float[Tensor, "b c t h w"],
        *,
        schedule: KarrasSchedule | Levels | None = None,
        guidance: float | None = None,
        augment_noise: Float[Tensor, "b c t h w"] | None = None,
        on_step: Callable[[Step], None] | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Normalised latents from unit normal noise. `guidance` 1 is twice the conditional minus the unconditional.

        Without a schedule or guidance, those saved with the weights hold, else the published 35 steps and 1.
        `augment_noise` is the fixed noise on the given frame (default: drawn from a fixed seed).
        """
        own = self.sampling
        start = cond.buffers[:, : cond.latent.shape[1]] if own is not None and own.start == "warp" else None
        if schedule is None:
            schedule = KarrasSchedule() if own is None else own.schedule
        if guidance is None:
            guidance = 1.0 if own is None else own.guidance
        if augment_noise is None:
            generator = torch.Generator().manual_seed(1)
            augment_noise = torch.randn(noise.shape, generator=generator).to(noise)
        denoiser = CosmosDenoiser(self.network, self.config.fps, cond, guidance, augment_noise)
        return euler(denoiser, noise, schedule, on_step, start)

    def noise(self, cond: Conditioning, seeds: list[int]) -> Float[Tensor, "b c t h w"]:
        """Unit normal start noise, one seed for each item of the batch: the same on every device."""
        shape = cond.latent.shape[1:]
        require(len(seeds) == cond.latent.shape[0], f"{cond.latent.shape[0]} seeds are needed, got {len(seeds)}")
        draws = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(draws).to(cond.latent)
