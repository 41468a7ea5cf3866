"""The sky goes on beyond the photograph: everywhere above its lowest sky, behind everything, in its colours."""

import torch

from lyra.depth.depth_map import DepthMap
from lyra.pipeline.sky import sky_of
from lyra.pipeline.views import SKY, FirstView
from lyra.render import render
from lyra.scene import Cameras

HEIGHT, WIDTH, HORIZON = 32, 56, 16


def a_view(sky: bool) -> FirstView:
    """Green ground below a sky that is blue on the left and white on the right; 8 m to the ground."""
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[1, HORIZON:] = 0.5
    image[:, :HORIZON, : WIDTH // 2] = torch.tensor([0.2, 0.4, 0.9])[:, None, None]
    image[:, :HORIZON, WIDTH // 2 :] = 1.0
    valid = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    valid[:HORIZON] = not sky
    K = Cameras.from_fov(torch.eye(4), 60.0, WIDTH, HEIGHT).K
    return FirstView(image, DepthMap(torch.where(valid, 8.0, torch.inf), K, valid, "metric"))


def looking(degrees: float) -> Cameras:
    """A camera at the photo's place that is turned to the right."""
    angle = torch.deg2rad(torch.tensor(degrees))
    c2w = torch.eye(4)
    c2w[0, 0] = c2w[2, 2] = angle.cos()
    c2w[0, 2], c2w[2, 0] = angle.sin(), -angle.sin()
    return Cameras.from_fov(c2w, 60.0, WIDTH, HEIGHT)


def test_a_photograph_without_sky_gets_none():
    none = sky_of(a_view(sky=False))
    assert len(none) == 0 and none.seen is not None


def test_the_sky_is_closed_in_all_directions_and_ends_at_the_horizon():
    shell = sky_of(a_view(sky=True))
    assert not bool(shell.seen.any())
    for degrees in (0.0, 60.0, 120.0, 180.0, -90.0):
        alpha = render(shell, looking(degrees)).alpha.squeeze()
        assert float(alpha[: HORIZON - 3].min()) > 0.95  # measured 0.99
        assert float(alpha[HORIZON + 8 :].max()) < 0.05  # measured 0.00


def test_it_lies_behind_the_photo_and_has_its_colours():
    view = a_view(sky=True)
    shell = sky_of(view)
    ahead = shell.means[(shell.means[:, 2] > 0) & (shell.means[:, :2].norm(dim=1) < shell.means[:, 2])]
    assert float(ahead[:, 2].min()) > SKY * view.unit
    left, right = (render(shell, looking(degrees)).rgb[:, 4].mean(-1) for degrees in (-50.0, 50.0))
    assert torch.allclose(left, torch.tensor([0.2, 0.4, 0.9]), atol=0.05)  # measured 0.01
    assert torch.allclose(right, torch.ones(3), atol=0.05)
