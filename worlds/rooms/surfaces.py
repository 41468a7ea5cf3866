"""Paints and coverings of walls, floors, ceilings and trim."""

import colorsys
from dataclasses import dataclass

import numpy as np

from worlds.captions import colour_word
from worlds.rooms.library import Library, Surface
from worlds.scene import Material


@dataclass(frozen=True)
class Cover:
    """A material, the size of one texture repeat in metres, and words for the caption ("white", "brick")."""

    material: Material
    metres: float
    words: str


def linear(srgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """Linear RGB of an sRGB colour in [0, 1]."""
    c = np.asarray(srgb, np.float64)
    return tuple(float(v) for v in np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))


def paint(rng: np.random.Generator, accent: bool) -> Cover:
    """A wall paint: mostly off-whites, greys and pale tones; accents are stronger, yet never garish."""
    hue = float(rng.choice([0.08, 0.1, 0.12, 0.3, 0.45, 0.55, 0.6, 0.65, 0.95]) + rng.normal(0.0, 0.02)) % 1.0
    if accent:
        saturation, value = rng.uniform(0.15, 0.5), rng.uniform(0.35, 0.8)
    elif rng.uniform() < 0.65:
        saturation, value = rng.uniform(0.0, 0.1), rng.uniform(0.8, 0.96)
    else:
        saturation, value = rng.uniform(0.06, 0.28), rng.uniform(0.65, 0.92)
    rgb = colorsys.hsv_to_rgb(hue, float(saturation), float(value))
    return Cover(Material(linear(rgb)), 1.0, colour_word(rgb))


def cover(library: Library, role: str, rng: np.random.Generator, fallback: Cover) -> Cover:
    """A random textured surface of the library for `role`, or the fallback if it has none."""
    surfaces = library.role(role)
    if not surfaces:
        return fallback
    return textured(library, surfaces[int(rng.integers(len(surfaces)))])


def textured(library: Library, surface: Surface) -> Cover:
    """The cover of one texture of the library."""
    return Cover(Material((1.0, 1.0, 1.0), library.texture(surface.key)), surface.metres, surface.words)


def tinted(cover: Cover, rng: np.random.Generator) -> Cover:
    """The same texture, a little darker or of another tone."""
    tone = rng.uniform(0.75, 1.0) * (1.0 - rng.uniform(0.0, 0.12, 3))
    material = cover.material
    return Cover(Material(tuple(float(t) for t in tone), material.texture), cover.metres, cover.words)
