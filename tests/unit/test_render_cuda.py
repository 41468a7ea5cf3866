"""gsplat against the float64 reference, values and gradients: `pytest -m gpu tests/unit/test_render_cuda.py`.

Away from a CUDA device the compiled CPU renderer takes its place, so that the test itself can be tried anywhere.
"""

import pytest
import torch
from torch import Tensor

from benchmarks import splat_scenes
from lyra.render import Rendering, render
from lyra.scene import Cameras, Gaussians

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FIELDS = ("means", "quats", "scales", "opacities", "sh")


def drawn(scene: Gaussians, cameras: Cameras, backend: str) -> tuple[Rendering, list[Tensor]]:
    """Pictures, and the gradients of a seeded random weighting of colour, accumulated depth and alpha."""
    leaves = [getattr(scene, name).detach().clone().requires_grad_() for name in FIELDS]
    picture = render(Gaussians(*leaves), cameras, torch.tensor([0.2, 0.5, 0.9]), backend=backend)
    generator = torch.Generator().manual_seed(1)
    parts = (picture.rgb, picture.depth * picture.alpha, picture.alpha)
    sum((torch.randn(p.shape, generator=generator).to(p) * p).sum() for p in parts).backward()
    return Rendering(*(p.detach().cpu().double() for p in picture)), [leaf.grad.cpu().double() for leaf in leaves]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", [splat_scenes.pixel_aligned, splat_scenes.blobs], ids=lambda kind: kind.__name__)
def test_the_fast_renderer_is_the_reference(kind):
    """Worst on an H100: values 2.7e-6 where no threshold flips, gradients 1.7e-4 of their norm."""
    scene, cameras = kind(1500, 48, 32), splat_scenes.cameras(2, 48, 32)
    ours, gradients = drawn(scene.to(DEVICE), cameras.to(DEVICE), DEVICE)
    exact, exact_gradients = drawn(scene.to(torch.float64), cameras.to(torch.float64), "reference")
    error = torch.cat([ours.rgb - exact.rgb, ours.alpha - exact.alpha], -3).abs().amax(-3)
    flipped = error > 1e-4  # an alpha on the other side of 1/255, or a pixel that ended one Gaussian earlier
    assert flipped.double().mean() < 1e-3 and error.max() < 1.2e-2
    for name, mine, theirs in zip(FIELDS, gradients, exact_gradients, strict=True):
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm() + 1e-12, name
