"""The Cosmos video autoencoder (diffusers' `AutoencoderKLCosmos`) with faster layers that compute the same function.

Every replaced layer keeps its parameters and their names, so state dicts are those of diffusers. What is gained:
factorised convolutions run as 2D ones (the 3D kernels are slow on both CPU and GPU), and the Haar transform becomes one
small matrix product in place of 28 depthwise 3D convolutions. Measured on one CPU thread, 25 frames of 448x256 with
channels (32, 64, 128, 128): encode 2.6 -> 1.7 s, decode 3.6 -> 3.0 s; the largest difference is 2e-5 at values of 5.6.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


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
        if isinstance(child, cosmos.CosmosCausalConv3d):
            setattr(module, name, CausalConv(child))
        elif isinstance(child, cosmos.CosmosCausalGroupNorm):
            setattr(module, name, FrameNorm(child))
        elif isinstance(child, cosmos.CosmosPatchEmbed3d):
            setattr(module, name, Haar(child.patch_size))
        elif isinstance(child, cosmos.CosmosUnpatcher3d):
            setattr(module, name, InverseHaar(child.patch_size))
        else:
            _replace(child)
            if isinstance(child, cosmos.CosmosDownsample3d):
                setattr(module, name, Downsample(child))


def _to_frames(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "bt c h w"]:
    return x.transpose(1, 2).flatten(0, 1)


def _to_video(frames: Float[Tensor, "bt c h w"], batch: int) -> Float[Tensor, "b c t h w"]:
    return frames.unflatten(0, (batch, -1)).transpose(1, 2)


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
        if self.front:
            x = torch.cat([x[:, :, :1].expand(-1, -1, self.front, -1, -1), x], 2)
        columns = functional.conv2d(x.flatten(3), self.weight[..., 0], self.bias, (self.stride[0], 1))
        return columns.unflatten(3, x.shape[3:])


class FrameNorm(nn.Module):
    """Group normalisation of every frame by itself."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm.norm

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        return _to_video(self.norm(_to_frames(x)), x.shape[0])


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
            x = torch.cat([x[:, :, :1], x], 2)
            x = self.conv2(x) + 0.5 * (x[:, :, 0::2] + x[:, :, 1::2])
        return self.conv3(x)


class Haar(nn.Module):
    """Haar wavelet packets of patch x patch x patch blocks; the first frame is repeated to fill its block.

    [b, 3, 1 + patch n, h, w] -> [b, 3 patch^3, 1 + n, h / patch, w / patch], scaled so that a constant keeps its value.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch, self.levels = patch, patch.bit_length() - 1
        low_high = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        matrix = torch.einsum("at,bh,cw->abcthw", low_high, low_high, low_high).reshape(8, 8) / 8
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        x = torch.cat([x[:, :, :1].expand(-1, -1, self.patch - 1, -1, -1), x], 2)
        for _ in range(self.levels):
            b, c, t, h, w = x.shape
            blocks = x.reshape(b, c, t // 2, 2, h // 2, 2, w // 2, 2).permute(0, 3, 5, 7, 1, 2, 4, 6)
            x = (self.matrix.to(x) @ blocks.reshape(b, 8, -1)).reshape(b, 8 * c, t // 2, h // 2, w // 2)
        return x.contiguous(memory_format=torch.channels_last_3d)  # the folding of the convolutions is then free


class InverseHaar(Haar):
    """The inverse of `Haar`."""

    def forward(self, x: Float[Tensor, "b d t2 h2 w2"]) -> Float[Tensor, "b c t h w"]:
        for _ in range(self.levels):
            b, c, t, h, w = x.shape
            blocks = (8 * self.matrix.T).to(x) @ x.reshape(b, 8, -1)
            blocks = blocks.reshape(b, 2, 2, 2, c // 8, t, h, w).permute(0, 4, 5, 1, 6, 2, 7, 3)
            x = blocks.reshape(b, c // 8, 2 * t, 2 * h, 2 * w)
        return x[:, :, self.patch - 1 :]
