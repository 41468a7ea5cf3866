"""The state-space scan of Mamba-2 (Dao & Gu 2024, "Transformers are SSMs") in its chunked, matrix-product form.

S_t = exp(a_t) S_(t-1) + u_t B_t^T,  y_t = S_t C_t, for every head; B and C are shared by the heads.
Inside a chunk the scan is a masked matrix product, between chunks only the states travel. Decays and states are kept in
float32 (float64 for float64 inputs); the large products run in the dtype of `u`, so in bfloat16 where the model does.
"""

from importlib.util import find_spec

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

CHUNK = 64
TRITON = find_spec("triton") is not None  # the fused kernels of lyra/decoder/kernels.py; set to False to compare


def scan(
    u: Float[Tensor, "b l h p"],
    a: Float[Tensor, "b l h"],
    B: Float[Tensor, "b l n"],
    C: Float[Tensor, "b l n"],
    state: Float[Tensor, "b h p n"],
) -> tuple[Float[Tensor, "b l h p"], Float[Tensor, "b h p n"]]:
    """The outputs y of the recurrence above after `state`, and the state at the end.

    `a` <= 0 are log decays, in the dtype of `state`. Memory: b h l 64 numbers for the masked matrices.
    """
    length, heads = u.shape[1], u.shape[2]
    u, a, B, C = (_chunks(t) for t in (u, a, B, C))
    with torch.autocast(u.device.type, enabled=False):
        total = a.double().transpose(2, 3).cumsum(-1)  # [b, c, h, k], up to and including each step
        to_end, from_start = ((x.exp().to(state.dtype)).transpose(2, 3) for x in (total[..., -1:] - total, total))
        inside = _inside(u, total, B, C)
        weighted = (u * to_end[..., None]).to(u.dtype).flatten(3)  # all heads in one product with B
        own = (weighted.transpose(-1, -2) @ B).to(state.dtype).unflatten(2, (heads, -1))  # [b, c, h, p, n]
        states, state = _pass_on(own, total[..., -1], state)
        entering = C @ states.to(u.dtype).flatten(2, 3).transpose(-1, -2)  # [b, c, k, h p]
        y = torch.addcmul(inside, entering.unflatten(-1, (heads, -1)), from_start.to(u.dtype)[..., None])
    return y.flatten(1, 2)[:, :length], state


def _inside(
    u: Float[Tensor, "b c k h p"],
    total: Float64[Tensor, "b c h k"],
    B: Float[Tensor, "b c k n"],
    C: Float[Tensor, "b c k n"],
) -> Float[Tensor, "b c k h p"]:
    """What steps of a chunk give to later steps of the same chunk."""
    if u.is_cuda and TRITON and u.dtype in (torch.bfloat16, torch.float16):  # float32 would spill registers
        from lyra.decoder import kernels  # imports Triton, which comes with torch for CUDA only

        return kernels.inside(u, *split(total, torch.float32), B, C)
    wide = torch.promote_types(u.dtype, torch.float32)
    mixing = (C @ B.transpose(-1, -2))[:, :, None] * decay(total, wide)
    return (mixing.to(u.dtype) @ u.transpose(2, 3)).transpose(2, 3)


def _chunks(x: Float[Tensor, "b l *d"]) -> Float[Tensor, "b c k *d"]:
    """Cut into chunks; the last one is filled with steps that neither add nor decay (zeros)."""
    missing = -x.shape[1] % CHUNK
    x = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x
    return x.unflatten(1, (-1, CHUNK))


def _pass_on(
    own: Float[Tensor, "b c h p n"], total: Float[Tensor, "b c h"], state: Float[Tensor, "b h p n"]
) -> tuple[Float[Tensor, "b c h p n"], Float[Tensor, "b h p n"]]:
    """The state before every chunk and after the last one, from what each chunk adds and by how much it decays."""
    every = torch.cat([state[:, None], own], 1)
    until = functional.pad(total.cumsum(1), (0, 0, 1, 0)).transpose(1, 2)  # [b, h, c + 1]
    passed = torch.einsum("bhij,bjhpn->bihpn", decay(until, state.dtype), every)
    return passed[:, :-1], passed[:, -1]


def split(total: Float64[Tensor, "*b"], dtype: torch.dtype) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Sums as a multiple of 1/64 and a rest, whose differences are precise in `dtype`.

    Sums of log decays become large where their differences are small; in plain float32 the decays would be off by 1e-5.
    The gradient goes through the rest alone.
    """
    coarse = (64 * total).round() / 64
    return coarse.to(dtype), (total - coarse).to(dtype)


def decay(total: Float64[Tensor, "*b k"], dtype: torch.dtype) -> Float[Tensor, "*b k k"]:
    """exp(total_i - total_j) for j <= i, else 0. Masked before exp: above the diagonal it could overflow."""
    size = total.shape[-1]
    future = torch.ones(size, size, dtype=torch.bool, device=total.device).triu(1)
    coarse, rest = (x[..., :, None] - x[..., None, :] for x in split(total, dtype))
    return (coarse + rest).masked_fill(future, -torch.inf).exp()
