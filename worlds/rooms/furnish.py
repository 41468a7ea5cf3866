"""Placing furniture in one room: against walls, in front of, beside or on top of other pieces, never overlapping."""

from dataclasses import dataclass

import numpy as np

from worlds.rooms.footprint import Footprint
from worlds.rooms.plan import FACING, SIDES, Opening, Room
from worlds.sources.furniture import FurnitureInfo

TRIES = 16
MARGIN = 0.02  # gap to walls, m: skirting boards are 0.015 m thick


@dataclass(frozen=True)
class Placement:
    """One placed piece: where it stands (x, y, z of its underside's centre, m), its angle around y and its box.

    `host` is the index of the placement it stands on, None if it stands on the floor or hangs.
    """

    info: FurnitureInfo
    x: float
    y: float
    z: float
    angle: float
    box: Footprint
    host: int | None = None


def keep_outs(room: Room, openings: list[Opening]) -> list[Footprint]:
    """Floor space that openings need: doors 0.95 m deep, French windows 0.6 m, windows a shallow strip."""
    boxes = []
    for opening in openings:
        start, along, _ = room.rect.wall(opening.side)
        deep = {"window": 0.2, "french": 0.6}.get(opening.kind, 0.95)
        middle = start + along * 0.5 * (opening.u0 + opening.u1)
        inward = np.array([np.sin(FACING[opening.side]), 0.0, np.cos(FACING[opening.side])])
        centre = middle + 0.5 * deep * inward
        half = 0.5 * (opening.u1 - opening.u0) + 0.05
        boxes.append(
            Footprint(centre[0], centre[2], half, 0.5 * deep, FACING[opening.side], opening.v0, opening.v1 + 0.1)
        )
    return boxes


class Furnisher:
    """Fills one room. Every method returns the new placement's index, or None if there was no room for it."""

    def __init__(self, room: Room, openings: list[Opening], height: float, rng: np.random.Generator) -> None:
        self.room = room
        self.height = height
        self.rng = rng
        self.placed: list[Placement] = []
        self.blocked = keep_outs(room, openings)

    def pick(self, pool: tuple[FurnitureInfo, ...]) -> FurnitureInfo | None:
        """A random member of a pool, rather one that the room does not have yet; None if the pool is empty."""
        info = None
        for _ in range(3 if pool else 0):
            info = pool[int(self.rng.integers(len(pool)))]
            if not any(piece.info is info for piece in self.placed):
                break
        return info

    def against_wall(
        self, info: FurnitureInfo, sides: tuple[str, ...] = SIDES, y: float = 0.0, corner: bool = False
    ) -> int | None:
        """With its back to a wall; `corner` prefers the ends of the walls."""
        for _ in range(TRIES):
            side = str(self.rng.choice(list(sides)))
            length = self.room.rect.wall(side)[2]
            reach = 0.5 * info.size[0] + MARGIN
            if length < 2.0 * reach:
                continue
            along = self.rng.uniform(reach, length - reach)
            if corner:
                along = reach if self.rng.uniform() < 0.5 else length - reach
            index = self.at_wall(info, side, along, y)
            if index is not None:
                return index
        return None

    def at_wall(self, info: FurnitureInfo, side: str, along: float, y: float = 0.0) -> int | None:
        """With its back to the wall `side`, its centre `along` m from the wall's start."""
        start, direction, _ = self.room.rect.wall(side)
        angle = FACING[side]
        inward = np.array([np.sin(angle), 0.0, np.cos(angle)])
        spot = start + direction * along + inward * (0.5 * info.size[2] + MARGIN)
        return self.try_at(info, float(spot[0]), float(spot[2]), angle, y)

    def anywhere(self, info: FurnitureInfo, angle: float | None = None) -> int | None:
        """On the open floor, at least 0.5 m from the walls where the room allows it."""
        rect = self.room.rect
        for _ in range(TRIES):
            turn = float(self.rng.choice([0.0, 0.5, 1.0, 1.5]) * np.pi) if angle is None else angle
            half = 0.5 * max(info.size[0], info.size[2])
            margin = min(0.6 + half, 0.45 * rect.width, 0.45 * rect.depth)
            x = self.rng.uniform(rect.x0 + margin, rect.x1 - margin)
            z = self.rng.uniform(rect.z0 + margin, rect.z1 - margin)
            index = self.try_at(info, x, z, turn)
            if index is not None:
                return index
        return None

    def relative(
        self, info: FurnitureInfo, anchor: int, right: float, front: float, turn: float, jitter: float = 0.0
    ) -> int | None:
        """At an offset (m) in the axes of a placed piece, turned by `turn` to it (pi faces it)."""
        base = self.placed[anchor]
        for attempt in range(4):
            scale = jitter * (1.0 if attempt else 0.5)
            dx, dz = right + self.rng.normal(0.0, scale), front + self.rng.normal(0.0, scale)
            cos, sin = np.cos(base.angle), np.sin(base.angle)
            x, z = base.x + cos * dx + sin * dz, base.z - sin * dx + cos * dz
            index = self.try_at(info, x, z, base.angle + turn + self.rng.normal(0.0, 1.5 * scale))
            if index is not None:
                return index
        return None

    def in_front(self, info: FurnitureInfo, anchor: int, gap: float) -> int | None:
        """Facing a placed piece, `gap` m in front of it."""
        reach = 0.5 * (self.placed[anchor].info.size[2] + info.size[2]) + gap
        return self.relative(info, anchor, 0.0, reach, np.pi, 0.05)

    def beside(self, info: FurnitureInfo, anchor: int, sign: float, gap: float = 0.08) -> int | None:
        """Beside a placed piece, backs aligned; sign +1 is its right as seen from behind."""
        size = self.placed[anchor].info.size
        right = sign * (0.5 * (size[0] + info.size[0]) + gap)
        return self.relative(info, anchor, right, 0.5 * (info.size[2] - size[2]), 0.0)

    def on_top(self, info: FurnitureInfo, host: int, back: bool = False) -> int | None:
        """On a placed piece; `back` puts it near the rear edge in the middle (screens, televisions)."""
        base = self.placed[host]
        if base.info.drop_on_top is None:
            return None
        free_x = 0.5 * (base.info.size[0] - info.size[0]) - 0.02
        free_z = 0.5 * (base.info.size[2] - info.size[2]) - 0.02
        if free_x < 0.0 or free_z < 0.0:
            return None
        for _ in range(5):
            dx = self.rng.uniform(-0.3, 0.3) * free_x if back else self.rng.uniform(-free_x, free_x)
            dz = -0.7 * free_z if back else self.rng.uniform(-free_z, free_z)
            turn = self.rng.normal(0.0, 0.05 if back else 0.3)
            cos, sin = np.cos(base.angle), np.sin(base.angle)
            x, z = base.x + cos * dx + sin * dz, base.z - sin * dx + cos * dz
            index = self.try_at(info, x, z, base.angle + turn, base.y + base.info.drop_on_top, host)
            if index is not None:
                return index
        return None

    def from_ceiling(self, info: FurnitureInfo, x: float, z: float) -> int | None:
        """Hanging from the ceiling."""
        return self.try_at(info, x, z, 0.0, self.height - info.size[1])

    def try_at(
        self, info: FurnitureInfo, x: float, z: float, angle: float, y: float = 0.0, host: int | None = None
    ) -> int | None:
        """Place a piece if it stands inside the room, under the ceiling and overlaps nothing but its host."""
        half = (0.5 * info.size[0], 0.5 * info.size[2])
        box = Footprint(x, z, *half, angle, y, y + info.size[1])
        rect = self.room.rect
        if box.y1 > self.height + 1e-3 or not box.inside(rect.x0, rect.z0, rect.x1, rect.z1):
            return None
        # Small things on a host may stand in front of a window; furniture on the floor may not block an opening.
        if host is None and any(box.overlaps(other) for other in self.blocked):
            return None
        if any(box.overlaps(piece.box, 1e-4) for i, piece in enumerate(self.placed) if i != host):
            return None
        self.placed.append(Placement(info, x, y, z, angle, box, host))
        return len(self.placed) - 1
