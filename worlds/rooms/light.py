"""The light of a room: day, lamps or both; which panorama is behind the windows."""

from dataclasses import dataclass

import numpy as np

from worlds.rooms.furnish import Placement
from worlds.rooms.plan import Plan
from worlds.rooms.shapes import place
from worlds.rooms.shell import inward
from worlds.scene import Lamp, Sky, Sun

MODES = {"day": 0.45, "lamp": 0.25, "mix": 0.3}
WORDS = {"day": "daylight", "lamp": "lamp light in the evening", "mix": "soft daylight and lamps"}
MOST_LAMPS = 4


@dataclass(frozen=True)
class Light:
    """The sources of one flat. `lit` are (room, placement) indices of the lamps that are on."""

    mode: str
    sun: Sun | None
    sky: Sky
    lamps: tuple[Lamp, ...]
    lit: frozenset[tuple[int, int]]


def light(plan: Plan, placed: list[list[Placement]], panorama: Sky, night: bool, rng: np.random.Generator) -> Light:
    """Draw the light. The sun, when it shines, comes through a window; in the evening, and with a `night` panorama,
    the lamps are on and the panorama is dark."""
    mode = "lamp" if night else str(rng.choice(list(MODES), p=list(MODES.values())))
    glass = [o for o in plan.openings if o.kind in ("window", "french")]
    if not glass and mode == "day":
        mode = "mix"
    gain = {"day": rng.uniform(1.0, 1.8), "mix": rng.uniform(0.35, 0.9), "lamp": rng.uniform(0.01, 0.05)}[mode]
    sun = None
    if mode == "day" and rng.uniform() < 0.75 and glass:
        sun = _sun(inward(glass[int(rng.integers(len(glass)))].side), rng)
    sky = Sky(panorama.panorama, float(gain) * panorama.gain, tuple(float(gain) * a for a in panorama.ambient))
    lamps, lit = _lamps(plan, placed, rng) if mode != "day" or not glass else ((), frozenset())
    return Light(mode, sun, sky, lamps, lit)


def _sun(towards: np.ndarray, rng: np.random.Generator) -> Sun:
    azimuth = np.arctan2(towards[0], towards[2]) + np.radians(rng.uniform(-50.0, 50.0))
    height = np.radians(rng.uniform(18.0, 52.0))
    direction = (
        float(np.sin(azimuth) * np.cos(height)),
        float(-np.sin(height)),
        float(np.cos(azimuth) * np.cos(height)),
    )
    warm = 1.0 - height / np.radians(60.0)
    colour = np.array([1.0, 0.96 - 0.12 * warm, 0.9 - 0.32 * warm]) * rng.uniform(5.0, 11.0)
    return Sun(direction, tuple(float(c) for c in colour))


def _lamps(
    plan: Plan, placed: list[list[Placement]], rng: np.random.Generator
) -> tuple[tuple[Lamp, ...], frozenset[tuple[int, int]]]:
    """Ceiling lamps first (one is invented for a room without), then a few of the small ones."""
    warmth = np.array([1.0, rng.uniform(0.74, 0.92), rng.uniform(0.48, 0.82)])
    ceiling, small = [], []
    for number, (room, pieces) in enumerate(zip(plan.rooms, placed, strict=True)):
        power = 1.2 + 0.16 * room.rect.area
        hung = [(i, p) for i, p in enumerate(pieces) if is_lamp(p) and p.y > 1.2]
        if hung:
            index, piece = hung[0]
            spot = (piece.x, max(piece.y - 0.07, 1.0), piece.z)
            ceiling.append((Lamp(spot, _rgb(power * warmth)), (number, index)))
        else:
            spot = (0.5 * (room.rect.x0 + room.rect.x1), plan.height - 0.25, 0.5 * (room.rect.z0 + room.rect.z1))
            ceiling.append((Lamp(spot, _rgb(power * warmth)), None))
        for index, piece in enumerate(pieces):
            if is_lamp(piece) and piece.y <= 1.2:
                small.append((_small(piece, warmth * rng.uniform(0.5, 1.1)), (number, index)))
    drawn = list(rng.permutation(len(small)))[: max(MOST_LAMPS - len(ceiling), 0)]
    chosen = [*ceiling, *(small[i] for i in drawn)]
    return tuple(lamp for lamp, _ in chosen), frozenset(key for _, key in chosen if key is not None)


def is_lamp(piece: Placement) -> bool:
    """True for pieces of the catalogue's lights (and ceiling fans with a bulb are not)."""
    return piece.info.category.lower() == "lights"


def _small(piece: Placement, colour: np.ndarray) -> Lamp:
    matrix = place(piece.x, piece.y, piece.z, piece.angle)
    height = piece.info.size[1]
    spot = matrix[:3, 3] + np.array([0.0, height + 0.05, 0.0])
    return Lamp(tuple(float(v) for v in spot), _rgb(colour), reach=6.0)


def _rgb(colour: np.ndarray) -> tuple[float, float, float]:
    return tuple(float(c) for c in colour)
