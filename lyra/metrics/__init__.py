"""Metrics: PSNR, SSIM and LPIPS of images (also within a mask), FVD features, Frechet distance, camera poses of images.

Each is checked against an independent implementation or a closed form.
"""

from lyra.metrics.frechet import frechet_distance
from lyra.metrics.i3d import I3D
from lyra.metrics.images import masked_mean, masked_psnr, masked_ssim, psnr, ssim
from lyra.metrics.lpips import LPIPS

__all__ = ["I3D", "LPIPS", "frechet_distance", "masked_mean", "masked_psnr", "masked_ssim", "psnr", "ssim"]
