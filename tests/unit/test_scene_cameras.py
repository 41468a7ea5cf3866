"""Cameras: pixels, rays, points and sizes agree with each other in every way round."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import construct, generator, random_cameras, random_poses, seeds, similarity, sizes

from lyra.scene import Cameras, InputError, rotations

N = 3


def points_in_view(cameras: Cameras, seed: int) -> torch.Tensor:
    """Depth in [0.5, 3] at every pixel, unprojected: [n, h * w, 3]."""
    shape = (len(cameras), cameras.height, cameras.width)
    depth = 0.5 + 2.5 * torch.rand(shape, generator=generator(seed), dtype=torch.float64)
    return cameras.unproject(depth).flatten(1, 2)


@given(seeds, sizes)
def test_unproject_then_project_is_the_pixel_grid(seed, size):
    """In float64, worst 1e-12 pixels."""
    cameras = random_cameras(N, seed, *size)
    depth = 0.5 + torch.rand(N, cameras.height, cameras.width, generator=generator(seed), dtype=torch.float64)
    pixels, z = cameras.project(cameras.unproject(depth).flatten(1, 2))
    grid = cameras.pixel_grid().reshape(-1, 2).expand_as(pixels)
    torch.testing.assert_close(pixels, grid, atol=1e-9, rtol=0)
    torch.testing.assert_close(z, depth.flatten(1), atol=1e-9, rtol=0)


@given(seeds)
def test_rays_hit_the_unprojected_points(seed):
    cameras = random_cameras(N, seed)
    origins, directions = cameras.rays()
    points = points_in_view(cameras, seed).view(*directions.shape)
    along = points - origins
    torch.testing.assert_close(rotations.normalize(along), directions, atol=1e-12, rtol=0)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(directions.shape[:-1], dtype=torch.float64))


@given(seeds)
def test_pluecker_moment_is_that_of_any_point_on_the_ray(seed):
    cameras = random_cameras(N, seed)
    plucker = cameras.plucker()
    assert plucker.shape == (N, 6, cameras.height, cameras.width)
    moment, direction = plucker.movedim(-3, -1).split(3, -1)
    points = points_in_view(cameras, seed).view(*direction.shape)
    torch.testing.assert_close(torch.linalg.cross(points, direction), moment, atol=1e-11, rtol=0)
    assert float((moment * direction).sum(-1).abs().max()) < 1e-12


def test_pixel_centres_of_a_centred_lens():
    cameras = Cameras.from_fov(torch.eye(4), 90.0, 4, 2)
    assert cameras.pixel_grid()[0, 0].tolist() == [0.5, 0.5]
    assert cameras.K[0, 2] == 2
    assert cameras.K[1, 2] == 1
    assert cameras.K[0, 0] == pytest.approx(2)
    # Four corners of the image are symmetric about the axis.
    total = cameras.rays()[1].sum((0, 1))
    torch.testing.assert_close(total[:2], torch.zeros(2), atol=1e-6, rtol=0)


@given(seeds, st.floats(1, 179), sizes)
def test_field_of_view_comes_back(seed, fov, size):
    cameras = Cameras.from_fov(random_poses(N, seed), fov, *size)
    torch.testing.assert_close(cameras.fov_x_deg, torch.full((N,), fov, dtype=torch.float64))


@given(seeds, st.integers(0, 10), st.integers(0, 6), st.integers(1, 8), st.integers(1, 10))
def test_crop_pad_and_resize_move_pixels_as_images_do(seed, left, top, height, width):
    """(u, v) -> (u - left, v - top), its inverse, and a scaling about the corner of the image."""
    cameras = random_cameras(N, seed, 20, 14)
    points = points_in_view(cameras, seed)
    pixels, _ = cameras.project(points)
    cropped = cameras.crop(top, left, height, width)
    corner = torch.tensor([left, top], dtype=torch.float64)
    torch.testing.assert_close(cropped.project(points)[0], pixels - corner)
    assert (cropped.height, cropped.width) == (height, width)
    padded = cropped.pad(top, left, 14, 20)
    torch.testing.assert_close(padded.K, cameras.K)
    resized = cameras.resize(height, width)
    scale = torch.tensor([width / 20, height / 14], dtype=torch.float64)
    torch.testing.assert_close(resized.project(points)[0], pixels * scale)
    torch.testing.assert_close(resized.resize(14, 20).K, cameras.K)


@given(seeds)
def test_moving_the_world_moves_no_pixel(seed):
    cameras = random_cameras(N, seed)
    points = points_in_view(cameras, seed)
    matrix, scale = similarity(seed)
    pixels, z = cameras.project(points)
    moved, moved_z = cameras.transform(matrix).project(rotations.transform_points(matrix.expand(N, 4, 4), points))
    torch.testing.assert_close(moved, pixels, atol=1e-8, rtol=0)
    torch.testing.assert_close(moved_z, z * scale, atol=1e-6, rtol=1e-6)


@given(seeds)
def test_relative_to_first_starts_at_identity_and_keeps_distances(seed):
    cameras = random_cameras(N, seed)
    relative = cameras.relative_to_first()
    torch.testing.assert_close(relative.c2w[0], torch.eye(4, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(
        torch.pdist(relative.centers), torch.pdist(cameras.centers), atol=1e-12, rtol=0
    )  # fmt: skip


@given(seeds)
def test_w2c_is_the_inverse(seed):
    cameras = random_cameras(N, seed)
    torch.testing.assert_close(cameras.w2c, torch.linalg.inv(cameras.c2w), atol=1e-11, rtol=0)


def test_batches_of_any_shape_agree_with_single_cameras():
    flat = random_cameras(6, 7)
    grid = Cameras(flat.c2w.view(2, 3, 4, 4), flat.K.view(2, 3, 3, 3), 20, 14, flat.times.view(2, 3))
    assert grid.shape == (2, 3)
    assert len(grid) == 2
    torch.testing.assert_close(grid.plucker()[1, 2], flat[5].plucker())
    torch.testing.assert_close(grid.flatten().c2w, flat.c2w)
    torch.testing.assert_close(grid.flatten().times, flat.times)
    assert grid[1].times.tolist() == flat.times[3:].tolist()
    assert grid[0, 1].shape == ()
    assert flat[torch.tensor([4, 2])].c2w.equal(flat.c2w[[4, 2]])
    assert flat[flat.times > 0.1].shape == (3,)
    assert flat.to(torch.float32).plucker().dtype == torch.float32


def test_gradients_reach_poses_lenses_points_and_depth():
    cameras = random_cameras(2, 3, 5, 4)
    points = points_in_view(cameras, 3)[:, :6].detach()
    depth = torch.rand(2, 4, 5, dtype=torch.float64) + 1

    def outputs(c2w: torch.Tensor, K: torch.Tensor, points: torch.Tensor, depth: torch.Tensor) -> tuple:
        # Finite differences leave the rigid poses by 1e-6, which the check of poses tolerates.
        moved = Cameras(c2w, K, 5, 4)
        return (*moved.project(points), moved.unproject(depth), moved.plucker())

    inputs = [x.clone().requires_grad_() for x in (cameras.c2w, cameras.K, points, depth)]
    assert torch.autograd.gradcheck(outputs, inputs)


def test_points_behind_have_negative_depth_and_the_centre_is_finite():
    cameras = Cameras.from_fov(torch.eye(4), 60.0, 8, 8)
    pixels, z = cameras.project(torch.tensor([[0.0, 0, -2], [0, 0, 0], [1, 0, 0]]))
    assert z.tolist() == [-2, 0, 0]
    assert bool(pixels.isfinite().all())


GOOD = {
    "c2w": torch.eye(4),
    "K": torch.tensor([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]),
    "width": 8,
    "height": 6,
    "times": None,
}
NAN_POSE = torch.eye(4)
NAN_POSE[0, 3] = math.nan
STRETCHED = torch.diag(torch.tensor([1.0, 1.01, 1, 1]))
MIRRORED = torch.diag(torch.tensor([1.0, 1, -1, 1]))
BAD = {
    "pose shape": ({"c2w": torch.eye(3)}, r"c2w must be \[\.\.\., 4, 4\]"),
    "lens shape": ({"K": torch.eye(4)}, "K must be"),
    "lens batch": ({"c2w": torch.eye(4).expand(2, 4, 4)}, "K must be"),
    "no pixels": ({"width": 0}, "at least 1 pixel"),
    "times": ({"times": torch.zeros(2)}, "times must be"),
    "NaN pose": ({"c2w": NAN_POSE}, "c2w holds NaN"),
    "NaN lens": ({"K": torch.full((3, 3), math.nan)}, "K holds NaN"),
    "focal": ({"K": torch.diag(torch.tensor([-1.0, 1, 1]))}, "focal lengths"),
    "stretched": ({"c2w": STRETCHED}, "rigid"),
    "mirrored": ({"c2w": MIRRORED}, "rigid"),
    "NaN time": ({"times": torch.tensor(math.nan)}, "times hold NaN"),
}


@pytest.mark.parametrize("change, sentence", BAD.values(), ids=BAD.keys())
def test_bad_cameras_are_refused_with_a_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        construct(Cameras, **GOOD | change)


def test_windows_outside_the_image_are_refused():
    cameras = Cameras(**GOOD)
    for window in ((-1, 0, 2, 2), (0, 7, 2, 2), (5, 0, 2, 2)):
        with pytest.raises(InputError, match="does not fit"):
            cameras.crop(*window)
    for place in ((-1, 0, 10, 10), (0, 3, 10, 10), (5, 0, 10, 10)):
        with pytest.raises(InputError, match="do not fit"):
            cameras.pad(*place)
    with pytest.raises(InputError, match="field of view"):
        Cameras.from_fov(torch.eye(4), 180.0, 8, 6)


def test_no_cameras_at_all_are_fine():
    none = random_cameras(3, 1)[:0]
    assert len(none) == 0
    assert none.plucker().shape == (0, 6, 14, 20)
