"""Images brought to another size together with the cameras that took them."""

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import Cameras, require

Image = Float[Tensor, "*b c h w"]
Fitted = Float[Tensor, "*b c {height} {width}"]


def resample(image: Image, height: int, width: int, *, nearest: bool = False) -> Fitted:
    """Resample to height x width: bilinear with antialiasing, or `nearest` for depth and masks."""
    require(height >= 1 and width >= 1, f"an image must be at least 1x1 pixel, got {width}x{height}")
    batch = image.reshape(-1, *image.shape[-3:])
    if nearest:
        result = torch.nn.functional.interpolate(batch, (height, width), mode="nearest")
    else:
        result = torch.nn.functional.interpolate(
            batch, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
    return result.reshape(*image.shape[:-2], height, width)


def resize(image: Image, cameras: Cameras, height: int, width: int, *, nearest: bool = False) -> tuple[Fitted, Cameras]:
    """Stretch to height x width."""
    _check(image, cameras)
    return resample(image, height, width, nearest=nearest), cameras.resize(height, width)


def cover(image: Image, cameras: Cameras, height: int, width: int, *, nearest: bool = False) -> tuple[Fitted, Cameras]:
    """Fill height x width: the largest centred window of that shape, resampled. Nothing is stretched."""
    _check(image, cameras)
    top, left, h, w = cover_window(cameras.height, cameras.width, height, width)
    cropped = image[..., top : top + h, left : left + w]
    return resample(cropped, height, width, nearest=nearest), cameras.crop(top, left, h, w).resize(height, width)


def cover_window(height: int, width: int, to_height: int, to_width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest centred window with the shape of to_height x to_width."""
    w = min(width, max(1, round(height * to_width / to_height)))
    h = min(height, max(1, round(width * to_height / to_width)))
    return (height - h) // 2, (width - w) // 2, h, w


def letterbox(
    image: Image, cameras: Cameras, height: int, width: int, *, value: float = 0.0, nearest: bool = False
) -> tuple[Fitted, Cameras]:
    """Fit all of the image into height x width and fill the borders with `value`. Nothing is cut off."""
    _check(image, cameras)
    factor = min(height / cameras.height, width / cameras.width)
    h, w = max(1, round(cameras.height * factor)), max(1, round(cameras.width * factor))
    h, w = min(h, height), min(w, width)
    top, left = (height - h) // 2, (width - w) // 2
    inner = resample(image, h, w, nearest=nearest)
    padded = torch.nn.functional.pad(inner, (left, width - w - left, top, height - h - top), value=value)
    return padded, cameras.resize(h, w).pad(top, left, height, width)


def _check(image: Tensor, cameras: Cameras) -> None:
    require(
        tuple(image.shape[-2:]) == (cameras.height, cameras.width),
        f"the image is {image.shape[-1]}x{image.shape[-2]} pixels but its camera {cameras.width}x{cameras.height}",
    )
