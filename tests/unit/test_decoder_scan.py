"""The chunked scan against the recurrence it stands for."""

import pytest
import torch

from lyra.decoder import DecoderConfig, blocks
from lyra.decoder.ssd import CHUNK, scan

LENGTHS = [1, CHUNK - 1, CHUNK, 2 * CHUNK + 5]


def inputs(length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """u, a, B, C and a first state; some steps forget nearly everything."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    batch, heads, p, n = 2, 3, 4, 5
    a = -draw(batch, length, heads).exp() * torch.where(draw(batch, length, heads) > 1.5, 80.0, 0.1)
    tensors = draw(batch, length, heads, p), a, draw(batch, length, n), draw(batch, length, n), draw(batch, heads, p, n)
    wide = torch.promote_types(dtype, torch.float32)
    u, a, B, C, state = tensors
    return u.to(dtype), a.to(wide), B.to(dtype), C.to(dtype), state.to(wide)


def recurrence(u, a, B, C, state):
    """The definition, one step after another."""
    outputs = []
    for t in range(u.shape[1]):
        state = a[:, t].exp()[..., None, None] * state + torch.einsum("bhp,bn->bhpn", u[:, t], B[:, t])
        outputs.append(torch.einsum("bhpn,bn->bhp", state, C[:, t]))
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize("length", LENGTHS)
def test_scan_is_the_recurrence(length):
    """Worst difference 2e-14."""
    given = inputs(length)
    for value, expected in zip(scan(*given), recurrence(*given), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_scan_in_lower_precision():
    """Share of the largest value: float32 1.2e-5 (with log decays down to -330), bfloat16 0.5 %."""
    for dtype, limit in ((torch.float32, 5e-5), (torch.bfloat16, 0.02)):
        given = inputs(2 * CHUNK + 5, dtype)
        expected, _ = recurrence(*(t.double() for t in given))
        value, state = scan(*given)
        assert value.dtype == dtype and state.dtype == torch.float32
        share = (value.double() - expected).abs().max() / expected.abs().max()
        assert share < limit


def test_a_scan_in_parts_is_the_scan():
    u, a, B, C, state = inputs(3 * CHUNK)
    whole, last = scan(u, a, B, C, state)
    parts = []
    for piece in range(0, 3 * CHUNK, CHUNK + 7):
        y, state = scan(*(t[:, piece : piece + CHUNK + 7] for t in (u, a, B, C)), state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


def test_nothing_overflows_where_decays_are_extreme():
    u, a, B, C, state = inputs(2 * CHUNK, torch.float32)
    a = (a * 100).requires_grad_()
    y, _ = scan(u, a, B, C, state)
    y.sum().backward()
    assert y.isfinite().all() and a.grad.isfinite().all()


def small() -> DecoderConfig:
    return DecoderConfig(width=16, blocks=2, heads=2, head_dim=8, d_state=6)


def test_a_block_does_not_depend_on_its_parts(monkeypatch):
    torch.manual_seed(0)
    block = blocks.MambaBlock(small()).double()
    x = torch.randn(2, 3 * CHUNK + 9, 16, dtype=torch.float64)
    whole = block(x)
    monkeypatch.setattr(blocks, "CPU_PART", CHUNK)
    torch.testing.assert_close(block(x), whole, rtol=1e-11, atol=1e-11)


def test_a_block_reads_both_ways():
    """Reversing the sequence and swapping the two scans reverses the result; every token sees every other."""
    torch.manual_seed(0)
    mixer = blocks.Mamba2(small()).double()
    x = torch.randn(1, CHUNK + 9, 16, dtype=torch.float64)
    forward = mixer(x)
    for i in (0, -1):
        changed = x.clone()
        changed[:, i] += 1
        assert ((mixer(changed) - forward).abs().amax((0, 2)) > 0).all()
    mixer.mamba_scans = torch.nn.ModuleList(reversed(mixer.mamba_scans))
    torch.testing.assert_close(mixer(x.flip(1)).flip(1), forward, rtol=1e-11, atol=1e-11)
