"""Floor plans: one to three rooms in a rectangle, doorways between them, windows and a door to the outside."""

from dataclasses import dataclass

import numpy as np

OUTER_WALL = 0.26
INNER_WALL = 0.12
SIDES = ("-x", "+x", "-z", "+z")
# Angle around y that turns the front (+z) of a piece with its back on that wall into the room.
FACING = {"-z": 0.0, "+z": np.pi, "-x": 0.5 * np.pi, "+x": -0.5 * np.pi}
FUNCTIONS = {"living": 0.27, "bedroom": 0.2, "office": 0.14, "kitchen": 0.13, "dining": 0.1, "bath": 0.06, "mixed": 0.1}


@dataclass(frozen=True)
class Rect:
    """An axis-aligned rectangle on the floor, metres."""

    x0: float
    z0: float
    x1: float
    z1: float

    @property
    def width(self) -> float:
        """Size along x, m."""
        return self.x1 - self.x0

    @property
    def depth(self) -> float:
        """Size along z, m."""
        return self.z1 - self.z0

    @property
    def area(self) -> float:
        """Square metres."""
        return self.width * self.depth

    def wall(self, side: str) -> tuple[np.ndarray, np.ndarray, float]:
        """(start corner [3], unit direction [3], length) of a wall; direction x up points into the room."""
        start, along = {
            "-z": ((self.x0, 0.0, self.z0), (1.0, 0.0, 0.0)),
            "+x": ((self.x1, 0.0, self.z0), (0.0, 0.0, 1.0)),
            "+z": ((self.x1, 0.0, self.z1), (-1.0, 0.0, 0.0)),
            "-x": ((self.x0, 0.0, self.z1), (0.0, 0.0, -1.0)),
        }[side]
        return np.array(start), np.array(along), self.width if side[1] == "z" else self.depth


@dataclass(frozen=True)
class Opening:
    """A hole in the wall `side` of room `room`: [u0, u1] m along the wall from its start, [v0, v1] m up.

    kind: "window", "french" (a glazed door), "door" (closed, to the outside) or "doorway" (to another room).
    """

    room: int
    side: str
    kind: str
    u0: float
    u1: float
    v0: float
    v1: float


@dataclass(frozen=True)
class Room:
    """One room: its floor, what it is for, and the sides that face the outside."""

    rect: Rect
    function: str
    outer: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Rooms under one ceiling of `height` m, with all openings."""

    rooms: tuple[Room, ...]
    openings: tuple[Opening, ...]
    height: float


def draw_plan(rng: np.random.Generator) -> Plan:
    """A floor plan from a random generator: 60 % one room, 25 % two, 15 % three."""
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    width, depth = {
        1: (rng.uniform(3.6, 7.2), rng.uniform(3.6, 7.2)),
        2: (rng.uniform(7.0, 10.0), rng.uniform(3.6, 6.0)),
        3: (rng.uniform(8.5, 11.5), rng.uniform(5.8, 7.5)),
    }[count]
    height = float(rng.uniform(2.45, 3.2))
    rects = [Rect(-0.5 * width, -0.5 * depth, 0.5 * width, 0.5 * depth)]
    while len(rects) < count:
        rects.sort(key=lambda r: -r.area)
        rects = [*_split(rects[0], rng), *rects[1:]]
    names, shares = list(FUNCTIONS), np.array(list(FUNCTIONS.values()))
    drawn: list[str] = []
    for rect in rects:
        fits = shares * np.array([name not in drawn and _fits(name, rect) for name in names])
        drawn.append(str(rng.choice(names, p=fits / fits.sum())))
    outline = (-0.5 * width, 0.5 * width, -0.5 * depth, 0.5 * depth)
    rooms = tuple(Room(rect, name, _outer(rect, outline)) for rect, name in zip(rects, drawn, strict=True))
    openings = _doorways(rooms, rng)
    for index, room in enumerate(rooms):
        openings += _outside(index, room, height, openings, rng)
    return Plan(rooms, tuple(openings), height)


def _fits(function: str, rect: Rect) -> bool:
    return rect.area < 16.0 if function == "bath" else rect.area > 8.0


def _split(rect: Rect, rng: np.random.Generator) -> tuple[Rect, Rect]:
    share, half = rng.uniform(0.42, 0.58), 0.5 * INNER_WALL
    if rect.width >= rect.depth:
        cut = rect.x0 + share * rect.width
        return Rect(rect.x0, rect.z0, cut - half, rect.z1), Rect(cut + half, rect.z0, rect.x1, rect.z1)
    cut = rect.z0 + share * rect.depth
    return Rect(rect.x0, rect.z0, rect.x1, cut - half), Rect(rect.x0, cut + half, rect.x1, rect.z1)


def _outer(rect: Rect, outline: tuple[float, float, float, float]) -> tuple[str, ...]:
    gaps = (rect.x0 - outline[0], outline[1] - rect.x1, rect.z0 - outline[2], outline[3] - rect.z1)
    return tuple(side for side, gap in zip(SIDES, gaps, strict=True) if gap < 1e-6)


def _doorways(rooms: tuple[Room, ...], rng: np.random.Generator) -> list[Opening]:
    """One doorway for every pair of rooms that share at least 1.5 m of wall; each is cut into both rooms' walls."""
    found: list[Opening] = []
    for i, a in enumerate(rooms):
        for j, b in enumerate(rooms):
            for near, far, gap, low, high in (
                ("+x", "-x", b.rect.x0 - a.rect.x1, max(a.rect.z0, b.rect.z0), min(a.rect.z1, b.rect.z1)),
                ("+z", "-z", b.rect.z0 - a.rect.z1, max(a.rect.x0, b.rect.x0), min(a.rect.x1, b.rect.x1)),
            ):
                if i == j or abs(gap - INNER_WALL) > 1e-6 or high - low < 1.5:
                    continue
                arch = rng.uniform() < 0.45
                width = min(rng.uniform(1.2, 2.2) if arch else rng.uniform(0.84, 1.0), high - low - 0.5)
                middle = rng.uniform(low + 0.25 + 0.5 * width, high - 0.25 - 0.5 * width)
                top = rng.uniform(2.1, 2.3) if arch else 2.05
                for index, side in ((i, near), (j, far)):
                    start, along, _ = rooms[index].rect.wall(side)
                    centre = float((middle - start[2 if near == "+x" else 0]) * along[2 if near == "+x" else 0])
                    found.append(
                        Opening(index, side, "doorway", centre - 0.5 * width, centre + 0.5 * width, 0.0, float(top))
                    )
    return found


def _outside(index: int, room: Room, height: float, taken: list[Opening], rng: np.random.Generator) -> list[Opening]:
    """Windows on one or two outer walls, and a closed door where the room has no other way in."""
    sides = list(rng.permutation(list(room.outer)))
    opened: list[Opening] = []
    for side in sides[: int(rng.integers(1, 3))]:
        length = room.rect.wall(str(side))[2]
        french = rng.uniform() < 0.25 and room.function != "bath"
        panes = 1 if french or length < 3.6 else int(rng.integers(1, 3))
        sill = 0.04 if french else rng.uniform(0.5, 1.05) if room.function != "kitchen" else 1.15
        top = min(rng.uniform(2.0, 2.35), height - 0.25)
        width = min(rng.uniform(1.5, 2.6) if french else rng.uniform(0.9, 1.9), (length - 0.9) / panes - 0.2)
        if room.function == "bath":
            width, sill = min(width, 0.8), 1.3
        for pane in range(panes):
            middle = length * (pane + 0.5) / panes + rng.uniform(-0.5, 0.5) * max(length / panes - width - 0.8, 0.0)
            kind = "french" if french else "window"
            opened.append(Opening(index, str(side), kind, middle - width / 2, middle + width / 2, sill, float(top)))
    closed = [s for s in SIDES if not any(o.side == s for o in opened if o.room == index)]
    reachable = any(o.room == index for o in taken)
    if not reachable and closed:
        side = str(rng.choice(closed))
        length = room.rect.wall(side)[2]
        middle = rng.uniform(0.75, length - 0.75)
        opened.append(Opening(index, side, "door", middle - 0.45, middle + 0.45, 0.0, 2.06))
    return opened
