"""Triton kernels for the part of the scan inside a chunk: y = ((C B^T) * decay) u, forward and backward.

In torch the masked matrices of all heads go through memory several times; here they never leave the chip, and C B^T is
formed once for all heads. One program works on one chunk and goes through its heads.
"""

import inspect
from collections.abc import Callable, Sequence

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def _jit(function: Callable):
    """`triton.jit` of the bare function: runtime type checkers wrap it, and Triton then looks up names elsewhere."""
    return triton.jit(inspect.unwrap(function))


@_jit
def _products(left, right, k, N: tl.constexpr, BLOCK_N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    """left right^T of two [K, N] tiles."""
    total = tl.zeros([K, K], tl.float32)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        a = tl.load(left + k[:, None] * N + n[None, :], mask=n[None, :] < N, other=0.0)
        b = tl.load(right + k[:, None] * N + n[None, :], mask=n[None, :] < N, other=0.0)
        total = tl.dot(a, tl.trans(b), total, input_precision=PRECISION)
    return total


@_jit
def _decay(coarse, rest, k):
    """exp of the log decay from step j (column) to step i (row), 0 for the future."""
    high, low = tl.load(coarse + k), tl.load(rest + k)
    total = (high[:, None] - high[None, :]) + (low[:, None] - low[None, :])
    return tl.exp(tl.where(k[:, None] >= k[None, :], total, float("-inf")))


@_jit
def _forward(
    u, coarse, rest, B, C, y,
    HEADS: tl.constexpr, P: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0).to(tl.int64)
    k, p = tl.arange(0, K), tl.arange(0, BLOCK_P)
    mixing = _products(C + chunk * K * N, B + chunk * K * N, k, N, BLOCK_N, K, PRECISION)
    for head in range(HEADS):
        sums = (chunk * HEADS + head) * K
        weights = (mixing * _decay(coarse + sums, rest + sums, k)).to(u.dtype.element_ty)
        place = ((chunk * K + k[:, None]) * HEADS + head) * P + p[None, :]
        values = tl.load(u + place, mask=p[None, :] < P, other=0.0)
        result = tl.dot(weights, values, input_precision=PRECISION)
        tl.store(y + place, result.to(y.dtype.element_ty), mask=p[None, :] < P)


@_jit
def _backward(
    u, coarse, rest, B, C, dy, du, dtotal, dB, dC,
    HEADS: tl.constexpr, P: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    chunk = tl.program_id(0).to(tl.int64)
    k, p = tl.arange(0, K), tl.arange(0, BLOCK_P)
    mixing = _products(C + chunk * K * N, B + chunk * K * N, k, N, BLOCK_N, K, PRECISION)
    dmixing = tl.zeros([K, K], tl.float32)
    for head in range(HEADS):
        sums = (chunk * HEADS + head) * K
        decay = _decay(coarse + sums, rest + sums, k)
        weights = mixing * decay
        place = ((chunk * K + k[:, None]) * HEADS + head) * P + p[None, :]
        values = tl.load(u + place, mask=p[None, :] < P, other=0.0)
        given = tl.load(dy + place, mask=p[None, :] < P, other=0.0)
        dvalues = tl.dot(tl.trans(weights.to(given.dtype)), given, input_precision=PRECISION)
        tl.store(du + place, dvalues.to(du.dtype.element_ty), mask=p[None, :] < P)
        dweights = tl.dot(given, tl.trans(values), input_precision=PRECISION)
        dmixing += dweights * decay
        dlog = dweights * weights  # of log decay i, minus that of j
        tl.store(dtotal + sums + k, tl.sum(dlog, 1) - tl.sum(dlog, 0))
    dmixing = dmixing.to(B.dtype.element_ty)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        place = (chunk * K + k[:, None]) * N + n[None, :]
        b = tl.load(B + place, mask=n[None, :] < N, other=0.0)
        c = tl.load(C + place, mask=n[None, :] < N, other=0.0)
        to_c = tl.dot(dmixing, b, input_precision=PRECISION)
        to_b = tl.dot(tl.trans(dmixing), c, input_precision=PRECISION)
        tl.store(dC + place, to_c.to(dC.dtype.element_ty), mask=n[None, :] < N)
        tl.store(dB + place, to_b.to(dB.dtype.element_ty), mask=n[None, :] < N)


class _Inside(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u: Tensor, coarse: Tensor, rest: Tensor, B: Tensor, C: Tensor) -> Tensor:
        given = [t.contiguous() for t in (u, coarse, rest, B, C)]
        y = torch.empty_like(given[0])
        _launch(_forward, 4, given, [y])
        ctx.save_for_backward(*given)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        u, _, rest, B, C = given
        du, dtotal, dB, dC = (torch.empty_like(t) for t in (u, rest, B, C))
        _launch(_backward, 8, given, [dy.contiguous(), du, dtotal, dB, dC])
        return du, None, dtotal, dB, dC


def _launch(kernel, warps: int, given: Sequence[Tensor], more: Sequence[Tensor]) -> None:
    batch, chunks, steps, heads, channels = given[0].shape
    state = given[3].shape[-1]
    with torch.cuda.device_of(given[0]):
        kernel[(batch * chunks,)](
            *given,
            *more,
            HEADS=heads,
            P=channels,
            N=state,
            K=steps,
            BLOCK_P=max(16, triton.next_power_of_2(channels)),
            BLOCK_N=min(64, max(16, triton.next_power_of_2(state))),
            PRECISION="ieee" if given[0].dtype == torch.float32 else "tf32",
            num_warps=warps,
        )


def inside(
    u: Float[Tensor, "b c k h p"],
    coarse: Float[Tensor, "b c h k"],
    rest: Float[Tensor, "b c h k"],
    B: Float[Tensor, "b c k n"],
    C: Float[Tensor, "b c k n"],
) -> Float[Tensor, "b c k h p"]:
    """What the steps of a chunk give to later ones of the same chunk, in the dtype of `u` (float32, bfloat16, float16).

    coarse + rest are the running sums of the log decays in float32 (`ssd.split`); gradients go to `rest`. k must be a
    power of two, at least 16.
    """
    return _Inside.apply(u, coarse, rest, B, C)
