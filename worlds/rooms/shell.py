"""The shell of a flat: walls with holes, floors, ceilings, reveals, window frames, doors, skirting boards, curtains."""

from dataclasses import dataclass

import numpy as np

from worlds.captions import ROOM_WORDS
from worlds.rooms.footprint import Footprint
from worlds.rooms.plan import FACING, INNER_WALL, OUTER_WALL, SIDES, Opening, Plan, Rect, Room
from worlds.rooms.shapes import box, curtain, merge, place, quads, sheet
from worlds.rooms.surfaces import Cover
from worlds.scene import Instance, Material, Mesh

UP = np.array([0.0, 1.0, 0.0])
SKIRTING = 0.07


@dataclass(frozen=True)
class Finish:
    """What one room is covered with; `accent` replaces the walls of side `accent_side`."""

    wall: Cover
    accent: Cover
    accent_side: str
    floor: Cover
    ceiling: Cover


@dataclass(frozen=True, eq=False)
class Leaf:
    """A door leaf between two rooms: its mesh hangs from the hinge at the origin, along +x; `hinge` m on the floor,
    `closed` and `open` are angles (rad) around y."""

    mesh: Mesh
    hinge: tuple[float, float]
    closed: float
    open: float


def inward(side: str) -> np.ndarray:
    """The unit vector from a wall into the room."""
    return np.array([np.sin(FACING[side]), 0.0, np.cos(FACING[side])])


def shell(plan: Plan, finishes: list[Finish], trim: Material) -> list[Instance]:
    """The static shell as instances labelled "pale blue wall", "oak floor", "ceiling", "window", "trim", of each room
    its own; "wall" alone is what the outside shows."""
    parts: dict[tuple[str, str], list[Mesh]] = {}

    def add(label: str, room: str, *meshes: Mesh) -> None:
        parts.setdefault((label, room), []).extend(meshes)

    outside = Material((0.45, 0.42, 0.38))
    for index, (room, finish) in enumerate(zip(plan.rooms, finishes, strict=True)):
        name = ROOM_WORDS[room.function]
        add(f"{finish.floor.words} floor", name, _slab(room, finish.floor, 0.0, True))
        add("ceiling", name, _slab(room, finish.ceiling, plan.height, False))
        for side in SIDES:
            openings = [o for o in plan.openings if o.room == index and o.side == side]
            holes = [(o.u0, o.u1, o.v0, o.v1) for o in openings]
            start, along, length = room.rect.wall(side)
            covered = finish.accent if side == finish.accent_side else finish.wall
            size = (length, plan.height)
            sheets = sheet(start, along, UP, size, holes, covered.material, covered.metres)
            add(f"{covered.words} wall", name, sheets)
            add("trim", name, *_skirting(room.rect, side, openings, trim))
            for opening in openings:
                label = "trim" if opening.kind in ("doorway", "door") else "window"
                add(label, name, *_opening(room.rect, opening, trim))
            if side in room.outer:
                add("wall", "", _skin(start, along, length, plan.height, side, holes, outside))
    return [Instance(merge(meshes), np.eye(4), label, room=room) for (label, room), meshes in parts.items() if meshes]


def _skin(start, along, length: float, height: float, side: str, holes: list, material: Material) -> Mesh:
    """The outer face of an outer wall, 0.4 m larger all around so that the sun finds no seam."""
    over = 0.4
    origin = start + along * (length + over) - OUTER_WALL * inward(side) - over * UP
    mirrored = [(length - h[1] + over, length - h[0] + over, h[2] + over, h[3] + over) for h in holes]
    return sheet(origin, -along, UP, (length + 2 * over, height + 2 * over), mirrored, material)


def _slab(room: Room, cover: Cover, y: float, upwards: bool) -> Mesh:
    """Floor or ceiling. It runs under outer walls (no sun at the seams) and meets its neighbour under inner walls."""
    grow = {side: 0.4 if side in room.outer else 0.5 * INNER_WALL for side in SIDES}
    x0, x1 = room.rect.x0 - grow["-x"], room.rect.x1 + grow["+x"]
    z0, z1 = room.rect.z0 - grow["-z"], room.rect.z1 + grow["+z"]
    ring = [(x0, z1), (x1, z1), (x1, z0), (x0, z0)] if upwards else [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]
    corners = np.array([[(x, y, z) for x, z in ring]])
    return quads(corners, corners[..., [0, 2]] / cover.metres, cover.material)


def _skirting(rect: Rect, side: str, openings: list[Opening], trim: Material) -> list[Mesh]:
    start, along, length = rect.wall(side)
    cuts = [0.0]
    for opening in sorted((o for o in openings if o.v0 < SKIRTING), key=lambda o: o.u0):
        cuts += [opening.u0 - 0.06, opening.u1 + 0.06]
    cuts.append(length)
    boards = []
    for low, high in zip(cuts[::2], cuts[1::2], strict=True):
        if high - low > 0.05:
            centre = start + along * 0.5 * (low + high) + inward(side) * 0.006 + UP * 0.5 * SKIRTING
            boards.append(_along(centre, side, (high - low, SKIRTING, 0.012), trim))
    return boards


def _along(centre: np.ndarray, side: str, size: tuple[float, float, float], material: Material) -> Mesh:
    """A box with `size` along the wall, up and across it."""
    wide = size if side[1] == "z" else (size[2], size[1], size[0])
    return box(tuple(centre), wide, material)


def _opening(rect: Rect, opening: Opening, trim: Material) -> list[Mesh]:
    """Reveals around a hole, and what stands in it: frame and bars, or a panel behind a door."""
    start, along, _ = rect.wall(opening.side)
    normal = inward(opening.side)
    doorway = opening.kind == "doorway"
    depth = 0.5 * INNER_WALL if doorway else OUTER_WALL
    left, right = start + along * opening.u0, start + along * opening.u1
    low, high = UP * opening.v0, UP * opening.v1
    back = -normal * depth
    faces = [
        [left + low, left + high, left + high + back, left + low + back],
        [right + high, right + low, right + low + back, right + high + back],
        [left + high, right + high, right + high + back, left + high + back],
    ]
    if opening.v0 > 0.0:
        faces.append([right + low, left + low, left + low + back, right + low + back])
    corners = np.array(faces)
    parts = [quads(corners, np.zeros((len(faces), 4, 2)), trim)]
    middle = 0.5 * (left + right) + 0.5 * (low + high)
    width, height = opening.u1 - opening.u0, opening.v1 - opening.v0
    if doorway:
        return parts + _casing(middle + 0.006 * normal, opening, along, trim)
    if opening.kind == "door":
        panel = Material((0.2, 0.19, 0.18))
        return [*parts, _along(middle - 0.22 * normal, opening.side, (width, height, 0.02), panel)]
    bar = 0.055
    plane = middle - 0.12 * normal
    for sign in (-1.0, 1.0):
        side_bar = plane + sign * along * 0.5 * (width - bar)
        parts.append(_along(side_bar, opening.side, (bar, height, 0.06), trim))
        parts.append(_along(plane + sign * UP * 0.5 * (height - bar), opening.side, (width, bar, 0.06), trim))
    if width > 0.75:
        parts.append(_along(plane, opening.side, (0.07, height, 0.05), trim))
    if opening.kind == "window":
        sill = middle - UP * (0.5 * height + 0.015) + normal * 0.035
        parts.append(_along(sill, opening.side, (width + 0.12, 0.03, 0.11), trim))
    return parts


def _casing(middle: np.ndarray, opening: Opening, along: np.ndarray, trim: Material) -> list[Mesh]:
    width, height = opening.u1 - opening.u0, opening.v1 - opening.v0
    parts = [
        _along(middle + s * along * (0.5 * width + 0.03), opening.side, (0.06, height, 0.012), trim) for s in (-1, 1)
    ]
    top = middle + UP * (0.5 * height + 0.03)
    return [*parts, _along(top, opening.side, (width + 0.12, 0.06, 0.012), trim)]


def leaves(plan: Plan, rng: np.random.Generator, paint: Material) -> list[Leaf]:
    """A leaf for every narrow doorway, hung on the side of the first of its two rooms and opened into it."""
    found = []
    for opening in plan.openings:
        if opening.kind != "doorway" or opening.u1 - opening.u0 > 1.05 or opening.side not in ("+x", "+z"):
            continue
        if rng.uniform() < 0.3:
            continue
        width, height = opening.u1 - opening.u0 - 0.02, opening.v1 - 0.012
        panel = box((0.5 * width, 0.5 * height + 0.006, 0.0), (width, height, 0.04), paint)
        metal = Material((0.5, 0.5, 0.5))
        handles = [box((width - 0.08, 1.0, s * 0.045), (0.12, 0.02, 0.05), metal) for s in (-1, 1)]
        start, along, _ = plan.rooms[opening.room].rect.wall(opening.side)
        hinge = start + along * (opening.u0 + 0.01) + inward(opening.side) * 0.025
        # Local +x runs along the wall when closed; opening swings it into the room.
        closed = float(np.arctan2(-along[2], along[0]))
        swing = float(rng.uniform(np.radians(75.0), np.radians(110.0)))
        sign = 1.0 if np.dot(_turned(closed + 0.1), inward(opening.side)) > 0.0 else -1.0
        mesh = merge([panel, *handles])
        found.append(Leaf(mesh, (float(hinge[0]), float(hinge[2])), closed, closed + sign * swing))
    return found


def _turned(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), 0.0, -np.sin(angle)])


def leaf_box(leaf: Leaf, width: float = 1.0) -> Footprint:
    """The floor that the whole swing of a leaf needs, as one box (a quarter circle's square)."""
    middle = 0.5 * (leaf.closed + leaf.open)
    centre = np.array([leaf.hinge[0], 0.0, leaf.hinge[1]]) + 0.5 * width * _turned(middle)
    return Footprint(float(centre[0]), float(centre[2]), 0.55 * width, 0.5 * width, float(middle), 0.0, 2.1)


def curtains(plan: Plan, index: int, rng: np.random.Generator, cloth: Cover) -> tuple[list[Instance], list[Footprint]]:
    """Curtains beside some windows of room `index`, and the space they take."""
    instances, boxes = [], []
    rect = plan.rooms[index].rect
    for opening in plan.openings:
        if opening.room != index or opening.kind not in ("window", "french") or rng.uniform() < 0.55:
            continue
        start, along, length = rect.wall(opening.side)
        top = min(opening.v1 + 0.14, plan.height - 0.03)
        bottom = 0.02 if opening.kind == "french" or rng.uniform() < 0.6 else max(opening.v0 - 0.15, 0.02)
        width = min(0.42, 0.3 * (opening.u1 - opening.u0) + 0.08)
        for edge, sign in ((opening.u0, -1.0), (opening.u1, 1.0)):
            spot = edge + sign * (0.5 * width - 0.16)
            if spot - 0.5 * width < 0.02 or spot + 0.5 * width > length - 0.02:
                continue
            centre = start + along * spot + inward(opening.side) * 0.11
            angle = FACING[opening.side]
            mesh = curtain(width, top - bottom, cloth.material)
            instances.append(Instance(mesh, place(centre[0], bottom, centre[2], angle), f"{cloth.words} curtain"))
            boxes.append(Footprint(centre[0], centre[2], 0.5 * width, 0.06, angle, bottom, top))
    return instances, boxes
