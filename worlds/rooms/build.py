"""build_room: a furnished flat of one to three rooms from a seed and a library."""

from dataclasses import dataclass, replace

import numpy as np

from worlds.captions import ROOM_WORDS, room_caption
from worlds.rooms.decor import door, picture, pictures, rug
from worlds.rooms.furnish import Furnisher, Placement
from worlds.rooms.library import Library
from worlds.rooms.light import WORDS, is_lamp, light
from worlds.rooms.plan import Plan, draw_plan
from worlds.rooms.pools import pools_of
from worlds.rooms.recipes import furnish
from worlds.rooms.shapes import place
from worlds.rooms.shell import Finish, Leaf, curtains, leaf_box, leaves, shell
from worlds.rooms.surfaces import Cover, cover, paint, tinted
from worlds.scene import Instance, Material, World

NEAR_SCALE = 2.0


@dataclass(frozen=True, eq=False)
class BuiltRoom:
    """A world with what it was made from: the plan, every room's placements, and the door leaves that can swing."""

    world: World
    plan: Plan
    placed: tuple[tuple[Placement, ...], ...]
    leaves: tuple[Leaf, ...]


def build_room(seed: int, library: Library, function: str | None = None) -> BuiltRoom:
    """A furnished flat. The same seed and library give the same world; `function` forces the first room's use.

    Empty pools of a small library only leave pieces out.
    """
    rng = np.random.default_rng([seed, 7001])
    plan = draw_plan(rng)
    if function is not None:
        plan = replace(plan, rooms=(replace(plan.rooms[0], function=function), *plan.rooms[1:]))
    trim = _trim(rng)
    finishes = _finishes(plan, library, rng)
    crowd = float(rng.uniform(0.15, 1.0))
    doors = tuple(leaves(plan, rng, trim))
    instances = shell(plan, finishes, trim)
    placed: list[list[Placement]] = []
    for index, room in enumerate(plan.rooms):
        hangings, boxes = curtains(plan, index, rng, _cloth(rng))
        furnisher = Furnisher(room, [o for o in plan.openings if o.room == index], plan.height, rng)
        furnisher.blocked += boxes + [leaf_box(leaf) for leaf in doors]
        furnish(furnisher, pools_of(library), crowd)
        pictures(furnisher, library)
        instances += [replace(i, room=ROOM_WORDS[room.function]) for i in hangings + rug(furnisher, library)]
        placed.append(furnisher.placed)
    sky_key = str(rng.choice(library.panoramas)) if library.panoramas else None
    panorama = library.panorama(sky_key) if sky_key else World("", "room", ()).sky
    lit = light(plan, placed, panorama, "night" in (sky_key or ""), rng)
    for number, pieces in enumerate(placed):
        for index, piece in enumerate(pieces):
            made = _furniture(piece, library, (number, index) in lit.lit, rng)
            instances.append(replace(made, room=ROOM_WORDS[plan.rooms[number].function]))
    doors_out = [door(plan.rooms[o.room].rect, o, library, rng) for o in plan.openings if o.kind == "door"]
    instances += [instance for instance, _ in doors_out]
    instances += [Instance(d.mesh, place(d.hinge[0], 0.0, d.hinge[1], d.open), "door") for d in doors]
    used = {piece.info.key for pieces in placed for piece in pieces if not piece.info.key.startswith("picture:")}
    used |= {key for _, key in doors_out if key} | _textures(instances) | ({sky_key} if sky_key else set())
    world = World(
        name=f"room-{seed}",
        kind="room",
        instances=tuple(instances),
        sun=lit.sun,
        lamps=lit.lamps,
        sky=lit.sky,
        spawns=_spawns(plan),
        near_scale=NEAR_SCALE,
        caption=room_caption(
            [room.function for room in plan.rooms],
            [[piece.info.label for piece in pieces if piece.host is None] for pieces in placed],
            [finish.wall.words for finish in finishes],
            [finish.floor.words for finish in finishes],
            WORDS[lit.mode],
        ),
        light=WORDS[lit.mode],
        assets=frozenset(used),
    )
    return BuiltRoom(world, plan, tuple(tuple(pieces) for pieces in placed), doors)


def _trim(rng: np.random.Generator) -> Material:
    if rng.uniform() < 0.75:
        return Material(tuple(float(v) for v in np.full(3, rng.uniform(0.6, 0.85))))
    return Material(tuple(float(v) for v in np.array([0.32, 0.18, 0.09]) * rng.uniform(0.4, 1.4)))


def _cloth(rng: np.random.Generator) -> Cover:
    return paint(rng, rng.uniform() < 0.5)


def _finishes(plan: Plan, library: Library, rng: np.random.Generator) -> list[Finish]:
    """Walls are shared by all rooms in half of the flats; floors change where a bath or a kitchen begins."""
    plain = Cover(Material((0.5, 0.4, 0.3)), 1.0, "plain")
    ceiling = Cover(Material(tuple(float(v) for v in np.full(3, rng.uniform(0.72, 0.86)))), 1.0, "white")
    floor = tinted(cover(library, "floor", rng, plain), rng)
    shared = rng.uniform() < 0.5
    wall, finishes = None, []
    for room in plan.rooms:
        if wall is None or not shared:
            wall = tinted(cover(library, "wall", rng, plain), rng) if rng.uniform() < 0.35 else paint(rng, False)
        side, accent = "", wall
        if rng.uniform() < 0.25:
            side = str(rng.choice(["-x", "+x", "-z", "+z"]))
            accent = cover(library, "wall", rng, wall) if rng.uniform() < 0.5 else paint(rng, True)
        own = floor
        if room.function in ("bath", "kitchen") and len(plan.rooms) > 1:
            own = tinted(cover(library, "floor", rng, plain), rng)
        finishes.append(Finish(wall, accent, side, own, ceiling))
    return finishes


def _spawns(plan: Plan) -> np.ndarray:
    """Eye-height points over every room's floor: the middle and four points around it."""
    points = []
    for room in plan.rooms:
        rect = room.rect
        for a, b in ((0.5, 0.5), (0.25, 0.3), (0.75, 0.3), (0.3, 0.75), (0.7, 0.7)):
            points.append((rect.x0 + a * rect.width, 1.6, rect.z0 + b * rect.depth))
    return np.array(points)


def _furniture(piece: Placement, library: Library, lit: bool, rng: np.random.Generator) -> Instance:
    """One placed piece as an instance. Some get a gentle tint; the bright parts of a lit lamp glow."""
    if piece.info.key.startswith("picture:"):
        mesh = picture(piece.info, library, rng)
    else:
        mesh = library.model(piece.info.key).mesh
    tint = (1.0, 1.0, 1.0)
    if rng.uniform() < 0.3 and not is_lamp(piece):
        tint = tuple(float(t) for t in rng.uniform(0.8, 1.0) * (1.0 - rng.uniform(0.0, 0.25, 3)))
    if lit:
        mesh = replace(mesh, materials=tuple(_glowing(m) for m in mesh.materials))
    return Instance(mesh, place(piece.x, piece.y, piece.z, piece.angle), piece.info.label, tint)


def _glowing(material: Material) -> Material:
    return replace(material, emission=1.5) if max(material.colour) > 0.6 else material


def _textures(instances: list[Instance]) -> set[str]:
    return {m.texture.key for i in instances for m in i.mesh.materials if m.texture is not None}
