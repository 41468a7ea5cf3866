"""Per-scene optimisation, the student's peer: copies look like the one they came from, and fitting fits."""

import pytest
import torch

from lyra.evaluate.optimise import OptimiseOptions, optimise, shared
from lyra.metrics import psnr
from lyra.render import render
from lyra.scene import Cameras, Gaussians, InputError


def test_copies_share_opacity_and_size():
    """N copies lie over each other: together they let through as much light. One copy changes nothing."""
    opacity = torch.tensor([0.2, 0.5, 0.9, 0.9])
    copies = torch.tensor([1, 2, 3, 10])
    each, factor = shared(opacity, copies)
    assert torch.allclose(1 - (1 - each) ** copies, opacity, atol=1e-6)
    assert float(factor[0]) == pytest.approx(1, abs=1e-6) and (factor[1:] < 1).all()


def _scene() -> tuple[Gaussians, Cameras, torch.Tensor]:
    """A field of coloured blobs, pictures of it from eight cameras, and a grey, blurred beginning."""
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(60, 3, generator=generator) * torch.tensor([1.6, 1.0, 0.6]) + torch.tensor([-0.8, -0.5, 0.8])
    quats = torch.tensor([1.0, 0, 0, 0]).expand(60, 4)
    truth = Gaussians.from_rgb(
        means, quats, torch.full((60, 3), 0.08), torch.full((60,), 0.95), torch.rand(60, 3, generator=generator)
    )
    c2w = torch.eye(4).repeat(8, 1, 1)
    c2w[:, 0, 3] = torch.linspace(-0.2, 0.2, 8)
    cameras = Cameras.from_fov(c2w, 70.0, 48, 32)
    with torch.no_grad():
        frames = (render(truth, cameras).rgb.clamp(0, 1) * 255).round().to(torch.uint8)
    return truth, cameras, frames


def test_fitting_raises_psnr_and_respects_the_limit():
    """16.7 to 18.9 dB in 60 steps."""
    truth, cameras, frames = _scene()
    start = Gaussians.from_rgb(truth.means + 0.03, truth.quats, truth.scales, truth.opacities, torch.full((60, 3), 0.5))
    background = torch.zeros(3)

    def score(gaussians: Gaussians) -> float:
        with torch.no_grad():
            return float(psnr(render(gaussians, cameras, background).rgb, frames.float() / 255).mean())

    losses = []
    options = OptimiseOptions(steps=60, refine_every=10, growth=1.5, most=100)
    fitted = optimise(start, cameras, frames, background, options, lambda _, loss: losses.append(loss))
    assert len(fitted) == 100 and len(losses) == 60
    assert score(fitted) > score(start) + 1.5
    again = optimise(start, cameras, frames, background, OptimiseOptions(steps=3))
    assert torch.equal(again.means, optimise(start, cameras, frames, background, OptimiseOptions(steps=3)).means)
    with pytest.raises(InputError, match="a camera of the same size"):
        optimise(start, cameras[:2], frames, background)
