"""The photo layer of a scene: pixels where they belong, sharp edges, and the student's Gaussians for the rest."""

import torch

from lyra.depth.depth_map import DepthMap
from lyra.pipeline.surface import pixels, seen_by, sharpened, with_photo
from lyra.pipeline.views import FirstView
from lyra.render import render
from lyra.scene import Cameras, Gaussians


def step_view() -> FirstView:
    """A near wall (depth 2) beside a far one (depth 6), with a soft passage of three pixels between them."""
    image = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    row = torch.cat([torch.full((30,), 2.0), torch.tensor([3.0, 4.0, 5.0]), torch.full((31,), 6.0)])
    depth = row.expand(48, 64).clone()
    K = Cameras.from_fov(torch.eye(4), 60.0, 64, 48).K
    return FirstView(image, DepthMap(depth, K, torch.ones(48, 64, dtype=torch.bool), "metric"))


def test_the_photo_layer_shows_the_photo_from_its_own_camera():
    """A picture smoothed over 9 pixels, far from the border: mean difference 0.011."""
    view = step_view()
    smooth = torch.nn.functional.avg_pool2d(view.image[None], 9, 1, 4)[0]
    drawn = render(pixels(view, smooth), view.camera)
    inner = (slice(None), slice(4, -4), slice(4, -4))
    assert (drawn.rgb - smooth)[inner].abs().mean() < 0.02
    assert drawn.alpha[inner].min() > 0.95


def test_edges_become_steps_between_two_depths():
    depth, edge = sharpened(step_view().depth.depth)
    assert set(depth.unique().tolist()) == {2.0, 6.0} and bool(edge[:, 30:33].all())


def test_the_student_keeps_what_the_photo_does_not_show():
    view = step_view()
    unit = view.unit
    means = torch.tensor([[0.0, 0.0, 2.0], [-0.3, 0.0, 5.0], [40.0, 0.0, 2.0]])  # on the wall, behind it, beside it
    one = torch.ones(3)
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4)
    student = Gaussians.from_rgb(means, quats, one[:, None].expand(3, 3), 0.5 * one, torch.rand(3, 3))
    student = Gaussians(
        student.means, quats, student.scales, student.opacities, student.sh, seen_by(view, means / unit)
    )
    assert student.seen.tolist() == [True, False, False]
    whole = with_photo(view, view.image, student)
    assert len(whole) == 48 * 64 + 2 and int((~whole.seen).sum()) == 2
    assert whole.means[: 48 * 64, 2].amax() <= 6.001 and whole.means[: 48 * 64, 2].amin() >= 1.999


def test_a_larger_photo_gives_more_and_smaller_gaussians():
    view = step_view()
    large = torch.nn.functional.interpolate(view.image[None], scale_factor=2.0)[0]
    small, fine = pixels(view, view.image), pixels(view, large)
    assert len(fine) == 4 * len(small)
    assert 0.4 < float(fine.scales[:, 0].median() / small.scales[:, 0].median()) < 0.6
