"""The two kinds of blocks: bidirectional Mamba-2 (Long-LRM style) and plain attention.

Parameters carry the names of the released files.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lyra.decoder.config import DecoderConfig
from lyra.decoder.ssd import scan

RMS_EPS = 1e-5
LAYER_EPS = 1e-6


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in at least float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        x = x if x.dtype == torch.float64 else x.float()
        return x * (x.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt() * self.weight


class ScanWeights(nn.Module):
    """What one direction of a Mamba-2 block has of its own."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        heads, channels = config.inner // config.head_dim, config.inner + 2 * config.d_state
        dt = torch.empty(heads).uniform_(math.log(1e-3), math.log(0.1)).exp().clamp_min(1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.conv1d = nn.Conv1d(channels, channels, config.conv_width, groups=channels)
        self.norm = RMSNorm(config.inner)


class Mamba2(nn.Module):
    """A Mamba-2 mixer that reads the sequence in both directions and adds the two results.

    Both directions share the input and output projections. The gated norm is RMSNorm(y silu(z)).
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.inner, self.state, self.head_dim = config.inner, config.d_state, config.head_dim
        heads = config.inner // config.head_dim
        self.in_proj = nn.Linear(config.width, 2 * config.inner + 2 * config.d_state + heads, bias=False)
        self.mamba_scans = nn.ModuleList(ScanWeights(config) for _ in range(2))
        self.out_proj = nn.Linear(config.inner, config.width, bias=False)
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(config.blocks)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        split = [self.inner, self.inner + 2 * self.state, self.in_proj.out_features - 2 * (self.inner + self.state)]
        z, mixed, dt = self.in_proj(x).split(split, -1)
        first, second = self.mamba_scans
        # Both directions go through one scan: [2, b, l, ...], the second one reversed in time.
        mixed = self._convolve(torch.stack([mixed, mixed.flip(1)]))
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        bias, decay, skip = (
            torch.stack([getattr(first, name), getattr(second, name)])[:, None, None].to(wide)
            for name in ("dt_bias", "A_log", "D")
        )
        dt = functional.softplus(torch.stack([dt, dt.flip(1)]).to(wide) + bias)
        values, B, C = mixed.split([self.inner, self.state, self.state], -1)
        values = values.unflatten(-1, (-1, self.head_dim))
        inputs = ((values * dt[..., None]).to(mixed.dtype), -dt * decay.exp(), B, C)
        y = scan(*(t.flatten(0, 1) for t in inputs)).unflatten(0, (2, -1))
        y = (y + values * skip[..., None]).flatten(-2)
        gate = functional.silu(z)
        return self.out_proj((first.norm(y[0] * gate) + second.norm(y[1].flip(1) * gate)).to(z.dtype))

    def _convolve(self, x: Float[Tensor, "2 b l c"]) -> Float[Tensor, "2 b l c"]:
        """Causal depthwise convolution of both directions, then SiLU; as shifted sums, which keep the layout."""
        weight = torch.stack([s.conv1d.weight[:, 0] for s in self.mamba_scans]).to(x.dtype)  # [2, c, k]
        bias = torch.stack([s.conv1d.bias for s in self.mamba_scans]).to(x.dtype)
        length, taps = x.shape[2], weight.shape[-1]
        padded = functional.pad(x, (0, 0, taps - 1, 0))
        total = bias[:, None, None]
        for k in range(taps):
            total = torch.addcmul(total, padded[:, :, k : k + length], weight[:, None, None, :, k])
        return functional.silu(total)


class MambaBlock(nn.Module):
    """x + Mamba2(RMSNorm(x)); there is no MLP."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.width)
        self.mamba = Mamba2(config)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return x + self.mamba(self.norm(x))


class Attention(nn.Module):
    """Softmax attention over all tokens; no mask, no positions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class AttentionBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=LAYER_EPS)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=LAYER_EPS)
        self.mlp = Mlp(config.width, config.mlp_ratio * config.width)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
