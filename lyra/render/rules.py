"""The rules of splatting that every backend follows: those of gsplat 1.5.3 in its `classic` pinhole mode.

Pixel (column j, row i) is evaluated at its centre (j + 0.5, i + 0.5). A Gaussian of opacity o adds
alpha = min(MAX_ALPHA, o exp(-sigma)), sigma = d^T Sigma_2d^-1 d / 2, front to back in the order of its depth (rounded
to float32; equal depths keep their order in the scene). Kerbl et al. 2023, Eq. 3; Zwicker et al. 2001 for Sigma_2d.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

BLUR = 0.3  # px^2 added to both variances of Sigma_2d: a splat never falls between pixel centres
MIN_ALPHA = 1 / 255  # fainter contributions are skipped: they would not change an 8-bit image
MAX_ALPHA = 0.999  # keeps 1 - alpha, by which the backward pass divides, away from zero
MIN_TRANSMITTANCE = 1e-4  # the Gaussian that would leave this or less ends the pixel and is itself dropped
FRUSTUM_MARGIN = 0.15  # of the image size: beyond it the Jacobian is frozen, where its linear model has broken down
MAX_SIGMAS = 3.33  # half width of the box of an opaque splat, just above sqrt(2 ln 255), where alpha = MIN_ALPHA
EMPTY_ALPHA = 1e-10  # floor of alpha in expected depth = accumulated depth / alpha


@dataclass(frozen=True, eq=False)
class View:
    """One pinhole camera as the rasterisers take it: w2c [4, 4], K [3, 3] in pixels, image size, depth limits."""

    w2c: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]
    width: int
    height: int
    near: float
    far: float
