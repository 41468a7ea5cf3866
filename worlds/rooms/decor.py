"""What makes a room lived in: framed pictures, rugs, the door to the outside."""

import numpy as np

from worlds.rooms.builtin import CREDIT
from worlds.rooms.footprint import Footprint
from worlds.rooms.furnish import Furnisher
from worlds.rooms.library import Library, Surface
from worlds.rooms.plan import FACING, Opening, Rect
from worlds.rooms.shapes import box, merge, place, quads
from worlds.rooms.shell import inward
from worlds.rooms.surfaces import textured
from worlds.scene import Instance, Material, Mesh
from worlds.sources.furniture import FurnitureInfo


def door(rect: Rect, opening: Opening, library: Library, rng: np.random.Generator) -> tuple[Instance, str]:
    """A closed door in its hole and its key: a model of the library stretched to fit, or a plain panel (key "")."""
    start, along, _ = rect.wall(opening.side)
    doors = [i for i in library.furniture if i.door_or_window and 0.75 < i.size[0] < 1.1 and 1.9 < i.size[1] < 2.2]
    middle = start + along * 0.5 * (opening.u0 + opening.u1)
    width, height = opening.u1 - opening.u0, opening.v1 - opening.v0
    if doors:
        info = doors[int(rng.integers(len(doors)))]
        spot = middle - 0.07 * inward(opening.side)
        stretch = np.diag([width / info.size[0], height / info.size[1], 1.0, 1.0])
        matrix = place(spot[0], 0.0, spot[2], FACING[opening.side]) @ stretch
        return Instance(library.model(info.key).mesh, matrix, "door"), info.key
    spot = middle - 0.06 * inward(opening.side)
    panel = box((0.0, 0.5 * height, 0.0), (width, height, 0.05), Material((0.5, 0.36, 0.22)))
    knob = box((0.5 * width - 0.09, 1.0, 0.05), (0.11, 0.02, 0.06), Material((0.6, 0.6, 0.6)))
    return Instance(merge([panel, knob]), place(spot[0], 0.0, spot[2], FACING[opening.side]), "door"), ""


def pictures(room: Furnisher, library: Library) -> None:
    """Hang one to four framed pictures (and posters) on free wall."""
    art = library.role("picture")
    if not art or room.room.function == "bath":
        return
    for _ in range(int(room.rng.integers(1, 5))):
        surface = art[int(room.rng.integers(len(art)))]
        height, width = library.texture(surface.key).rgba.shape[:2]
        longer = surface.metres * room.rng.uniform(0.7, 1.2)
        size = (float(longer * width / max(width, height)), float(longer * height / max(width, height)), 0.03)
        info = _picture_info(surface, size)
        middle = room.rng.uniform(1.45, 1.7)
        room.against_wall(info, y=float(np.clip(middle - 0.5 * size[1], 0.9, room.height - size[1] - 0.1)))


def _picture_info(surface: Surface, size: tuple[float, float, float]) -> FurnitureInfo:
    return FurnitureInfo(
        key=f"picture:{surface.key}",
        name="Picture",
        label="picture",
        category="picture",
        size=size,
        elevation=1.2,
        drop_on_top=None,
        door_or_window=False,
        movable=True,
        lights=(),
        triangles=24,
        credit=CREDIT,
    )


def picture(info: FurnitureInfo, library: Library, rng: np.random.Generator) -> Mesh:
    """A framed picture with its back at the wall: the placement leaves the gap of the skirting, the frame closes it."""
    width, height, depth = info.size
    border = float(rng.choice([0.015, 0.03, 0.05]))
    tone = float(rng.choice([0.02, 0.05, 0.75])) if rng.uniform() < 0.6 else None
    frame = Material((tone,) * 3) if tone is not None else Material((0.3, 0.17, 0.07))
    back = box((0.0, 0.5 * height, -0.012), (width, height, depth + 0.02), frame)
    w, h, z = 0.5 * width - border, 0.5 * height - border, 0.5 * depth + 0.001
    corners = np.array([[(-w, -h, z), (w, -h, z), (w, h, z), (-w, h, z)]]) + np.array([0.0, 0.5 * height, 0.0])
    uvs = np.array([[(0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]])
    canvas = Material((0.9, 0.9, 0.9), library.texture(info.key.removeprefix("picture:")))
    return merge([back, quads(corners, uvs, canvas)])


def rug(room: Furnisher, library: Library) -> list[Instance]:
    """A rug under the table, beside the bed or in the middle; it lies flat, so furniture may stand on it."""
    rugs = library.role("rug")
    if not rugs or room.rng.uniform() < 0.35 or room.room.function in ("bath", "kitchen"):
        return []
    surface = rugs[int(room.rng.integers(len(rugs)))]
    chosen = textured(library, surface)
    height, width = chosen.material.texture.rgba.shape[:2]
    anchors = [p for p in room.placed if p.y == 0.0 and p.info.size[1] < 1.1 and p.info.size[0] * p.info.size[2] > 0.4]
    rect = room.room.rect
    x, z, angle = 0.5 * (rect.x0 + rect.x1), 0.5 * (rect.z0 + rect.z1), float(room.rng.choice([0.0, np.pi / 2]))
    if anchors and room.rng.uniform() < 0.75:
        chosen_anchor = anchors[int(room.rng.integers(len(anchors)))]
        x, z, angle = chosen_anchor.x, chosen_anchor.z, chosen_anchor.angle
    longer = float(np.clip(surface.metres, 1.4, 2.6) * room.rng.uniform(0.85, 1.15))
    w, d = 0.5 * longer * width / max(width, height), 0.5 * longer * height / max(width, height)
    for _ in range(8):
        if Footprint(x, z, w, d, angle, 0.0, 0.01).inside(rect.x0, rect.z0, rect.x1, rect.z1):
            break
        x, z = 0.8 * x + 0.1 * (rect.x0 + rect.x1), 0.8 * z + 0.1 * (rect.z0 + rect.z1)
    else:
        return []
    ring = [(-w, d), (w, d), (w, -d), (-w, -d)]
    corners = np.array([[(a, 0.008, b) for a, b in ring]])
    uvs = np.array([[(0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]])
    edge = box((0.0, 0.0035, 0.0), (2 * w, 0.007, 2 * d), Material((0.25, 0.2, 0.16)))
    words = f"{surface.words} rug" if surface.words and "rug" not in surface.words else surface.words or "rug"
    return [Instance(merge([edge, quads(corners, uvs, chosen.material)]), place(x, 0.0, z, angle), words)]
