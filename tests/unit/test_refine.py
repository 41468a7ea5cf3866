"""Refining a scene: it comes closer to its frames, is repeatable, and leaves what it must."""

import pytest
import torch

from lyra.pipeline.refine import chosen, fit
from lyra.render import render
from lyra.scene import Cameras, Gaussians, InputError


@pytest.fixture(scope="module")
def cameras():
    c2w = torch.eye(4).repeat(3, 1, 1)
    c2w[:, 0, 3] = torch.tensor([-0.1, 0.0, 0.1])
    K = torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])
    return Cameras(c2w, K.expand(3, 3, 3), 48, 32)


def wall(n: int, seed: int) -> Gaussians:
    """Opaque splats on a plane at depth 1."""
    draw = torch.Generator().manual_seed(seed)
    where = torch.rand(n, 3, generator=draw) * torch.tensor([1.6, 1.2, 0.0]) + torch.tensor([-0.8, -0.6, 1.0])
    colours = 0.5 + 0.4 * torch.sin(6 * where)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(n, 4)
    return Gaussians.from_rgb(where, quats, torch.full((n, 3), 0.03), torch.full((n,), 0.9), colours)


@pytest.fixture(scope="module")
def frames(cameras):
    return (255 * render(wall(3000, 0), cameras).rgb.clamp(0, 1)).round().to(torch.uint8)


def error(scene, cameras, frames) -> float:
    return float((render(scene, cameras).rgb - frames / 255).square().mean())


def test_a_blurred_scene_comes_closer_to_its_frames(cameras, frames):
    start, seen = wall(1500, 1), torch.arange(1500) % 2 == 0
    blurred = Gaussians(start.means, start.quats, 1.5 * start.scales, start.opacities, 0.7 * start.sh, seen)
    fitted = fit(blurred, cameras, frames, 30)
    assert error(fitted, cameras, frames) < 0.5 * error(blurred, cameras, frames)  # measured 0.41
    assert len(fitted) == len(blurred) and torch.equal(fitted.seen, blurred.seen)
    again = fit(blurred, cameras, frames, 30)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert torch.equal(getattr(fitted, name), getattr(again, name))


def test_the_unit_of_length_does_not_matter(cameras, frames):
    start, unit = wall(800, 2), 7.0
    large = Gaussians(unit * start.means, start.quats, unit * start.scales, start.opacities, start.sh)
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] *= unit
    small = fit(start, cameras, frames, 5)
    fitted = fit(large, Cameras(c2w, cameras.K, 48, 32), frames, 5, unit=unit)
    # Adam makes whole steps of gradients near zero, whose sign is rounding: a few in a thousand differ.
    assert (fitted.means / unit - small.means).abs().mean() < 1e-5  # measured 5e-7
    assert (fitted.opacities - small.opacities).abs().mean() < 1e-4  # measured 3e-6


def test_nothing_to_do_and_what_does_not_fit(cameras, frames):
    scene = wall(10, 0)
    assert fit(scene, cameras, frames, 0) is scene
    assert len(fit(Gaussians.empty(), cameras, frames, 5)) == 0
    with pytest.raises(InputError, match="a camera for each frame"):
        fit(scene, cameras[:2], frames, 5)


def test_what_is_fixed_stays_and_is_drawn(cameras, frames):
    scene, fixed = wall(900, 3), torch.arange(900) % 3 == 0
    fitted = fit(scene, cameras, frames, 6, fixed=fixed)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        before, after = getattr(scene, name), getattr(fitted, name)
        assert torch.equal(before[fixed], after[fixed])
        assert not torch.equal(before[~fixed], after[~fixed])
    assert error(fitted, cameras, frames) < error(scene, cameras, frames)
    assert fit(scene, cameras, frames, 6, fixed=torch.ones_like(fixed)) is scene


def test_paths_with_most_to_imagine_are_chosen():
    known = torch.ones(6, 9, 4, 4, dtype=torch.bool)
    for path, rows in ((4, 3), (1, 2), (0, 1), (5, 1)):
        known[path, :, :rows] = False
    paths, late = chosen(known)
    assert paths == [4, 1, 0, 5] and len(range(9)[late]) == 6
