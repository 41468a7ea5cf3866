"""Image files <-> tensors: photographs in, renders and depth maps out.

Read: everything Pillow opens, turned upright by its EXIF orientation, first frame of an animation, grey and palette and
CMYK made RGB. Embedded colour profiles are converted to sRGB, because phones tag Display P3 and ignoring that dulls the
colours; an unusable profile is ignored. Images of more than 100 megapixels are refused, unless they may be shrunk while
they are read.
"""

import contextlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from lyra.io.atomic import replacing_file
from lyra.scene import require
from lyra.scene.errors import InputError

MAX_MEGAPIXELS = 100
MAX_SHRUNK_MEGAPIXELS = 250  # 4 bytes a pixel while decoding, and nothing else of that size
_WRITERS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
# What Pillow and its codecs raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, OverflowError, MemoryError, IndexError, TypeError,
           KeyError, RuntimeError, Image.DecompressionBombError)  # fmt: skip


def load_image(
    source: str | os.PathLike | bytes, *, alpha: bool = False, shortest: int | None = None
) -> Float[Tensor, "c h w"]:
    """An image as [3, h, w] in [0, 1], display-referred sRGB; transparency is laid over white.

    With `alpha` the result is [4, h, w] with straight (not premultiplied) colour, opaque where the file has none. With
    `shortest` large images are shrunk by a whole factor while they are read, as far as their shorter side keeps so many
    pixels: JPEG of any size, others up to 250 megapixels.
    `source` is a path or the bytes of a file. Raises InputError on what is no image, damaged or too large.
    """
    rgba = torch.from_numpy(_read(source, shortest)).movedim(-1, 0)
    if alpha:
        return rgba if rgba.shape[0] == 4 else torch.cat([rgba, torch.ones_like(rgba[:1])])
    return rgba[:3] * rgba[3:] + (1 - rgba[3:]) if rgba.shape[0] == 4 else rgba.contiguous()


def _name(source: str | os.PathLike | bytes) -> str:
    return "the image" if isinstance(source, bytes) else str(source)


def _read(source: str | os.PathLike | bytes, shortest: int | None) -> np.ndarray:
    """An upright sRGB image [h, w, 3 or 4], float32 in [0, 1]."""
    name = _name(source)
    if not isinstance(source, bytes):
        path = Path(source)
        require(path.exists(), f"{name}: there is no such file")
        require(path.is_file(), f"{name}: is a folder, but an image file is needed")
        require(path.stat().st_size > 0, f"{name}: the file is empty")
    try:
        # Sizes are checked below, before any pixel is decoded; a bad EXIF block is worth no words.
        with warnings.catch_warnings(), any_size():
            warnings.simplefilter("ignore")
            opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            return _decode(opened, name, shortest)
    except InputError:
        raise
    except Image.UnidentifiedImageError:
        raise InputError(
            f"{name}: is not an image that can be read; convert it to PNG, JPEG or WebP (HEIC photos too)"
        ) from None
    except _DAMAGE as error:
        raise InputError(f"{name}: the image is damaged or cut short ({error}); export it again") from error


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Pillow's own limit on pixels set aside while a file is opened: `load_image` has its own, in other words."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(image: Image.Image, name: str, shortest: int | None) -> np.ndarray:
    size = f"{image.width}x{image.height}"
    if shortest is not None:
        factor = max(1, min(image.size) // shortest)
        image.draft(None, (image.width // factor, image.height // factor))  # JPEG: decodes fewer pixels
    shrinks = shortest is not None and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK", "P", "1")
    megapixels, most = image.width * image.height / 1e6, MAX_SHRUNK_MEGAPIXELS if shrinks else MAX_MEGAPIXELS
    require(
        megapixels <= most,
        f"{name}: has {megapixels:.0f} megapixels ({size}), more than the {most} that are read; make it smaller first",
    )
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if shrinks:
        image = _shrunk(image, max(1, min(image.size) // shortest))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey(np.asarray(image, dtype=np.float64), name)
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa")
    target = "RGBA" if transparent else "RGB"
    profile = image.info.get("icc_profile")
    converted = image.convert(target) if image.mode not in ("CMYK", "LAB") or not profile else image
    return np.asarray(_to_srgb(converted, profile, target), dtype=np.float32) / 255


def _shrunk(image: Image.Image, factor: int) -> Image.Image:
    """Averages of factor x factor pixels; palettes are resolved first."""
    if factor == 1:
        return image
    if image.mode in ("P", "1"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    small = image.reduce(factor)
    small.info = image.info
    return small


def _grey(values: np.ndarray, name: str) -> np.ndarray:
    """A 16-bit or floating grey image as RGB (Pillow itself would clip it to 255)."""
    finite = np.isfinite(values)
    require(bool(finite.all()), f"{name}: the image holds NaN or infinity")
    scale = 65535.0 if values.max(initial=0.0) > 1 else 1.0
    return np.repeat(np.clip(values / scale, 0, 1)[..., None].astype(np.float32), 3, -1)


def _to_srgb(image: Image.Image, profile: bytes | None, mode: str) -> Image.Image:
    """The colours of an embedded profile converted to sRGB; other images as they are."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            alpha = image.getchannel("A") if image.mode == "RGBA" else None
            colour = image.convert("RGB") if alpha is not None else image
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            result = ImageCms.profileToProfile(colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if alpha is not None:
                result.putalpha(alpha)
            return result
    return image if image.mode == mode else image.convert(mode)


def to_uint8(image: Float[Tensor, "*b"]) -> UInt8[Tensor, "*b"]:
    """Values in [0, 1] as bytes: clamped and rounded; NaN becomes 0."""
    return (image.detach().nan_to_num() * 255).round().clamp(0, 255).to(torch.uint8)


def save_image(image: Float[Tensor, "c h w"], path: str | os.PathLike, *, quality: int = 95) -> None:
    """Write [1 | 3 | 4, h, w] in [0, 1] as .png (lossless), .jpg or .webp; JPEG lays transparency over white.

    The file appears whole or not at all. Raises InputError on other suffixes and shapes.
    """
    suffix = Path(path).suffix.lower()
    require(
        suffix in _WRITERS, f"{path}: images are written as {', '.join(_WRITERS)}, not {suffix or 'without suffix'}"
    )
    require(
        image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.numel() > 0,
        f"{path}: an image must be [1, 3 or 4, height, width], got {list(image.shape)}",
    )
    if suffix in (".jpg", ".jpeg") and image.shape[0] == 4:
        image = image[:3] * image[3:] + (1 - image[3:])
    array = to_uint8(image).movedim(0, -1).cpu().numpy()
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    with replacing_file(path) as temporary:
        picture.save(temporary, format=_WRITERS[suffix], quality=quality)


def save_depth(depth: Float[Tensor, "h w"], path: str | os.PathLike, *, unit: float = 0.001) -> None:
    """Depth as a 16-bit grey PNG of `unit` world units a step (0.001: millimetres if the scene is metric).

    0 stands for unknown (not finite or not positive). Raises InputError if the depth needs more than 65535 steps.
    """
    require(Path(path).suffix.lower() == ".png", f"{path}: depth images are written as .png")
    require(unit > 0, f"the unit of a depth image must be positive, got {unit}")
    good = depth.isfinite() & (depth > 0)
    steps = torch.where(good, (depth.detach().double() / unit).round().clamp(min=1), 0.0)
    largest = float(steps.max())
    require(
        largest <= 65535,
        f"{path}: depth up to {largest * unit:g} does not fit into 16 bits at a unit of {unit:g}; use a unit of "
        f"{largest * unit / 65535:.2g} or more",
    )
    picture = Image.fromarray(steps.cpu().numpy().astype(np.uint16))
    with replacing_file(path) as temporary:
        picture.save(temporary, format="PNG")


def load_depth(
    path: str | os.PathLike, *, unit: float = 0.001
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:  # fmt: skip
    """Depth in world units and where it is known, from a 16-bit grey image (see `save_depth`)."""
    require(Path(path).is_file(), f"{path}: there is no such file")
    try:
        with Image.open(path) as picture:
            require(
                picture.width * picture.height <= MAX_MEGAPIXELS * 1e6,
                f"{path}: has more than the {MAX_MEGAPIXELS} megapixels that are read",
            )
            require(picture.mode.startswith("I"), f"{path}: is not a 16-bit grey image, so it holds no depth")
            steps = np.asarray(picture, dtype=np.int64)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path}: is not a readable depth image ({error})") from error
    depth = torch.from_numpy(steps).double() * unit
    return depth.float(), torch.from_numpy(steps > 0)


# Anchor colours from far to near: dark blue, violet, red, orange, pale yellow. Brightness rises all along.
_RAMP = ((0.05, 0.03, 0.20), (0.35, 0.10, 0.45), (0.75, 0.20, 0.35), (0.96, 0.55, 0.20), (0.99, 0.95, 0.70))


def colour_depth(
    depth: Float[Tensor, "*b h w"], valid: Bool[Tensor, "*b h w"] | None = None
) -> Float[Tensor, "*b 3 h w"]:
    """Depth as colours, near bright and far dark, unknown black.

    Disparity between its 2nd and 98th percentile over everything given is spread over the ramp, so that a video does
    not flicker.
    """
    good = depth.isfinite() & (depth > 0)
    good = good if valid is None else good & valid
    shape = (*depth.shape[:-2], 3, *depth.shape[-2:])
    if not bool(good.any()):
        return torch.zeros(shape, dtype=depth.dtype, device=depth.device)
    disparity = torch.where(good, 1 / depth.clamp_min(1e-12), 0.0)
    known = disparity[good]
    known = known[:: max(1, len(known) // 1_000_000)].sort().values  # torch.quantile takes 16 M values at most
    low, high = known[int(0.02 * (len(known) - 1))], known[int(0.98 * (len(known) - 1))]
    level = ((disparity - low) / (high - low).clamp_min(1e-12)).clamp(0, 1) * (len(_RAMP) - 1)
    left = level.floor().clamp(max=len(_RAMP) - 2).long()
    ramp = torch.tensor(_RAMP, dtype=depth.dtype, device=depth.device)
    colour = torch.lerp(ramp[left], ramp[left + 1], (level - left)[..., None])
    return (colour * good[..., None]).movedim(-1, -3)
