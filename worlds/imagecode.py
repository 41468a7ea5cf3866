"""Textures as WebP and panoramas as 12-bit log radiance: the image payloads of packs."""

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from worlds.streams import StreamReader, StreamWriter, compress, decompress

_DARKEST, _STOPS = -10.0, 20.0  # log2 radiance of panoramas: 2**-10 .. 2**10, steps of 0.3 %


def encode_texture(rgba: np.ndarray, longest: int, quality: int) -> bytes:
    """WebP of an image scaled down to `longest`. Transparent texels take the nearest opaque colour, so that
    filtering draws no dark rims around leaves."""
    image = Image.fromarray(rgba)
    opaque = bool((rgba[..., 3] >= 250).all())
    if opaque:
        image = image.convert("RGB")
    scale = longest / max(image.size)
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    if not opaque:
        from scipy import ndimage  # the reader does without

        pixels = np.array(image)
        visible = pixels[..., 3] >= 64
        if visible.any() and not visible.all():
            nearest = ndimage.distance_transform_edt(~visible, return_distances=False, return_indices=True)
            pixels[..., :3] = pixels[nearest[0], nearest[1], :3]
        image = Image.fromarray(pixels)
    out = BytesIO()
    image.save(out, "WEBP", quality=quality, method=6, exact=not opaque)
    return out.getvalue()


def encode_panorama(radiance: np.ndarray) -> bytes:
    """log2 radiance in 12 bits a channel (0 stands for black), as differences along the rows, in two byte planes."""
    log = np.log2(np.maximum(np.nan_to_num(radiance, posinf=2.0 ** (_DARKEST + _STOPS)), 2.0**_DARKEST))
    codes = np.rint(np.clip((log - _DARKEST) / _STOPS, 0, 1) * 4095).astype(np.int64)
    writer = StreamWriter()
    height, width = codes.shape[:2]
    writer.deltas(codes.transpose(1, 0, 2).reshape(width, height * 3))
    return struct.pack("<HH", height, width) + compress(writer.data)


def decode_panorama(payload: bytes) -> np.ndarray:
    height, width = struct.unpack_from("<HH", payload)
    data = decompress(payload[4:])
    codes = StreamReader(data).deltas([width, height * 3, len(data) // (width * height * 3)])
    codes = codes.reshape(width, height, 3).transpose(1, 0, 2)
    radiance = np.exp2(codes.astype(np.float32) / 4095 * _STOPS + _DARKEST)
    return np.where(codes == 0, 0, radiance).astype(np.float32)


def ambient(panorama: np.ndarray) -> tuple[float, float, float]:
    """Mean radiance weighted by the cosine to straight up: the irradiance of an up-facing surface over pi."""
    height = len(panorama)
    polar = (np.arange(height) + 0.5) / height * np.pi
    weights = np.sin(polar) * np.maximum(np.cos(polar), 0)
    mean = (panorama.mean(axis=1) * weights[:, None]).sum(axis=0) / weights.sum()
    return tuple(float(v) for v in mean)
