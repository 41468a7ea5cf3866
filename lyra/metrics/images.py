"""PSNR and SSIM of images in [0, 1]."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_K1, _K2, _SIGMA, SSIM_BORDER = 0.01, 0.03, 1.5, 5  # Wang et al. 2004: Gaussian window 11 x 11


def psnr(image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Peak signal-to-noise ratio in dB of each image, values in [0, 1] (clamped first); infinite if equal."""
    error = (image.double().clamp(0, 1) - target.double().clamp(0, 1)).square().mean((-3, -2, -1))
    return (-10 * error.log10()).float()


def ssim(image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b"]:
    """Structural similarity of each image, mean over channels and all windows inside the image (Wang et al. 2004).

    Values in [0, 1], sides at least 11 pixels. The same as scikit-image with gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False.
    """
    return ssim_windows(image, target).mean((-2, -1)).float()


def masked_psnr(
    image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"], mask: Bool[Tensor, "*b h w"]
) -> Float[Tensor, "*b"]:
    """PSNR in dB over the pixels of a mask; NaN where the mask is empty."""
    error = (image.double().clamp(0, 1) - target.double().clamp(0, 1)).square().mean(-3)
    return (-10 * masked_mean(error, mask).log10()).float()


def masked_ssim(
    image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"], mask: Bool[Tensor, "*b h w"]
) -> Float[Tensor, "*b"]:
    """SSIM averaged over the windows whose centre lies in a mask; NaN if there is none.

    Windows are those of `ssim`; they also see pixels outside the mask, up to 5 away from it.
    """
    return masked_mean(
        ssim_windows(image, target), mask[..., SSIM_BORDER:-SSIM_BORDER, SSIM_BORDER:-SSIM_BORDER]
    ).float()


def masked_mean(values: Float[Tensor, "*b h w"], mask: Bool[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """Mean over the pixels of each mask; NaN where it is empty."""
    return torch.where(mask, values, 0).sum((-2, -1)) / mask.sum((-2, -1))


def ssim_windows(image: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b h2 w2"]:
    """The score of every window inside the image, mean over channels: SSIM_BORDER pixels less on every side."""
    shape = image.shape
    a, b = (x.reshape(-1, 1, *shape[-2:]).double().clamp(0, 1) for x in (image, target))
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    cov = _window(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    score = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score.reshape(*shape[:-2], *score.shape[-2:]).mean(-3)


def _window(x: Tensor) -> Tensor:
    """Means under the Gaussian window, where it fits."""
    offsets = torch.arange(-SSIM_BORDER, SSIM_BORDER + 1, dtype=x.dtype, device=x.device)
    kernel = (-0.5 * (offsets / _SIGMA) ** 2).exp()
    kernel = kernel / kernel.sum()
    return functional.conv2d(functional.conv2d(x, kernel[None, None, :, None]), kernel[None, None, None, :])
