"""Triton kernels for normalising every frame of channels-last videos, with SiLU behind it, forward and backward.

In torch this is a copy into another layout, a group norm in float32, SiLU and a cast, each of them a trip through
memory, and as many backward; here it is two reads and one write. Sums are kept in float32, about the frame's first
value, so that a large mean does not spoil the variance.
"""

import inspect
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_SPAN, _TILE = 512, 4096  # positions of a program, numbers held at a time


def _jit(function: Callable):
    """`triton.jit` of the bare function: runtime type checkers wrap it, and Triton then looks up names elsewhere."""
    return triton.jit(inspect.unwrap(function))


@_jit
def _sums(x, parts, L, C: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr, BLOCK_C: tl.constexpr):
    """Sum and sum of squares of one stretch of a frame, about the frame's first value."""
    frame, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += frame * L * C
    pivot = tl.load(x).to(tl.float32)
    c = tl.arange(0, BLOCK_C)[None, :]
    total, squares = tl.zeros([ROWS, BLOCK_C], tl.float32), tl.zeros([ROWS, BLOCK_C], tl.float32)
    for start in range(0, SPAN, ROWS):
        row = part * SPAN + start + tl.arange(0, ROWS)[:, None]
        inside = (row < L) & (c < C)
        value = tl.load(x + row * C + c, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value - pivot, 0.0)
        total += value
        squares += value * value
    place = parts + (frame * tl.num_programs(1) + part) * 2
    tl.store(place, tl.sum(total))
    tl.store(place + 1, tl.sum(squares))


@_jit
def _apply(
    x, parts, weight, bias, y, statistics, L, eps,
    C: tl.constexpr, SILU: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr, BLOCK_C: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """Normalise one stretch of a frame; the frame's mean and 1 / deviation are kept for the backward pass."""
    frame, part, count = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    x += frame * L * C
    y += frame * L * C
    p = tl.arange(0, PARTS)
    total = tl.sum(tl.load(parts + (frame * count + p) * 2, mask=p < count, other=0.0)) / (L * C)
    squares = tl.sum(tl.load(parts + (frame * count + p) * 2 + 1, mask=p < count, other=0.0)) / (L * C)
    mean = tl.load(x).to(tl.float32) + total
    scale = 1 / tl.sqrt(tl.maximum(squares - total * total, 0.0) + eps)
    if part == 0:
        tl.store(statistics + frame * 2, mean)
        tl.store(statistics + frame * 2 + 1, scale)
    c = tl.arange(0, BLOCK_C)[None, :]
    gain = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32) * scale
    offset = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32) - mean * gain
    for start in range(0, SPAN, ROWS):
        row = part * SPAN + start + tl.arange(0, ROWS)[:, None]
        inside = (row < L) & (c < C)
        z = tl.load(x + row * C + c, mask=inside, other=0.0).to(tl.float32) * gain + offset
        if SILU:
            z = z * tl.sigmoid(z)
        tl.store(y + row * C + c, z.to(y.dtype.element_ty), mask=inside)


@_jit
def _slope(x, dy, gain, offset, place, inside, SILU: tl.constexpr):
    """The gradient before SiLU."""
    g = tl.load(dy + place, mask=inside, other=0.0).to(tl.float32)
    if SILU:
        z = x * gain + offset
        s = tl.sigmoid(z)
        g = g * s * (1 + z * (1 - s))
    return g


@_jit
def _backward_sums(
    x, dy, weight, bias, statistics, parts, L,
    C: tl.constexpr, SILU: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Gradients of bias and weight from one stretch of a frame."""
    frame, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    x += frame * L * C
    dy += frame * L * C
    mean, scale = tl.load(statistics + frame * 2), tl.load(statistics + frame * 2 + 1)
    c = tl.arange(0, BLOCK_C)[None, :]
    w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    gain, offset = w * scale, b - mean * w * scale
    by_bias, by_weight = tl.zeros([ROWS, BLOCK_C], tl.float32), tl.zeros([ROWS, BLOCK_C], tl.float32)
    for start in range(0, SPAN, ROWS):
        row = part * SPAN + start + tl.arange(0, ROWS)[:, None]
        inside = (row < L) & (c < C)
        value = tl.load(x + row * C + c, mask=inside, other=0.0).to(tl.float32)
        g = _slope(value, dy, gain, offset, row * C + c, inside, SILU)
        by_bias += g
        by_weight += g * (value - mean) * scale
    place = parts + (frame * tl.num_programs(1) + part) * 2 * C + tl.arange(0, BLOCK_C)
    known = tl.arange(0, BLOCK_C) < C
    tl.store(place, tl.sum(by_bias, 0), mask=known)
    tl.store(place + C, tl.sum(by_weight, 0), mask=known)


@_jit
def _backward_apply(
    x, dy, weight, bias, statistics, parts, dx, L,
    C: tl.constexpr, SILU: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradient of one stretch of a frame."""
    frame, part, count = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    x += frame * L * C
    dy += frame * L * C
    dx += frame * L * C
    mean, scale = tl.load(statistics + frame * 2), tl.load(statistics + frame * 2 + 1)
    c = tl.arange(0, BLOCK_C)[None, :]
    w = tl.load(weight + c, mask=c < C, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    gain, offset = w * scale, b - mean * w * scale
    by_bias, by_weight = tl.zeros([1, BLOCK_C], tl.float32), tl.zeros([1, BLOCK_C], tl.float32)
    for other in range(count):
        place = parts + (frame * count + other) * 2 * C + c
        by_bias += tl.load(place, mask=c < C, other=0.0)
        by_weight += tl.load(place + C, mask=c < C, other=0.0)
    shift, turn = tl.sum(by_bias * w) / (L * C), tl.sum(by_weight * w) / (L * C)
    for start in range(0, SPAN, ROWS):
        row = part * SPAN + start + tl.arange(0, ROWS)[:, None]
        inside = (row < L) & (c < C)
        value = tl.load(x + row * C + c, mask=inside, other=0.0).to(tl.float32)
        g = _slope(value, dy, gain, offset, row * C + c, inside, SILU)
        d = scale * (g * w - shift - (value - mean) * scale * turn)
        tl.store(dx + row * C + c, d.to(dx.dtype.element_ty), mask=inside)


class _FrameNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        grid, sizes = _grid(x)
        parts, statistics = (x.new_empty(n, dtype=torch.float32) for n in (2 * grid[0] * grid[1], 2 * grid[0]))
        y, positions = torch.empty_like(x), x.shape[2] * x.shape[3]
        with torch.cuda.device_of(x):
            _sums[grid](x, parts, positions, **sizes)
            blocks = triton.next_power_of_2(grid[1])
            _apply[grid](x, parts, weight, bias, y, statistics, positions, eps, SILU=silu, PARTS=blocks, **sizes)
        ctx.save_for_backward(x, weight, bias, statistics)
        ctx.silu = silu
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics = ctx.saved_tensors
        dy, dx, positions = dy.contiguous(memory_format=torch.channels_last), torch.empty_like(x), x[0, 0].numel()
        grid, sizes = _grid(x)
        parts = x.new_empty(grid[0] * grid[1], 2, x.shape[1], dtype=torch.float32)
        with torch.cuda.device_of(x):
            given = (x, dy, weight, bias, statistics, parts)
            _backward_sums[grid](*given, positions, SILU=ctx.silu, **sizes)
            _backward_apply[grid](*given, dx, positions, SILU=ctx.silu, **sizes)
        by_bias, by_weight = parts.sum(0)
        return dx, by_weight.to(weight.dtype), by_bias.to(bias.dtype), None, None


def _grid(x: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """Programs (frames, stretches of a frame) and what all kernels must know."""
    block = triton.next_power_of_2(x.shape[1])
    sizes = {"C": x.shape[1], "SPAN": _SPAN, "ROWS": max(1, min(_SPAN, _TILE // block)), "BLOCK_C": block}
    return (len(x), triton.cdiv(x.shape[2] * x.shape[3], _SPAN)), sizes


def frame_norm(
    x: Float[Tensor, "n c h w"], weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float, silu: bool
) -> Float[Tensor, "n c h w"]:
    """Every frame with mean 0 and deviation 1 over all its channels and pixels, gain and offset a channel, then SiLU.

    As `group_norm` with one group in float32 (and `silu`), in the dtype of `x` and channels-last.
    """
    return _FrameNorm.apply(x, weight, bias, eps, silu)
