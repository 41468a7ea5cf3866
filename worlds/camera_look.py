"""The photographic look of a clip: white balance, tone, vignetting, softness, sensor noise and JPEG.

One `Look` holds for a whole clip; only the noise differs from frame to frame. Depth is never touched.
The ranges are meant to cover phone and consumer cameras without making clean footage rare.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from worlds.errors import WorldsError

NEUTRAL_KELVIN = 6500.0
NOISE_SLACK = 128  # px; noise is cut from a field this much larger than the frame
LUMA = np.asarray([0.2126, 0.7152, 0.0722], np.float32)
_CURVE_STEPS = 4096


@dataclass(frozen=True)
class Look:
    """`mean_luma` (sRGB-coded) is what the renderer exposes for; the rest is what `apply` does.

    `white` linear RGB gains; `contrast` 1 = as rendered, about mid grey; `lift` black level; `saturation` 1 = as
    rendered; `vignette` light lost in the corners (0-1); `blur` standard deviation px; `shot` and `read` noise
    (variance = shot * light + read^2, linear light, white = 1); `quality` JPEG, 0 = no JPEG; `seed` of the noise.
    """

    mean_luma: float = 0.44
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    lift: float = 0.0
    saturation: float = 1.0
    vignette: float = 0.0
    blur: float = 0.0
    shot: float = 0.0
    read: float = 0.0
    quality: int = 0
    seed: int = 0


def blackbody(kelvin: float) -> np.ndarray:
    """Linear sRGB f64 [3] of a black body (1667 to 25000 K), luma 1: Kim's cubic fit of the Planckian locus
    (US patent 7024034, 2002) and the sRGB primaries."""
    t = 1e3 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 2222:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = np.asarray([x / y, 1.0, (1 - x - y) / y])
    to_rgb = np.asarray(
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    rgb = np.maximum(to_rgb @ xyz, 0.02)
    return rgb / (rgb @ LUMA)


def white_gains(kelvin: float, adaptation: float, tint: float) -> np.ndarray:
    """Gains f64 [3], luma 1, of light of `kelvin` seen by a camera that corrected the share `adaptation` of it;
    `tint` > 0 is greener."""
    gains = (blackbody(kelvin) / blackbody(NEUTRAL_KELVIN)) ** (1 - adaptation) * np.asarray([1.0, 1.0 + tint, 1.0])
    return gains / (gains @ LUMA)


def draw_look(rng: np.random.Generator) -> Look:
    """A look for one clip: 2800-9000 K of which 50-100 % is corrected, mild tone changes, JPEG 60-95."""
    kelvin = float(np.exp(rng.uniform(np.log(2800), np.log(9000))))
    white = white_gains(kelvin, float(rng.uniform(0.5, 1.0)), float(rng.normal(0, 0.02)))
    iso = float(np.exp(rng.uniform(np.log(1.0), np.log(24.0))))  # times the noise of a phone in daylight
    return Look(
        mean_luma=float(rng.uniform(0.36, 0.54)),
        white=tuple(float(g) for g in white),
        contrast=float(rng.uniform(0.85, 1.2)),
        lift=float(max(0.0, rng.normal(0, 0.015))),
        saturation=float(rng.uniform(0.7, 1.15)),
        vignette=float(rng.uniform(0.0, 0.35)) if rng.uniform() < 0.6 else 0.0,
        blur=float(rng.uniform(0.2, 0.65)) if rng.uniform() < 0.5 else 0.0,
        shot=6e-5 * iso,
        read=8e-4 * iso**0.5,
        quality=int(rng.integers(60, 96)),
        seed=int(rng.integers(2**31)),
    )


def _decode(coded: np.ndarray) -> np.ndarray:
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def _encode(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def _tone_table(look: Look) -> np.ndarray:
    """uint8 output for the square root of linear light in [0, 1]: sRGB, an S-curve about mid grey, the black level."""
    coded = _encode(np.linspace(0, 1, _CURVE_STEPS) ** 2)
    low = 0.5 * (2 * coded) ** look.contrast
    high = 1 - 0.5 * (2 * (1 - coded)) ** look.contrast
    curved = np.where(coded < 0.5, low, high)
    return np.rint(255 * np.clip(look.lift + (1 - look.lift) * curved, 0, 1)).astype(np.uint8)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """A three-tap Gaussian along both axes, edges repeated."""
    side = np.float32(np.exp(-0.5 / sigma**2))
    side, middle = side / (1 + 2 * side), 1 / (1 + 2 * side)
    for axis in (0, 1):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        p = np.pad(image, pad, mode="edge")
        before, after = (p[:-2], p[2:]) if axis == 0 else (p[:, :-2], p[:, 2:])
        image = middle * image + side * (before + after)
    return image


def _falloff(height: int, width: int, vignette: float) -> np.ndarray:
    y, x = (np.arange(n, dtype=np.float32) + 0.5 - n / 2 for n in (height, width))
    r2 = (y[:, None] ** 2 + x[None] ** 2) / ((height / 2) ** 2 + (width / 2) ** 2)
    return (1 - np.float32(vignette) * r2)[..., None]


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    data = BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=quality)
    data.seek(0)
    return np.asarray(Image.open(data))


def apply(frames: np.ndarray, look: Look) -> np.ndarray:
    """The clip as the camera would have stored it: uint8 [t, h, w, 3] from uint8 sRGB or float linear light [0, 1]."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype.kind not in "uf":
        raise WorldsError(f"a clip must be uint8 or float [t, h, w, 3], not {frames.dtype} {list(frames.shape)}")
    rng = np.random.default_rng(look.seed)
    noisy = look.shot > 0 or look.read > 0
    height, width = frames.shape[1:3]
    field = rng.standard_normal((height + NOISE_SLACK, width + NOISE_SLACK, 3), np.float32) if noisy else None
    white, falloff = np.asarray(look.white, np.float32), _falloff(height, width, look.vignette)
    linear_of = _decode(np.arange(256) / 255).astype(np.float32)
    table = _tone_table(look)
    saturation = np.float32(look.saturation)
    out = np.empty(frames.shape, np.uint8)
    for k, frame in enumerate(frames):
        light = linear_of[frame] if frame.dtype == np.uint8 else np.maximum(frame, 0).astype(np.float32)
        light = light * (white * falloff)
        if look.blur > 0.15:
            light = _blurred(light, look.blur)
        if field is not None:
            y, x = rng.integers(NOISE_SLACK + 1, size=2)
            deviation = np.sqrt(np.float32(look.shot) * light + np.float32(look.read**2))
            light += deviation * field[y : y + height, x : x + width]
        grey = LUMA[0] * light[..., 0] + LUMA[1] * light[..., 1] + LUMA[2] * light[..., 2]
        light = light * saturation + (1 - saturation) * grey[..., None]
        steps = (np.sqrt(np.clip(light, 0, 1)) * (_CURVE_STEPS - 1) + 0.5).astype(np.int32)
        out[k] = table[steps]
        if look.quality:
            out[k] = _jpeg(out[k], look.quality)
    return out
