"""Gradients of the decoder's own parts against finite differences, and of memory-saving paths against the plain one."""

import torch
from torch.autograd import gradcheck

from lyra.decoder import MINI, DecoderConfig, blocks, head
from lyra.decoder.ssd import CHUNK, scan


def test_scan():
    """Over a chunk border, with the state in and out."""
    torch.manual_seed(0)
    length = CHUNK + 3
    u, B, C = (torch.randn(1, length, *rest, dtype=torch.float64) for rest in ((2, 2), (2,), (2,)))
    a = -torch.rand(1, length, 2, dtype=torch.float64)
    state = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    given = [t.requires_grad_() for t in (u, a, B, C, state)]
    assert gradcheck(scan, given, fast_mode=True)


def test_recomputed_parts_give_the_same_gradients(monkeypatch):
    torch.manual_seed(0)
    block = blocks.MambaBlock(DecoderConfig(width=16, blocks=2, heads=2, head_dim=8, d_state=6)).double()
    x = torch.randn(1, 2 * CHUNK + 9, 16, dtype=torch.float64, requires_grad=True)

    def gradients():
        block.zero_grad()
        x.grad = None
        block(x).square().sum().backward()
        return [x.grad, *(p.grad for p in block.parameters())]

    plain = [g.clone() for g in gradients()]
    monkeypatch.setattr(blocks, "CPU_PART", CHUNK)
    monkeypatch.setattr(blocks, "BUDGET", 1)
    for value, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


def test_activations():
    """Both forms of the head, with offsets."""
    torch.manual_seed(0)
    frame = torch.tensor([0.8, 0.0, 0.6, 0.0], dtype=torch.float64)
    rays = [torch.randn(5, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1]]]
    for config in (DecoderConfig(), MINI):
        numbers = torch.randn(5, config.out_channels, dtype=torch.float64, requires_grad=True)

        def outputs(x, config=config):
            g = head.activate(x, *rays, torch.full((5,), 0.01, dtype=torch.float64), frame, config, 2.0)
            return g.means, g.quats, g.scales.log(), g.opacities, g.sh

        assert gradcheck(outputs, [numbers])
