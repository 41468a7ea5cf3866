"""Spherical harmonics against scipy's, as an orthonormal basis, and under rotation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import sph_harm_y
from unit.strategies import generator, random_quats, seeds

from lyra.scene import InputError, rotations, sh


def directions(n: int, seed: int) -> torch.Tensor:
    return rotations.normalize(torch.randn(n, 3, generator=generator(seed), dtype=torch.float64))


def test_basis_equals_scipy():
    """Real harmonics with the Condon-Shortley sign of scipy kept, as 3DGS does. Worst difference 3e-15."""
    d = directions(200, 0)
    x, y, z = d.numpy().T
    theta, phi = np.arccos(z), np.arctan2(y, x)
    columns = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), theta, phi)
            part = value.imag if order < 0 else value.real
            columns.append(part * (np.sqrt(2) if order else 1))
    np.testing.assert_allclose(sh.basis(d, 3).numpy(), np.stack(columns, -1), atol=1e-13)


def test_basis_is_orthonormal():
    """Exact quadrature: 8 Gauss-Legendre heights times 16 angles integrate products of degree 3."""
    heights, weights = np.polynomial.legendre.leggauss(8)
    angles = np.arange(16) * 2 * np.pi / 16
    z, a = np.meshgrid(heights, angles, indexing="ij")
    r = np.sqrt(1 - z * z)
    d = torch.from_numpy(np.stack([r * np.cos(a), r * np.sin(a), z], -1).reshape(-1, 3))
    w = torch.from_numpy(np.repeat(weights * 2 * np.pi / 16, 16))
    values = sh.basis(d, 3)
    gram = values.T @ (values * w[:, None])
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), atol=1e-12, rtol=0)


@given(seeds, st.integers(0, 3))
def test_rotated_colour_is_seen_from_the_rotated_direction(seed, degree):
    """f'(R d) = f(d); worst difference 4e-14."""
    coefficients = torch.randn(5, (degree + 1) ** 2, 3, generator=generator(seed), dtype=torch.float64)
    rotation = rotations.quat_to_matrix(random_quats(1, seed)[0])
    d = directions(5, seed)
    rotated = sh.rotate(coefficients, rotation)
    torch.testing.assert_close(
        sh.evaluate(rotated, d @ rotation.T), sh.evaluate(coefficients, d), atol=1e-11, rtol=0
    )  # fmt: skip
    torch.testing.assert_close(sh.rotate(rotated, rotation.T), coefficients, atol=1e-11, rtol=0)


@given(seeds)
def test_rotating_twice_is_rotating_by_the_product(seed):
    coefficients = torch.randn(4, 16, 3, generator=generator(seed), dtype=torch.float64)
    first, second = rotations.quat_to_matrix(random_quats(2, seed))
    twice = sh.rotate(sh.rotate(coefficients, first), second)
    torch.testing.assert_close(twice, sh.rotate(coefficients, second @ first), atol=1e-11, rtol=0)


def test_constant_colour_survives_and_negative_light_is_black():
    rgb = torch.rand(10, 3, generator=generator(1), dtype=torch.float64)
    constant = sh.rgb_to_sh(rgb)[:, None]
    torch.testing.assert_close(sh.evaluate(constant, directions(10, 2)), rgb)
    torch.testing.assert_close(sh.sh_to_rgb(constant[:, 0]), rgb)
    assert float(sh.evaluate(-10 * torch.ones(1, 1, 3), torch.tensor([[0.0, 0, 1]])).max()) == 0


@pytest.mark.parametrize("count, expected", [(1, 0), (4, 1), (9, 2), (16, 3)])
def test_degrees(count, expected):
    assert sh.degree(count) == expected


@pytest.mark.parametrize("count", [0, 2, 3, 15, 25])
def test_other_counts_are_refused(count):
    with pytest.raises(InputError, match="1, 4, 9 or 16"):
        sh.degree(count)
