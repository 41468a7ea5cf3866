"""The state-space scan of Mamba-2 (Dao & Gu 2024, "Transformers are SSMs") in its chunked, matrix-product form.

S_t = exp(a_t) S_(t-1) + u_t B_t^T,  y_t = S_t C_t, for every head; B and C are shared by the heads.
Inside a chunk the scan is a masked matrix product, between chunks only the states travel. Decays and states are kept in
float32 (float64 for float64 inputs); the large products run in the dtype of `u`, so in bfloat16 where the model does.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

CHUNK = 64


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
        total = a.transpose(2, 3).cumsum(-1)  # [b, c, h, k], up to and including each step
        mixing = (C @ B.transpose(-1, -2))[:, :, None] * _decay(total)
        inside = (mixing.to(u.dtype) @ u.transpose(2, 3)).transpose(2, 3)
        to_end = (total[..., -1:] - total).exp().transpose(2, 3)  # [b, c, k, h]
        weighted = (u * to_end[..., None]).to(u.dtype).flatten(3)  # all heads in one product with B
        own = (weighted.transpose(-1, -2) @ B).to(state.dtype).unflatten(2, (heads, -1))  # [b, c, h, p, n]
        states, state = _pass_on(own, total[..., -1], state)
        entering = C @ states.to(u.dtype).flatten(2, 3).transpose(-1, -2)  # [b, c, k, h p]
        carried = entering.unflatten(-1, (heads, -1)) * total.exp().transpose(2, 3)[..., None]
        y = (inside + carried).to(u.dtype)
    return y.flatten(1, 2)[:, :length], state


def _chunks(x: Float[Tensor, "b l *d"]) -> Float[Tensor, "b c k *d"]:
    """Cut into chunks; the last one is filled with steps that neither add nor decay (zeros)."""
    missing = -x.shape[1] % CHUNK
    x = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x
    return x.unflatten(1, (-1, CHUNK))


def _pass_on(
    own: Float[Tensor, "b c h p n"], total: Float[Tensor, "b c h"], state: Float[Tensor, "b h p n"]
) -> tuple[Float[Tensor, "b c h p n"], Float[Tensor, "b h p n"]]:
    """The state before every chunk and after the last one, from what each chunk adds and by how much it decays.

    The sums over many chunks are large and their differences small, hence float64; there are few of them.
    """
    every = torch.cat([state[:, None], own], 1)
    until = functional.pad(total.double().cumsum(1), (0, 0, 1, 0)).transpose(1, 2)  # [b, h, c + 1]
    passed = torch.einsum("bhij,bjhpn->bihpn", _decay(until).to(state.dtype), every)
    return passed[:, :-1], passed[:, -1]


def _decay(total: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k k"]:
    """exp(total_i - total_j) for j <= i, else 0. Masked before exp: above the diagonal it could overflow."""
    size = total.shape[-1]
    future = torch.ones(size, size, dtype=torch.bool, device=total.device).triu(1)
    return (total[..., :, None] - total[..., None, :]).masked_fill(future, -torch.inf).exp()
