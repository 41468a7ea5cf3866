"""The Cosmos video autoencoder (diffusers' `AutoencoderKLCosmos`) with faster layers that compute the same function.

Every replaced layer keeps its parameters and their names, so state dicts are those of diffusers. What is gained:
- factorised convolutions run as 2D ones (the 3D kernels are slow on both CPU and GPU);
- the Haar transform is one matrix product in place of 28 depthwise 3D convolutions;
- all layers keep videos in the order (batch, time, row, column, channel), in which the convolutions need no copies;
- on CUDA, normalisation and SiLU are one kernel (`frame_norm_kernels`, where Triton is installed).
"""

from dataclasses import asdict, dataclass
from importlib.util import find_spec

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

TRITON = find_spec("triton") is not None  # set to False to compare


@dataclass(frozen=True)
class VaeConfig:
    """Sizes of the autoencoder; the defaults are the published tokenizer CV8x8x8 (105.7 M parameters)."""

    encoder_channels: tuple[int, ...] = (128, 256, 512, 512)
    decoder_channels: tuple[int, ...] = (256, 512, 512, 512)
    latent_channels: int = 16
    layers: int = 2
    attention_resolutions: tuple[int, ...] = (32,)
    patch: int = 4
    space: int = 8
    time: int = 8

    def as_dict(self) -> dict:
        """Plain values for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "VaeConfig":
        """The inverse of `as_dict` after a trip through JSON, where tuples become lists."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def build(config: VaeConfig) -> nn.Module:
    """A randomly initialised `AutoencoderKLCosmos` of this size, with the fast layers in place."""
    from diffusers import AutoencoderKLCosmos  # slow to import, and not needed to splat or render

    vae = AutoencoderKLCosmos(
        latent_channels=config.latent_channels,
        encoder_block_out_channels=config.encoder_channels,
        decode_block_out_channels=config.decoder_channels,
        attention_resolutions=config.attention_resolutions,
        num_layers=config.layers,
        patch_size=config.patch,
        spatial_compression_ratio=config.space,
        temporal_compression_ratio=config.time,
        latents_mean=None,
        latents_std=None,
    )
    _replace(vae)
    return vae


def _replace(module: nn.Module) -> None:
    """Swap the slow layers below `module` for ours, in place."""
    from diffusers.models.autoencoders import autoencoder_kl_cosmos as cosmos

    for name, child in list(module.named_children()):
        _replace(child)
        if isinstance(child, cosmos.CosmosCausalConv3d):
            setattr(module, name, CausalConv(child))
        elif isinstance(child, cosmos.CosmosCausalGroupNorm):
            setattr(module, name, FrameNorm(child.norm))
        elif isinstance(child, cosmos.CosmosPatchEmbed3d):
            setattr(module, name, Haar(child.patch_size))
        elif isinstance(child, cosmos.CosmosUnpatcher3d):
            setattr(module, name, InverseHaar(child.patch_size))
        elif isinstance(child, cosmos.CosmosResnetBlock3d):
            setattr(module, name, ResidualBlock(child))
        elif isinstance(child, cosmos.CosmosDownsample3d):
            setattr(module, name, Downsample(child))
        elif isinstance(child, cosmos.CosmosUpsample3d):
            setattr(module, name, Upsample(child))


def _to_frames(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "bt c h w"]:
    """Frames in channels-last order: a view of a video in that order, else a copy."""
    return x.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def _to_video(frames: Float[Tensor, "bt c h w"], batch: int) -> Float[Tensor, "b c t h w"]:
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)


class _Lead(torch.autograd.Function):
    """Rows [b, n] with their first `size` numbers `count` more times in front.

    By hand because the gradient of slices and `cat` would fill and add three tensors of the whole size.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, size: int, count: int) -> Tensor:
        ctx.size, ctx.count = size, count
        return torch.cat([rows[:, :size]] * count + [rows], 1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        lead, rest = grad.split([ctx.size * ctx.count, grad.shape[1] - ctx.size * ctx.count], 1)
        rest = rest.clone()
        rest[:, : ctx.size] += lead.unflatten(1, (ctx.count, ctx.size)).sum(1)
        return rest, None, None


def _rows(x: Float[Tensor, "b c t h w"], lead: int) -> Float[Tensor, "b n"]:
    """Videos in channels-last order, one a row, with the first frame `lead` more times in front."""
    rows = x.permute(0, 2, 3, 4, 1).flatten(1)
    return _Lead.apply(rows, x[0, :, 0].numel(), lead) if lead else rows


class CausalConv(nn.Module):
    """A causal convolution that is 1x1x1, 1x3x3 or 3x1x1: frames see themselves and the past.

    The time kernel is padded in front by repeating the first frame, as in the Cosmos tokenizer.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.front, self.border = conv.stride, conv.temporal_pad, conv.spatial_pad[0]

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        if self.weight.shape[2] == 1:
            kernel = self.weight[:, :, 0]
            frames = functional.conv2d(_to_frames(x), kernel, self.bias, self.stride[1:], self.border)
            return _to_video(frames, x.shape[0])
        columns = _rows(x, self.front).reshape(len(x), -1, x[0, 0, 0].numel(), x.shape[1]).permute(0, 3, 1, 2)
        columns = functional.conv2d(columns, self.weight[..., 0], self.bias, (self.stride[0], 1))
        return columns.unflatten(3, x.shape[3:])


class FrameNorm(nn.Module):
    """Group normalisation of every frame by itself, with SiLU behind it where `silu` is set."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm, self.silu = norm, False

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        frames = _to_frames(x)
        if TRITON and x.is_cuda and self.norm.num_groups == 1:
            from lyra.vae.frame_norm_kernels import frame_norm

            frames = frame_norm(frames, self.norm.weight, self.norm.bias, self.norm.eps, self.silu)
        else:
            frames = self.norm(frames)
            frames = functional.silu(frames) if self.silu else frames
        return _to_video(frames, x.shape[0])


class ResidualBlock(nn.Module):
    """Twice normalisation, SiLU and a convolution in space and time, beside a path around them."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut
        self.norm1.silu = self.norm2.silu = True

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        return self.conv2(self.norm2(self.conv1(self.norm1(x)))) + self.conv_shortcut(x)


class Downsample(nn.Module):
    """Strided convolution plus average pooling, first in space, then in time (where the first frame is repeated)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = layer.conv1, layer.conv2, layer.conv3
        self.in_space, self.in_time = layer.spatial_downsample, layer.temporal_downsample

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h2 w2"]:
        if self.in_space:
            pooled = _to_video(functional.avg_pool2d(_to_frames(x), 2), x.shape[0])
            x = self.conv1(functional.pad(x, (0, 1, 0, 1))) + pooled
        if self.in_time:
            x = _rows(x, 1).unflatten(1, (-1, *x.shape[3:], x.shape[1])).permute(0, 4, 1, 2, 3)
            x = self.conv2(x) + 0.5 * (x[:, :, 0::2] + x[:, :, 1::2])
        return self.conv3(x)


class Upsample(nn.Module):
    """Every frame twice (but the first one), then every pixel four times, each followed by a residual convolution."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = layer.conv1, layer.conv2, layer.conv3
        self.in_space, self.in_time = layer.spatial_upsample, layer.temporal_upsample

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h2 w2"]:
        if self.in_time:
            order = x.permute(0, 2, 3, 4, 1)
            twice = order[:, :, None].expand(-1, -1, 2, -1, -1, -1).flatten(1, 2)[:, 1:]
            x = twice.permute(0, 4, 1, 2, 3)
            x = self.conv1(x) + x
        if self.in_space:
            x = _to_video(functional.interpolate(_to_frames(x), scale_factor=2, mode="nearest"), x.shape[0])
            x = self.conv2(x) + x
        return self.conv3(x)


class Haar(nn.Module):
    """Haar wavelet packets of patch x patch x patch blocks; the first frame is repeated to fill its block.

    [b, 3, 1 + patch n, h, w] -> [b, 3 patch^3, 1 + n, h / patch, w / patch], scaled so that a constant keeps its value.
    Channels are ordered by band, coarse levels first, then by colour.
    """

    def __init__(self, patch: int, colours: int = 3) -> None:
        super().__init__()
        self.patch, self.colours = patch, colours
        low_high = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        level = torch.einsum("at,bh,cw->abcthw", low_high, low_high, low_high).reshape(8, 2, 2, 2) / 8
        packets = torch.ones(1, 1, 1, 1)
        while packets.shape[1] < patch:
            side = 2 * packets.shape[1]
            packets = torch.einsum("sabc,othw->soatbhcw", level, packets).reshape(-1, side, side, side)
        matrix = torch.kron(packets.flatten(1), torch.eye(colours))
        self.register_buffer("matrix", matrix, persistent=False)  # [bands x colours, places x colours]

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        p = self.patch
        x = torch.cat([x[:, :, :1].expand(-1, -1, p - 1, -1, -1), x], 2)
        b, c, t, h, w = x.shape
        blocks = x.reshape(b, c, t // p, p, h // p, p, w // p, p).permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)
        return (blocks @ self.matrix.to(x).T).permute(0, 4, 1, 2, 3)


class InverseHaar(Haar):
    """The inverse of `Haar`."""

    def forward(self, x: Float[Tensor, "b d t2 h2 w2"]) -> Float[Tensor, "b c t h w"]:
        p, scale = self.patch, self.patch**3  # every row of the matrix has the squared length 1 / patch^3
        blocks = x.permute(0, 2, 3, 4, 1) @ (scale * self.matrix).to(x)
        blocks = blocks.unflatten(4, (p, p, p, self.colours)).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return blocks.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, p - 1 :]
