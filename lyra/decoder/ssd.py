"""The state-space scan of Mamba-2 (Dao & Gu 2024, "Transformers are SSMs") in its chunked, matrix-product form.

S_t = exp(a_t) S_(t-1) + u_t B_t^T,  y_t = S_t C_t, for every head; B and C are shared by the heads.
Inside a chunk the scan is a masked matrix product, between chunks only the states travel. Decays and states are kept in
float32 (float64 for float64 inputs); the large products run in the dtype of `u`, so in bfloat16 where the model does.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CHUNK = 64
_BUDGET = 2**28  # numbers in the masked matrices of one slab of chunks (1 GiB in float32)
_SLAB = 256  # most chunks whose states are passed on by one product


def scan(
    u: Float[Tensor, "b l h p"], a: Float[Tensor, "b l h"], B: Float[Tensor, "b l n"], C: Float[Tensor, "b l n"]
) -> Float[Tensor, "b l h p"]:
    """The outputs y of the recurrence above, from a zero state.

    `a` <= 0 are log decays in at least float32. Long sequences are cut into slabs that bound the memory; with gradients
    each slab is recomputed in the backward pass.
    """
    length, heads = u.shape[1], u.shape[2]
    a = a.to(torch.float64 if u.dtype == torch.float64 else torch.float32)
    missing = -length % CHUNK
    cut = [
        functional.pad(t, (0, 0) * (t.ndim - 2) + (0, missing)).unflatten(1, (-1, CHUNK)) if missing
        else t.unflatten(1, (-1, CHUNK))
        for t in (u, a, B, C)
    ]  # fmt: skip
    chunks = cut[0].shape[1]
    slab = max(1, min(_SLAB, _BUDGET // (u.shape[0] * heads * CHUNK * CHUNK)))
    state = a.new_zeros(u.shape[0], heads, u.shape[3], B.shape[2])
    outputs = []
    with torch.autocast(u.device.type, enabled=False):
        for start in range(0, chunks, slab):
            part = [t[:, start : start + slab] for t in cut]
            if chunks > slab and torch.is_grad_enabled():
                y, state = checkpoint(_slab, *part, state, use_reentrant=False)
            else:
                y, state = _slab(*part, state)
            outputs.append(y)
    y = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
    return y.flatten(1, 2)[:, :length]


def _slab(
    u: Float[Tensor, "b c k h p"],
    a: Float[Tensor, "b c k h"],
    B: Float[Tensor, "b c k n"],
    C: Float[Tensor, "b c k n"],
    state: Float[Tensor, "b h p n"],
) -> tuple[Float[Tensor, "b c k h p"], Float[Tensor, "b h p n"]]:
    """The outputs of c chunks of k steps after `state`, and the state after them."""
    dtype, heads = u.dtype, u.shape[3]
    total = a.transpose(2, 3).cumsum(-1)  # [b, c, h, k], up to and including each step
    mixing = (C @ B.transpose(-1, -2))[:, :, None] * _decay(total)
    inside = (mixing.to(dtype) @ u.transpose(2, 3)).transpose(2, 3)
    to_end = (total[..., -1:] - total).exp().transpose(2, 3)  # [b, c, k, h]
    weighted = (u * to_end[..., None]).to(dtype).flatten(3)  # all heads in one product with B
    own = (weighted.transpose(-1, -2) @ B).to(state.dtype).unflatten(2, (heads, -1))  # [b, c, h, p, n]
    states, state = _pass_on(own, total[..., -1], state)
    entering = C @ states.to(dtype).flatten(2, 3).transpose(-1, -2)  # [b, c, k, h p]
    carried = entering.unflatten(-1, (heads, -1)) * total.exp().transpose(2, 3)[..., None]
    return (inside + carried).to(dtype), state


def _pass_on(
    own: Float[Tensor, "b c h p n"], total: Float[Tensor, "b c h"], state: Float[Tensor, "b h p n"]
) -> tuple[Float[Tensor, "b c h p n"], Float[Tensor, "b h p n"]]:
    """The state before every chunk and after the last one, from what each chunk adds and by how much it decays."""
    every = torch.cat([state[:, None], own], 1)
    until = functional.pad(total.cumsum(1), (0, 0, 1, 0)).transpose(1, 2)  # [b, h, c + 1]
    passed = torch.einsum("bhij,bjhpn->bihpn", _decay(until), every)
    return passed[:, :-1], passed[:, -1]


def _decay(total: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k k"]:
    """exp(total_i - total_j) for j <= i, else 0. Masked before exp: above the diagonal it could overflow."""
    size = total.shape[-1]
    future = torch.ones(size, size, dtype=torch.bool, device=total.device).triu(1)
    return (total[..., :, None] - total[..., None, :]).masked_fill(future, -torch.inf).exp()
