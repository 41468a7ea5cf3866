"""What belongs in a room: one recipe a function, from large to small."""

from collections.abc import Callable

import numpy as np

from worlds.rooms.furnish import Furnisher
from worlds.sources.furniture import FurnitureInfo

Pools = dict[str, tuple[FurnitureInfo, ...]]
SURFACES_SMALL = {"kitchen": "small_kitchen", "dining": "small_kitchen", "office": "small_desk", "bath": "small_bath"}
SEATS = (
    "sofa",
    "chair",
    "couch",
    "stool",
    "bench",
    "puff",
    "ottoman",
    "toilet",
    "bath",
    "basin",
    "bed",
    "crib",
    "futon",
    "sink",
    "fridge",
)


def furnish(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Fill a room by its function; `crowd` in [0, 1] sets how full it gets."""
    RECIPES[room.room.function](room, pools, crowd)
    extras(room, pools, crowd)
    lamps(room, pools)
    clutter(room, pools, crowd)


def living(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Sofa, coffee table, television across, armchairs, shelves."""
    sofa = _wall(room, pools["sofa"])
    if sofa is not None:
        table = _front(room, pools["coffee"], sofa, room.rng.uniform(0.35, 0.5))
        for sign in (-1.0, 1.0):
            chair = room.pick(pools["armchair"])
            if chair is not None and table is not None and room.rng.uniform() < 0.4 + 0.4 * crowd:
                reach = 0.5 * room.placed[table].info.size[0] + 0.5 * chair.size[2] + room.rng.uniform(0.3, 0.6)
                room.relative(chair, table, sign * reach, 0.0, -sign * np.pi / 2.0, 0.08)
        if room.rng.uniform() < 0.5:
            _beside(room, pools["nightstand"], sofa)
        opposite = {0.0: "+z", np.pi: "-z", 0.5 * np.pi: "+x", -0.5 * np.pi: "-x"}[room.placed[sofa].angle]
        stand = _wall(room, pools["tv_stand"], (opposite,))
        screen = room.pick(pools["tv"])
        if stand is not None and screen is not None:
            room.on_top(screen, stand, back=True)
    _some(room, pools["bookcase"], 1 + 2 * crowd)
    _some(room, pools["low"], 1.5 * crowd)


def bedroom(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Bed with night tables and lamps, wardrobe, chest, perhaps a desk."""
    child = room.rng.uniform() < 0.15 and bool(pools["odd_bed"])
    bed = _wall(room, pools["odd_bed"] if child else pools["bed"])
    if bed is not None:
        kind = room.pick(pools["nightstand"])
        for sign in (-1.0, 1.0):
            if kind is not None and room.rng.uniform() < 0.75:
                stand = room.beside(kind, bed, sign)
                lamp = room.pick(pools["table_lamp"])
                if stand is not None and lamp is not None and room.rng.uniform() < 0.7:
                    room.on_top(lamp, stand)
    _some(room, pools["wardrobe"], 1.0 + crowd)
    _some(room, pools["dressing"], 0.5 + crowd)
    _some(room, pools["low"], 0.6 + crowd)
    if room.rng.uniform() < 0.35:
        workplace(room, pools)
    _some(room, pools["armchair"], 0.5)


def workplace(room: Furnisher, pools: Pools) -> None:
    """A desk at a wall with a chair and a screen."""
    desk = _wall(room, pools["desk"])
    if desk is None:
        return
    chair = room.pick(pools["office_chair"])
    if chair is not None:
        reach = 0.5 * (room.placed[desk].info.size[2] + chair.size[2]) + room.rng.uniform(0.02, 0.3)
        room.relative(chair, desk, room.rng.uniform(-0.15, 0.15), reach, np.pi + room.rng.normal(0.0, 0.25), 0.03)
    screen = room.pick(pools["screen"])
    if screen is not None:
        room.on_top(screen, desk, back=True)


def office(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Desks with chairs, shelves, office things."""
    for _ in range(1 + int(room.rng.uniform() < 0.3 + 0.5 * crowd) + int(room.rng.uniform() < 0.4 * crowd)):
        workplace(room, pools)
    _some(room, pools["bookcase"], 1.5 + crowd)
    _some(room, pools["low"], 0.5 + crowd)
    _some(room, pools["office_misc"], 1.0 + crowd)
    if room.rng.uniform() < 0.35:
        eating(room, pools, "table", "chair")


def kitchen(room: Furnisher, pools: Pools, crowd: float) -> None:
    """A row of counters with upper cabinets, a fridge, a table or an island."""
    sides = list(room.rng.permutation(["-x", "+x", "-z", "+z"]))
    for side in sides[: 1 + int(room.rng.uniform() < 0.5)]:
        counter_row(room, pools, str(side), crowd)
    fridge = room.pick(pools["fridge"])
    if fridge is not None:
        room.against_wall(fridge, corner=True)
    island = room.pick(pools["island"])
    if island is not None and room.rng.uniform() < 0.3:
        room.anywhere(island)
    elif room.rng.uniform() < 0.25 and pools["bar"]:
        eating(room, pools, "bar", "bar_stool")
    else:
        eating(room, pools, "table", "chair")


def counter_row(room: Furnisher, pools: Pools, side: str, crowd: float) -> None:
    """Counters side by side along one wall, of one maker where possible, with cabinets over them."""
    first = room.pick(pools["counter"])
    if first is None:
        return
    maker = first.key.rsplit("/", 1)[0]
    family = tuple(info for info in pools["counter"] if info.key.startswith(maker))
    uppers = tuple(info for info in pools["upper"] if info.key.startswith(maker)) or pools["upper"]
    length = room.room.rect.wall(side)[2]
    spot, end = 0.02, length * room.rng.uniform(0.6, 1.0)
    upper_spot = spot + room.rng.uniform(0.0, 0.6)
    hung = room.rng.uniform() < 0.75
    while spot < end - 0.4:
        had = {p.info.key for p in room.placed if "cabinet" not in p.info.name.lower()}
        piece = room.pick(tuple(info for info in family if info.key not in had))
        if piece is None:
            break
        index = room.at_wall(piece, side, spot + 0.5 * piece.size[0])
        spot += piece.size[0] + 0.003 if index is not None else 0.25
    while hung and upper_spot < end - 0.4:
        piece = room.pick(uppers)
        if piece is None:
            break
        index = room.at_wall(piece, side, upper_spot + 0.5 * piece.size[0], max(piece.elevation, 1.4))
        upper_spot += piece.size[0] + 0.003 if index is not None else 0.25


def dining(room: Furnisher, pools: Pools, crowd: float) -> None:
    """A table with chairs, sideboards, a cabinet."""
    eating(room, pools, "table", "chair")
    _some(room, pools["low"], 1.0 + crowd)
    _some(room, pools["bookcase"], 0.6 + crowd)
    _some(room, pools["armchair"], 0.7 * crowd)


def eating(room: Furnisher, pools: Pools, table_pool: str, chair_pool: str) -> None:
    """A table on the open floor with chairs of one kind around it."""
    table, chair = room.pick(pools[table_pool]), room.pick(pools[chair_pool])
    index = room.anywhere(table) if table is not None else None
    if index is None or chair is None:
        return
    width, _, depth = table.size
    long_seats = max(1, int(width / (chair.size[0] + 0.12)))
    for sign in (-1.0, 1.0):
        for seat in range(long_seats):
            if room.rng.uniform() < 0.88:
                right = (seat + 0.5) / long_seats * width - 0.5 * width
                # Seats slide under the top a little in life; boxes may not overlap, so they stand just clear of it.
                front = sign * (0.5 * (depth + chair.size[2]) + room.rng.uniform(0.01, 0.12))
                room.relative(chair, index, right, front, np.pi if sign > 0 else 0.0, 0.02)
        if room.rng.uniform() < 0.6:
            right = sign * (0.5 * (width + chair.size[2]) + room.rng.uniform(0.01, 0.12))
            room.relative(chair, index, right, 0.0, -sign * np.pi / 2.0, 0.02)


def bath(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Bath or shower, basin, toilet, a few things."""
    tub = room.pick(pools["bath"])
    if tub is not None:
        room.against_wall(tub, corner=True)
    for pool in ("basin", "toilet"):
        piece = room.pick(pools[pool])
        if piece is not None:
            room.against_wall(piece, y=piece.elevation if piece.elevation > 0.25 else 0.0)
    _some(room, pools["toilet"], 0.6)
    _some(room, pools["bath_misc"], 1.0 + 2.0 * crowd)


def mixed(room: Furnisher, pools: Pools, crowd: float) -> None:
    """A studio: sitting, and eating or working or sleeping."""
    living(room, pools, 0.4 * crowd)
    {0: eating_corner, 1: workplace, 2: sleeping_corner}[int(room.rng.integers(3))](room, pools)
    _some(room, pools["low"], crowd)


def eating_corner(room: Furnisher, pools: Pools) -> None:
    """A table with chairs."""
    eating(room, pools, "table", "chair")


def sleeping_corner(room: Furnisher, pools: Pools) -> None:
    """A bed and a wardrobe."""
    _wall(room, pools["bed"])
    _some(room, pools["wardrobe"], 1.0)


RECIPES: dict[str, Callable[[Furnisher, Pools, float], None]] = {
    "living": living,
    "bedroom": bedroom,
    "office": office,
    "kitchen": kitchen,
    "dining": dining,
    "bath": bath,
    "mixed": mixed,
}


def extras(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Plants, radiators, things on walls, one large odd piece, so that no wall stays bare."""
    area = room.room.rect.area
    _some(room, pools["plant"], 0.6 + 1.2 * crowd if room.room.function != "bath" else 0.3, corner=True)
    if room.room.function not in ("bath", "kitchen"):
        _some(room, pools["large"], 0.3 + 0.05 * area * crowd)
    for _ in range(int(room.rng.integers(0, 3))):
        piece = room.pick(pools["on_wall"])
        if piece is not None:
            room.against_wall(piece, y=float(np.clip(piece.elevation, 1.3, room.height - piece.size[1] - 0.1)))
    radiator = room.pick(pools["radiator"])
    if radiator is not None and room.rng.uniform() < 0.4:
        room.against_wall(radiator, y=min(radiator.elevation, 0.15))
    if area > 20.0:
        _some(room, pools["low"], crowd)


def lamps(room: Furnisher, pools: Pools) -> None:
    """A lamp under the ceiling (over the table if there is one) and perhaps a floor lamp."""
    rect = room.room.rect
    tables = [p for p in room.placed if "table" in p.info.name.lower() and p.info.size[1] > 0.6 and p.y == 0.0]
    x, z = 0.5 * (rect.x0 + rect.x1), 0.5 * (rect.z0 + rect.z1)
    lamp = None
    for _ in range(6):
        lamp = room.pick(pools["ceiling_lamp"])
        lowest = 1.5 if tables else 1.95
        if lamp is not None and room.height - lamp.size[1] >= lowest:
            if tables and lamp.size[1] > 0.3:
                x, z = tables[0].x, tables[0].z
            if room.from_ceiling(lamp, x, z) is not None:
                break
    _some(room, pools["floor_lamp"], 0.5, corner=True)


def clutter(room: Furnisher, pools: Pools, crowd: float) -> None:
    """Small things on every surface that can hold them."""
    own = pools[SURFACES_SMALL.get(room.room.function, "small_any")]
    for host in range(len(room.placed)):
        piece = room.placed[host]
        if piece.info.drop_on_top is None or piece.host is not None or piece.info.drop_on_top + piece.y > 1.7:
            continue
        if any(word in piece.info.name.lower() for word in SEATS):
            continue
        area = piece.info.size[0] * piece.info.size[2]
        for _ in range(int(room.rng.poisson(min(0.6 + 4.5 * area * (0.4 + crowd), 6.0)))):
            pool = own if room.rng.uniform() < 0.65 else pools["small_any"]
            if room.rng.uniform() < 0.12 and room.room.function != "kitchen":
                pool = pools["table_lamp"]
            thing = room.pick(pool)
            if thing is not None:
                room.on_top(thing, host)


def _wall(room: Furnisher, pool: tuple[FurnitureInfo, ...], sides: tuple[str, ...] | None = None) -> int | None:
    for _ in range(3):
        info = room.pick(pool)
        index = None if info is None else room.against_wall(info, sides) if sides else room.against_wall(info)
        if index is not None:
            return index
    return None


def _front(room: Furnisher, pool: tuple[FurnitureInfo, ...], anchor: int, gap: float) -> int | None:
    info = room.pick(pool)
    return None if info is None else room.in_front(info, anchor, gap)


def _beside(room: Furnisher, pool: tuple[FurnitureInfo, ...], anchor: int) -> int | None:
    info = room.pick(pool)
    return None if info is None else room.beside(info, anchor, float(room.rng.choice([-1.0, 1.0])))


def _some(room: Furnisher, pool: tuple[FurnitureInfo, ...], mean: float, corner: bool = False) -> None:
    """About `mean` pieces of a pool against the walls."""
    for _ in range(int(np.floor(mean + room.rng.uniform()))):
        info = room.pick(pool)
        if info is not None:
            room.against_wall(info, y=info.elevation if info.elevation > 0.8 else 0.0, corner=corner)
