"""Rotations against scipy and against their own laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from unit.strategies import nonzero_quats, points3, random_poses, random_quats, seeds, similarity

from lyra.scene import InputError, rotations


def scipy_rotation(quats: torch.Tensor) -> Rotation:
    return Rotation.from_quat(quats.numpy(), scalar_first=True)


@given(nonzero_quats)
def test_matrices_equal_scipy(quat):
    """Worst difference 5e-16."""
    q = torch.tensor(quat, dtype=torch.float64)
    np.testing.assert_allclose(rotations.quat_to_matrix(q), scipy_rotation(q).as_matrix(), atol=1e-14)


@given(nonzero_quats)
@example((0.0, 1.0, 0.0, 0.0))
@example((0.0, 0.0, 1.0, 0.0))
@example((0.0, 0.0, 0.0, 1.0))
@example((1e-7, 0.6, 0.0, 0.8))
def test_quaternions_survive_matrices_in_float32(quat):
    """Half turns included; worst difference 3e-7."""
    q = rotations.normalize(torch.tensor(quat))
    back = rotations.matrix_to_quat(rotations.quat_to_matrix(q))
    assert float(back[0]) >= 0
    assert float((back * q).sum().abs()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(rotations.quat_to_matrix(back), rotations.quat_to_matrix(q), atol=2e-6, rtol=0)


@given(seeds)
def test_product_of_quaternions_is_product_of_matrices(seed):
    a, b = random_quats(2, seed)
    product = rotations.quat_to_matrix(rotations.quat_multiply(a, b))
    torch.testing.assert_close(product, rotations.quat_to_matrix(a) @ rotations.quat_to_matrix(b))


@given(seeds, st.floats(0, 1))
def test_slerp_equals_scipy(seed, share):
    """Worst difference of matrices 2e-15, but 1e-9 for nearly opposite quaternions."""
    a, b = random_quats(2, seed)
    ours = rotations.quat_to_matrix(rotations.slerp(a, b, torch.tensor(share, dtype=torch.float64)))
    theirs = Slerp([0, 1], Rotation.concatenate([scipy_rotation(a), scipy_rotation(b)]))(share).as_matrix()
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slerp_keeps_its_ends_and_stays_finite_for_neighbours(angle, dtype):
    a = torch.tensor([1.0, 0, 0, 0], dtype=dtype)
    b = torch.tensor([math.cos(angle), math.sin(angle), 0, 0], dtype=dtype, requires_grad=True)
    shares = torch.tensor([0.0, 0.5, 1.0], dtype=dtype)
    path = rotations.slerp(a.expand(3, 4), b.expand(3, 4), shares)
    half = torch.tensor([math.cos(angle / 2), math.sin(angle / 2), 0, 0], dtype=dtype)
    torch.testing.assert_close(path.detach(), torch.stack([a, half, b.detach()]), atol=1e-6, rtol=0)
    path.sum().backward()
    assert bool(b.grad.isfinite().all())


@given(seeds)
def test_inverse_of_a_rigid_transform(seed):
    pose = random_poses(3, seed)
    unit = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    torch.testing.assert_close(rotations.invert_rigid(pose) @ pose, unit, atol=1e-12, rtol=0)


@given(points3, points3)
@example((0.0, 0.0, 0.0), (0.0, 5.0, 0.0))
@example((0.0, 0.0, 0.0), (0.0, -5.0, 0.0))
@example((1.0, 1.0, 1.0), (1.0, 1.0, 1.0 + 1e-3))
def test_look_at_puts_the_target_on_the_axis_and_down_is_down(eye, target):
    eye, target = torch.tensor([eye, target], dtype=torch.float64)
    distance = float((target - eye).norm())
    if distance < 1e-3:
        return
    down = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    pose = rotations.look_at(eye, target, down)
    seen = rotations.transform_points(rotations.invert_rigid(pose), target[None])[0]
    torch.testing.assert_close(seen, torch.tensor([0, 0, distance], dtype=torch.float64), atol=1e-8, rtol=0)
    assert float(torch.linalg.det(pose[:3, :3])) == pytest.approx(1, abs=1e-9)
    assert float((rotations.invert_rigid(pose)[:3, :3] @ down)[1]) >= -1e-6  # down never points up in the image


@pytest.mark.parametrize("scale", [1e-18, 1e-10, 1.0, 1e18])
def test_normalize_any_length(scale):
    v = torch.tensor([3.0, 0.0, 4.0]) * scale
    torch.testing.assert_close(rotations.normalize(v), torch.tensor([0.6, 0.0, 0.8]))


@pytest.mark.parametrize("length", [1e-45, 1e-30, 1e-20])
def test_normalize_never_makes_more_than_unit_length(length):
    assert float(rotations.normalize(torch.tensor([length, 0.0, 0.0])).norm()) <= 1 + 1e-6


def test_normalize_zero_stays_zero_with_finite_gradient():
    v = torch.zeros(3, requires_grad=True)
    unit = rotations.normalize(v)
    unit.sum().backward()
    assert bool((unit == 0).all())
    assert bool(v.grad.isfinite().all())


@given(seeds)
def test_similarity_is_split(seed):
    matrix, scale = similarity(seed)
    found, rotation = rotations.split_similarity(matrix)
    assert float(found) == pytest.approx(scale, rel=1e-6)  # scale is drawn in float32
    torch.testing.assert_close(rotation * found, matrix[:3, :3])


@pytest.mark.parametrize(
    "linear",
    [torch.diag(torch.tensor([1.0, 1, -1])), torch.diag(torch.tensor([1.0, 2, 1])), torch.zeros(3, 3),
     torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]), torch.full((3, 3), float("nan"))],
    ids=["mirror", "stretch", "zero", "shear", "nan"],
)  # fmt: skip
def test_other_transforms_are_refused(linear):
    matrix = torch.eye(4)
    matrix[:3, :3] = linear
    with pytest.raises(InputError, match="rotation, one uniform positive scale"):
        rotations.split_similarity(matrix)
