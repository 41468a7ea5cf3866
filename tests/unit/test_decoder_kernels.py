"""The fused kernels of the scan against its torch form, forward and backward.

On a CUDA device as it is; elsewhere with Triton's interpreter, which has no bfloat16:
`TRITON_INTERPRET=1 pytest -m gpu tests/unit/test_decoder_kernels.py`.
"""

import pytest
import torch

from lyra.decoder import ssd

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16 if DEVICE == "cuda" else torch.float16])
@pytest.mark.parametrize(("heads", "p", "n"), [(3, 20, 72), (2, 64, 16)])
def test_kernels_are_the_torch_form(dtype, heads, p, n):
    """Share of the largest value; with the interpreter: float32 2.3e-7, float16 9e-4."""
    from lyra.decoder import kernels

    generator = torch.Generator().manual_seed(0)
    chunks, k = 2, ssd.CHUNK
    u, B, C = (
        torch.randn(1, chunks, k, *rest, generator=generator).to(DEVICE, dtype).requires_grad_()
        for rest in ((heads, p), (n,), (n,))
    )
    steps = -2 * torch.rand(1, chunks, heads, k, generator=generator, dtype=torch.float64)
    total = steps.cumsum(-1).to(DEVICE).requires_grad_()
    mixing = (C.float() @ B.float().transpose(-1, -2))[:, :, None] * ssd.decay(total, torch.float32)
    expected = (mixing @ u.float().transpose(2, 3)).transpose(2, 3)
    value = kernels.inside(u, *ssd.split(total, torch.float32), B, C)
    upstream = torch.randn(value.shape, generator=generator).to(DEVICE)
    inputs = (u, total, B, C)
    pairs = [
        (value, expected),
        *zip(
            torch.autograd.grad(value, inputs, upstream.to(dtype)),
            torch.autograd.grad(expected, inputs, upstream),
            strict=True,
        ),
    ]
    limit = {torch.float32: 2e-6, torch.float16: 5e-3, torch.bfloat16: 3e-2}[dtype]
    for got, wanted in pairs:
        assert (got - wanted).abs().max() <= limit * wanted.abs().max()
