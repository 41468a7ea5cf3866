"""PSNR and SSIM of images in [0, 1]."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_K1, _K2, _SIGMA, _RADIUS = 0.01, 0.03, 1.5, 5  # Wang et al. 2004: Gaussian window 11 x 11


def psnr(image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB of each image, values in [0, 1] (clamped first); infinite if equal."""
    error = (image.double().clamp(0, 1) - target.double().clamp(0, 1)).square().mean((-3, -2, -1))
    return (-10 * error.log10()).float()


def ssim(image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Structural similarity of each image, mean over channels and all windows inside the image (Wang et al. 2004).

    Values in [0, 1], sides at least 11 pixels. The same as scikit-image with gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False.
    """
    shape = image.shape
    a, b = (x.reshape(-1, 1, *shape[-2:]).double().clamp(0, 1) for x in (image, target))
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    cov = _window(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    score = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.mean((-3, -2, -1)).reshape(shape[:-2]).mean(-1).float()


def _window(x: Tensor) -> Tensor:
    """Means under the Gaussian window, where it fits."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=x.dtype, device=x.device)
    kernel = (-0.5 * (offsets / _SIGMA) ** 2).exp()
    kernel = kernel / kernel.sum()
    return functional.conv2d(functional.conv2d(x, kernel[None, None, :, None]), kernel[None, None, None, :])
