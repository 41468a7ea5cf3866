"""A photograph at the size of the model: read, turned upright, cropped about its centre to cover, shrunk."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lyra.io.images import any_size, load_image
from lyra.scene import require

SMALLEST = 64  # pixels of the shorter side; less than that is no photograph
_ORIENTATION = 0x0112  # the EXIF tag; values from 5 on exchange width and height
_CROPPED = 0.7  # below this share of the picture its owner should know


@dataclass(frozen=True, eq=False)
class Photo:
    """The image [3, h, w] in [0, 1] as the model sees it, what it came from, and what its owner should know."""

    image: Float[Tensor, "3 h w"]
    name: str
    full_size: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what the model sees."""
        shape = str(tuple(self.image.shape)).encode()
        return hashlib.sha256(shape + self.image.contiguous().numpy().tobytes()).hexdigest()


def read_photo(source: str | os.PathLike | bytes | Tensor, width: int, height: int) -> Photo:
    """A file, its bytes, or a tensor [3, h, w] in [0, 1] as a `Photo` of width x height pixels.

    Raises InputError for everything that is not a readable picture of at least 64 pixels a side.
    """
    name, notes = "image", []
    if isinstance(source, Tensor):
        picture = _checked(source)
    else:
        name = name if isinstance(source, bytes) else Path(source).name
        picture = load_image(source, shortest=2 * max(width, height))
    tall, wide = picture.shape[1:]
    if not isinstance(source, Tensor):
        (wide, tall), moves = _facts(source)
        notes += ["it is an animation, and the first frame is taken"] if moves else []
    require(
        min(tall, wide) >= SMALLEST,
        f"{name}: is {wide}x{tall} pixels, but a picture of at least {SMALLEST} pixels a side is needed",
    )
    image, share = cover(picture, width, height)
    if share < _CROPPED:
        turned = f"; --size {height}x{width} keeps more" if (tall > wide) != (height > width) else ""
        notes.append(f"{share:.0%} of the picture, its middle, fits into {width}x{height}{turned}")
    return Photo(image, name, (wide, tall), tuple(notes))


def cover(picture: Float[Tensor, "3 h w"], width: int, height: int) -> tuple[Float[Tensor, "3 h2 w2"], float]:
    """The largest middle part with the asked aspect ratio, resampled to width x height, and its share of the area."""
    tall, wide = picture.shape[1:]
    scale = min(wide / width, tall / height)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (tall - rows) // 2, (wide - columns) // 2
    part = picture[None, :, top : top + rows, left : left + columns]
    if (rows, columns) != (height, width):
        part = functional.interpolate(part, (height, width), mode="bicubic", antialias=True)
    return part[0].clamp(0, 1).contiguous(), rows * columns / (tall * wide)


def _checked(image: Tensor) -> Float[Tensor, "3 h w"]:
    require(
        image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point(),
        f"an image must be a tensor [3, height, width] of numbers in [0, 1], got {image.dtype} {list(image.shape)}",
    )
    image = image.detach().float().cpu()
    good = bool(image.isfinite().all()) and float(image.amin()) >= -1e-3 and float(image.amax()) <= 1.001
    require(good, "an image must hold numbers in [0, 1]; divide bytes by 255 first")
    return image


def _facts(source: str | os.PathLike | bytes) -> tuple[tuple[int, int], bool]:
    """Width and height of a readable file, upright, and whether it moves (some cameras only store a preview behind)."""
    with any_size(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        turned = file.getexif().get(_ORIENTATION, 1) >= 5
        moves = file.format in ("GIF", "PNG", "WEBP") and getattr(file, "n_frames", 1) > 1
        return (file.size[::-1] if turned else file.size), moves
