"""What one would do without a generative model: fill the holes of warped views. Baselines, not part of the product."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lyra.scene import InputError, require

_ROWS = 32  # image rows handled at a time, which bounds the memory
TELEA_RADIUS = 3.0  # pixels


def fill_nearest(images: Float[Tensor, "n 3 h w"], mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """Every hole gets the colour of the nearest valid pixel (exact Euclidean distance); valid pixels stay."""
    require(bool(mask.flatten(1).any(1).all()), "a view without any valid pixel cannot be filled")
    filled = []
    for image, valid in zip(images, mask, strict=True):
        row, column = nearest_valid(valid)
        filled.append(image[:, row, column])
    return torch.stack(filled)


def nearest_valid(valid: Bool[Tensor, "h w"]) -> tuple[Int64[Tensor, "h w"], Int64[Tensor, "h w"]]:
    """Row and column of the valid pixel nearest to each pixel: first within every column, then along the rows."""
    height, width = valid.shape
    rows = torch.arange(height, dtype=torch.int32, device=valid.device)[:, None].expand(height, width)
    never = 4 * (height + width)
    above = torch.where(valid, rows, -never).cummax(0).values
    below = torch.where(valid, rows, never).flip(0).cummin(0).values.flip(0)
    nearest = torch.where(rows - above <= below - rows, above, below)
    vertical = (nearest - rows).square()
    columns = torch.arange(width, dtype=torch.int32, device=valid.device)
    horizontal = (columns[:, None] - columns[None]).square()
    parts = [(vertical[i : i + _ROWS, None] + horizontal).argmin(-1) for i in range(0, height, _ROWS)]
    column = torch.cat(parts)
    return nearest.gather(1, column).long(), column


def fill_telea(images: Float[Tensor, "n 3 h w"], mask: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    """OpenCV's inpainting by fast marching (Telea 2004), radius 3 pixels, on values in [0, 1] as 8-bit colours."""
    try:
        import cv2
    except ImportError as error:
        raise InputError('this baseline needs OpenCV; install it with `pip install "lyra-3d[eval]"`') from error
    filled = []
    for image, valid in zip(images, mask, strict=True):
        picture = (image.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1).cpu().numpy()
        holes = (~valid).to(torch.uint8).cpu().numpy()
        done = cv2.inpaint(np.ascontiguousarray(picture), holes, TELEA_RADIUS, cv2.INPAINT_TELEA)
        filled.append(torch.from_numpy(done).movedim(-1, 0).to(images) / 255)
    return torch.stack(filled)
