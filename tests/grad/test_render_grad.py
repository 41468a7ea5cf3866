"""Gradients of the renderers against finite differences, independent of any other implementation."""

import pytest
import torch
from torch import Tensor

from lyra.render import reference, render
from lyra.render.rules import View
from lyra.scene import Cameras, Gaussians


def few(seed: int = 3) -> list[Tensor]:
    """Six overlapping Gaussians in front of the camera, one beyond the frustum's margin, in float64."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(6, 3, generator=generator, dtype=torch.float64) * 0.4 + torch.tensor([0.0, 0.0, 4.0])
    means[5, 0] = 4.5  # x / z is held at the margin, its tail reaches into the picture
    scales = 0.15 + 0.3 * torch.rand(6, 3, generator=generator, dtype=torch.float64)
    scales[5] = 1.5
    quats = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    opacities = 0.3 + 0.6 * torch.rand(6, generator=generator, dtype=torch.float64)
    colors = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    return [means, quats, scales, opacities, colors]


K = torch.tensor([[10.0, 0, 5.5], [0, 10.0, 4], [0, 0, 1]], dtype=torch.float64)


def test_reference_passes_gradcheck_in_float64():
    """Every entry of every parameter, thresholds included (none lies within 1e-6 of one here)."""
    view = View(torch.eye(4, dtype=torch.float64), K, 11, 8, 0.01, 1e10)
    leaves = [t.requires_grad_() for t in few()]
    assert torch.autograd.gradcheck(lambda *t: reference.rasterize(*t, view), leaves, eps=1e-6, atol=1e-6)


def test_whole_function_passes_gradcheck_with_view_dependent_colour_and_background():
    """Through colour, expected depth and background too."""
    means, quats, scales, opacities, _ = few()
    sh = 0.4 * torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cameras = Cameras(torch.eye(4, dtype=torch.float64), K, 5, 3)
    background = torch.tensor([0.3, 0.1, 0.7], dtype=torch.float64)

    def draw(*t: Tensor) -> tuple[Tensor, ...]:
        return tuple(render(Gaussians(*t[:5]), cameras, t[5], backend="reference"))

    leaves = [t.requires_grad_() for t in (means, quats, scales, opacities, sh, background)]
    assert torch.autograd.gradcheck(draw, leaves, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_cpu_gradients_are_the_slopes_of_its_own_pictures(seed):
    """Central differences of the float32 pictures, along each parameter's own gradient.

    The Gaussians are wide and thin, so that no alpha crosses 1/255 and no pixel ends: differences would see the jump.
    Worst measured: 0.6 % at the smallest slope (0.08, where float32 differences are that noisy), else 0.2 %.
    """
    means, quats, scales, opacities, colors = (t.float() for t in few(seed))
    leaves = [t.requires_grad_() for t in (means, quats, 1.5 + scales, 0.6 * opacities, colors)]
    generator = torch.Generator().manual_seed(seed)
    cameras = Cameras(torch.eye(4), K.float(), 11, 8)
    weights = torch.randn(5, 8, 11, generator=generator)

    def loss(tensors: list[Tensor]) -> Tensor:
        picture = render(Gaussians.from_rgb(*tensors), cameras, backend="cpu")
        return (weights * torch.cat(list(picture))).double().sum()

    gradients = torch.autograd.grad(loss(leaves), leaves)
    for k, gradient in enumerate(gradients):
        direction = gradient / gradient.norm()
        with torch.no_grad():
            ends = [loss([t + s * direction if j == k else t for j, t in enumerate(leaves)]) for s in (4e-3, -4e-3)]
        slope = float(ends[0] - ends[1]) / 8e-3
        assert slope == pytest.approx(float(gradient.norm()), rel=5e-3, abs=1e-3), k
