"""Image metrics: PSNR, SSIM and LPIPS, each checked against an independent implementation."""

from lyra.metrics.images import psnr, ssim
from lyra.metrics.lpips import LPIPS

__all__ = ["LPIPS", "psnr", "ssim"]
