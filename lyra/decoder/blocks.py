"""The two kinds of blocks: bidirectional Mamba-2 (Long-LRM style) and plain attention.

Parameters carry the names of the released files.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lyra.decoder.config import DecoderConfig
from lyra.decoder.ssd import CHUNK, scan

RMS_EPS = 1e-5
LAYER_EPS = 1e-6
BUDGET = 2**28  # numbers in the masked matrices of a scan: 1 GiB in float32; beyond it, training recomputes them
LONGEST = 16384  # steps of one part
CPU_PART = 1024


def _wide(dtype: torch.dtype) -> torch.dtype:
    """At least float32."""
    return torch.promote_types(dtype, torch.float32)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in at least float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        x = x.to(_wide(x.dtype))
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

    Both directions share the input and output projections. The gated norm is RMSNorm(y silu(z)). The sequence is worked
    through in parts that hand on their state: that bounds the memory, and on a CPU the parts fit into the cache.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.inner, self.state, self.head_dim = config.inner, config.d_state, config.head_dim
        self.heads = config.inner // config.head_dim
        self.in_proj = nn.Linear(config.width, 2 * config.inner + 2 * config.d_state + self.heads, bias=False)
        self.mamba_scans = nn.ModuleList(ScanWeights(config) for _ in range(2))
        self.out_proj = nn.Linear(config.inner, config.width, bias=False)
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(config.blocks)

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        projected = self.in_proj(x)
        numbers = x.shape[0] * self.heads * CHUNK  # in the masked matrices of one step
        part = CPU_PART if x.device.type == "cpu" else max(CHUNK, min(LONGEST, BUDGET // numbers // CHUNK * CHUNK))
        recompute = torch.is_grad_enabled() and numbers * x.shape[1] > BUDGET
        first, second = self.mamba_scans
        parts = projected.split(part, 1)
        ahead = torch.cat(self._read(first, parts, recompute), 1)
        back = self._read(second, [p.flip(1) for p in reversed(parts)], recompute)
        back = torch.cat([y.flip(1) for y in reversed(back)], 1)
        return self.out_proj((ahead + back).to(projected.dtype))

    def _read(self, weights: ScanWeights, parts: Sequence[Tensor], recompute: bool) -> list[Tensor]:
        """One direction: the gated outputs of consecutive parts of the projected sequence."""
        batch, dtype = parts[0].shape[0], parts[0].dtype
        state = parts[0].new_zeros(batch, self.heads, self.head_dim, self.state, dtype=_wide(dtype))
        tail = parts[0].new_zeros(batch, weights.conv1d.kernel_size[0] - 1, self.inner + 2 * self.state)
        outputs = []
        for part in parts:
            step = (self._step, weights, part, tail, state)
            y, tail, state = checkpoint(*step, use_reentrant=False) if recompute else step[0](*step[1:])
            outputs.append(y)
        return outputs

    def _step(
        self,
        weights: ScanWeights,
        part: Float[Tensor, "b l e"],
        tail: Float[Tensor, "b k c"],
        state: Float[Tensor, "b h p n"],
    ) -> tuple[Float[Tensor, "b l i"], Float[Tensor, "b k c"], Float[Tensor, "b h p n"]]:
        """One part: convolution (which needs the last steps before it), scan, skip, gate and norm."""
        z, mixed, dt = part.split([self.inner, self.inner + 2 * self.state, self.heads], -1)
        mixed = torch.cat([tail, mixed], 1)
        tail = mixed[:, mixed.shape[1] - tail.shape[1] :]
        values, B, C = _convolve(mixed, weights.conv1d).split([self.inner, self.state, self.state], -1)
        values = values.unflatten(-1, (self.heads, self.head_dim))
        dt = functional.softplus(dt.to(state.dtype) + weights.dt_bias)
        decay = -dt * weights.A_log.to(state.dtype).exp()
        y, state = scan((values * dt[..., None]).to(part.dtype), decay, B, C, state)
        y = torch.addcmul(y, values, weights.D.to(y.dtype)[:, None]).flatten(2)
        return weights.norm(y * functional.silu(z)).to(part.dtype), tail, state


def _convolve(x: Float[Tensor, "b m c"], conv: nn.Conv1d) -> Float[Tensor, "b l c"]:
    """Depthwise convolution without padding, then SiLU; as shifted sums, which keep the layout [b, l, c]."""
    weight, total = conv.weight[:, 0].to(x.dtype), conv.bias.to(x.dtype)
    length = x.shape[1] - weight.shape[1] + 1
    for k in range(weight.shape[1]):
        total = torch.addcmul(total, x[:, k : k + length], weight[:, k])
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
