"""The kernels that normalise frames against torch's group norm, forward and backward.

On a CUDA device as they are; elsewhere with Triton's interpreter, which has no bfloat16:
`TRITON_INTERPRET=1 pytest -m gpu tests/unit/test_teacher_frame_norm.py`.
"""

import pytest
import torch
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16 if DEVICE == "cuda" else torch.float16])
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize(("frames", "channels", "height", "width"), [(2, 24, 23, 30), (1, 96, 4, 6), (3, 8, 1, 1)])
def test_kernels_are_group_norm(dtype, silu, frames, channels, height, width):
    """Share of the largest value; with the interpreter: float32 9e-7, float16 4e-4."""
    from lyra.vae.frame_norm_kernels import frame_norm

    g = torch.Generator().manual_seed(0)
    x = (3 + torch.randn(frames, channels, height, width, generator=g)).to(DEVICE, dtype).requires_grad_()
    weight, bias = (torch.randn(channels, generator=g).to(DEVICE).requires_grad_() for _ in range(2))
    expected = functional.group_norm(x.float(), 1, weight, bias, 1e-6)
    expected = functional.silu(expected) if silu else expected
    value = frame_norm(x, weight, bias, 1e-6, silu)
    assert value.dtype == dtype and value.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn(value.shape, generator=g).to(DEVICE)
    inputs = (x, weight, bias)
    pairs = [
        (value, expected),
        *zip(
            torch.autograd.grad(value, inputs, upstream.to(dtype)),
            torch.autograd.grad(expected, inputs, upstream.to(dtype).float()),
            strict=True,
        ),
    ]
    for mine, theirs in pairs:
        limit = 1e-5 if dtype == torch.float32 else 2e-2
        assert (mine - theirs).abs().max() <= limit * theirs.abs().max()
