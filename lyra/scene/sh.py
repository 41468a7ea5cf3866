"""Real spherical harmonics of degree 0 to 3, in the order and with the signs of the 3DGS files.

Basis functions: Kerbl et al. 2023 (3D Gaussian Splatting), which follows Sloan 2008.
Colour = max(0, 0.5 + sum_k sh_k Y_k(d)).
"""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene.errors import require

C0 = 0.28209479177387814  # 1 / (2 sqrt(pi))
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    -0.4570457994644658, 1.445305721320277, -0.5900435899266435,
)  # fmt: skip


def degree(num_coefficients: int) -> int:
    """SH degree of 1, 4, 9 or 16 coefficients."""
    sizes = {1: 0, 4: 1, 9: 2, 16: 3}
    require(
        num_coefficients in sizes,
        f"spherical harmonics need 1, 4, 9 or 16 coefficients a colour, got {num_coefficients}",
    )
    return sizes[num_coefficients]


def rgb_to_sh(rgb: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Degree-0 coefficient of a colour in [0, 1]."""
    return (rgb - 0.5) / C0


def sh_to_rgb(sh: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Colour of a degree-0 coefficient (not clamped)."""
    return sh * C0 + 0.5


def basis(directions: Float[Tensor, "*b 3"], max_degree: int) -> Float[Tensor, "*b k"]:
    """All basis functions up to `max_degree` at unit directions, k = (max_degree + 1)^2."""
    x, y, z = directions.unbind(-1)
    terms = [torch.full_like(x, C0)]
    if max_degree >= 1:
        terms += [-_C1 * y, _C1 * z, -_C1 * x]
    if max_degree >= 2:
        terms += [
            _C2[0] * x * y, _C2[1] * y * z, _C2[2] * (2 * z * z - x * x - y * y), _C2[3] * x * z,
            _C2[4] * (x * x - y * y),
        ]  # fmt: skip
    if max_degree >= 3:
        terms += [
            _C3[0] * y * (3 * x * x - y * y), _C3[1] * x * y * z, _C3[2] * y * (4 * z * z - x * x - y * y),
            _C3[3] * z * (2 * z * z - 3 * x * x - 3 * y * y), _C3[4] * x * (4 * z * z - x * x - y * y),
            _C3[5] * z * (x * x - y * y), _C3[6] * x * (x * x - 3 * y * y),
        ]  # fmt: skip
    return torch.stack(terms, -1)


def evaluate(sh: Float[Tensor, "*b k 3"], directions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Colours seen along unit world directions (from the camera to the Gaussian), clamped at 0 as 3DGS does."""
    weights = basis(directions, degree(sh.shape[-2]))
    return ((weights[..., None, :] @ sh).squeeze(-2) + 0.5).clamp_min(0)


@functools.cache
def _fit() -> tuple[Tensor, Tensor]:
    """Sample directions and the pseudo-inverse of the degree-3 basis there (float64)."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 3, generator=generator, dtype=torch.float64), dim=-1)
    return directions, torch.linalg.pinv(basis(directions, 3))


def rotate(sh: Float[Tensor, "n k 3"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "n k 3"]:
    """Coefficients of the same colour function after the scene is rotated by `rotation`.

    f'(d) = f(R^T d). The basis is closed under rotation, so fitting f' at more directions than coefficients is exact.
    """
    k = sh.shape[-2]
    directions, inverse = _fit()
    rotated = basis(directions @ rotation.detach().double().cpu(), 3)  # rows are R^T d
    matrix = (inverse @ rotated)[:k, :k].to(sh)
    return torch.einsum("kl,nlc->nkc", matrix, sh)
