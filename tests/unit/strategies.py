"""Random scene parts for property tests."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from lyra.scene import Cameras, Gaussians, rotations

seeds = st.integers(0, 2**31 - 1)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
coordinates = st.floats(-100, 100, width=32)
points3 = st.tuples(coordinates, coordinates, coordinates)
nonzero_quats = st.tuples(*[st.floats(-1, 1, width=32)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-3)


def generator(seed: int) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def random_quats(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """n uniformly distributed unit quaternions."""
    return rotations.normalize(torch.randn(n, 4, generator=generator(seed), dtype=dtype))


def random_poses(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """n rigid transforms with centres about two units from the origin."""
    centers = 2 * torch.randn(n, 3, generator=generator(seed + 1), dtype=dtype)
    return rotations.compose(rotations.quat_to_matrix(random_quats(n, seed, dtype)), centers)


def random_cameras(n: int, seed: int, width: int = 20, height: int = 14, dtype: torch.dtype = torch.float64) -> Cameras:
    """n cameras with different lenses that are neither centred nor square nor without skew."""
    u = torch.rand(n, 5, generator=generator(seed + 2), dtype=dtype)
    K = torch.zeros(n, 3, 3, dtype=dtype)
    K[:, 0, 0], K[:, 1, 1] = width * (0.5 + u[:, 0]), width * (0.5 + u[:, 1])
    K[:, 0, 2], K[:, 1, 2] = width * (0.3 + 0.4 * u[:, 2]), height * (0.3 + 0.4 * u[:, 3])
    K[:, 0, 1], K[:, 2, 2] = 0.3 * u[:, 4], 1
    return Cameras(random_poses(n, seed, dtype), K, width, height, torch.arange(n, dtype=dtype) / 24)


def random_gaussians(n: int, seed: int, degree: int = 3, dtype: torch.dtype = torch.float64) -> Gaussians:
    """n Gaussians with view-dependent colour and provenance."""
    g = generator(seed + 3)
    return Gaussians(
        torch.randn(n, 3, generator=g, dtype=dtype),
        random_quats(n, seed, dtype),
        torch.rand(n, 3, generator=g, dtype=dtype) + 0.01,
        torch.rand(n, generator=g, dtype=dtype),
        torch.randn(n, (degree + 1) ** 2, 3, generator=g, dtype=dtype) * 0.2,
        torch.rand(n, generator=g) > 0.5,
    )


def similarity(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, float]:
    """A random rotation with uniform scale and translation, and its scale."""
    scale = float(torch.rand(1, generator=generator(seed + 4))) * 3 + 0.1
    matrix = random_poses(1, seed + 5, dtype)[0]
    matrix[:3, :3] *= scale
    return matrix, scale


def construct(kind: type, **values) -> object:
    """Run the checks of a dataclass on values that the shape checker of the tests would stop first."""
    thing = object.__new__(kind)
    thing.__dict__.update(values)
    thing.__post_init__()
    return thing
