"""A small library made of code: box furniture, procedural textures and skies. Rooms and tests need no packs with it."""

from functools import lru_cache

import numpy as np

from worlds.licences import Credit
from worlds.rooms.library import Library, Surface
from worlds.rooms.shapes import box, lathe, merge
from worlds.scene import Material, Mesh, Sky, Texture
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.furniture import FurnitureInfo, FurnitureModel, LightSource

CREDIT = Credit("lyra", "1", "worlds/rooms/builtin.py", "the lyra project", "CC0-1.0")

WOOD, CLOTH, METAL, WHITE, DARK, GREEN, CLAY, LIGHT = (
    Material((0.42, 0.26, 0.13)),
    Material((0.32, 0.36, 0.45)),
    Material((0.55, 0.56, 0.58)),
    Material((0.82, 0.81, 0.78)),
    Material((0.05, 0.05, 0.06)),
    Material((0.10, 0.32, 0.08)),
    Material((0.62, 0.30, 0.18)),
    Material((0.95, 0.9, 0.75), emission=2.0),
)

# key: name, category, (width, height, depth), drop_on_top, elevation; the shape follows from the name.
_ITEMS = {
    "sofa": ("Sofa", "living room", (1.9, 0.8, 0.85), None, 0.0),
    "armchair": ("Armchair", "living room", (0.8, 0.8, 0.8), None, 0.0),
    "coffee_table": ("Coffee table", "living room", (1.1, 0.45, 0.6), 0.45, 0.0),
    "tv_stand": ("TV stand", "living room", (1.4, 0.5, 0.45), 0.5, 0.0),
    "tv": ("TV", "living room", (0.9, 0.55, 0.12), None, 0.0),
    "bookcase": ("Bookcase", "living room", (0.9, 1.9, 0.34), 1.9, 0.0),
    "dresser": ("Dresser with drawers", "living room", (1.2, 0.82, 0.48), 0.82, 0.0),
    "chair": ("Chair", "living room", (0.45, 0.9, 0.5), None, 0.0),
    "table": ("Table", "living room", (1.5, 0.74, 0.85), 0.74, 0.0),
    "plant": ("Plant", "living room", (0.5, 1.1, 0.5), None, 0.0),
    "bed": ("Bed", "bedroom", (1.6, 0.9, 2.1), 0.5, 0.0),
    "nightstand": ("Bedside table", "bedroom", (0.45, 0.5, 0.4), 0.5, 0.0),
    "wardrobe": ("Wardrobe", "bedroom", (1.5, 2.0, 0.6), None, 0.0),
    "desk": ("Desk", "office", (1.4, 0.73, 0.7), 0.73, 0.0),
    "office_chair": ("Chair", "office", (0.55, 1.0, 0.55), None, 0.0),
    "laptop": ("Laptop", "office", (0.34, 0.24, 0.26), None, 0.0),
    "cabinet": ("Lower cabinet", "kitchen", (0.6, 0.88, 0.6), 0.88, 0.0),
    "sink": ("Sink cabinet", "kitchen", (0.9, 0.9, 0.6), None, 0.0),
    "upper": ("Upper cabinet", "kitchen", (0.6, 0.7, 0.36), None, 1.45),
    "fridge": ("Fridge", "kitchen", (0.65, 1.8, 0.65), None, 0.0),
    "bath": ("Bath", "bathroom", (1.7, 0.6, 0.75), None, 0.0),
    "toilet": ("Toilets unit", "bathroom", (0.4, 0.75, 0.65), None, 0.0),
    "basin": ("Washbasin", "bathroom", (0.6, 0.86, 0.48), None, 0.0),
    "vase": ("Vase", "miscellaneous", (0.2, 0.3, 0.2), None, 0.0),
    "books": ("Book", "miscellaneous", (0.24, 0.12, 0.18), None, 0.0),
    "pot": ("Pottery", "kitchen", (0.22, 0.18, 0.22), None, 0.0),
    "lamp": ("Lamp", "lights", (0.3, 0.5, 0.3), None, 0.0),
    "floor_lamp": ("Lamp", "lights", (0.4, 1.5, 0.4), None, 0.0),
    "ceiling_lamp": ("Ceiling lamp", "lights", (0.5, 0.3, 0.5), None, 2.3),
}
_LIT = {"lamp": 0.38, "floor_lamp": 1.35, "ceiling_lamp": 0.1}


def _info(key: str) -> FurnitureInfo:
    name, category, size, drop, elevation = _ITEMS[key]
    lights = (LightSource((0.0, _LIT[key], 0.0), (1.0, 0.85, 0.65), 0.2),) if key in _LIT else ()
    return FurnitureInfo(
        key=f"builtin/{key}",
        name=name,
        label=name.lower(),
        category=category,
        size=size,
        elevation=elevation,
        drop_on_top=drop,
        door_or_window=False,
        movable=True,
        lights=lights,
        triangles=60,
        credit=CREDIT,
    )


def _legs(width: float, depth: float, height: float, material: Material, thick: float = 0.06) -> list[Mesh]:
    x, z = 0.5 * (width - thick), 0.5 * (depth - thick)
    spots = [(-x, -z), (x, -z), (x, z), (-x, z)]
    return [box((a, 0.5 * height, b), (thick, height, thick), material) for a, b in spots]


def _seat(size: tuple[float, float, float], material: Material) -> list[Mesh]:
    width, height, depth = size
    seat = 0.5 * height
    arms = [box((s * 0.5 * (width - 0.14), 0.35 * height, 0.0), (0.14, 0.7 * height, depth), material) for s in (-1, 1)]
    back = box((0.0, 0.5 * height, -0.5 * depth + 0.1), (width - 0.28, height, 0.2), material)
    base = box((0.0, 0.5 * seat, 0.1), (width - 0.28, seat, depth - 0.2), material)
    return [base, back, *arms]


def _shape(key: str) -> list[Mesh]:
    width, height, depth = size = _ITEMS[key][2]
    if key in ("sofa", "armchair"):
        return _seat(size, CLOTH)
    if key in ("coffee_table", "table", "desk"):
        top = box((0.0, height - 0.02, 0.0), (width, 0.04, depth), WOOD)
        return [top, *_legs(width, depth, height - 0.04, WOOD)]
    if key in ("chair", "office_chair"):
        seat = box((0.0, 0.45, 0.0), (width, 0.05, depth), WOOD)
        back = box((0.0, 0.5 * (0.475 + height), -0.5 * depth + 0.02), (width, height - 0.475, 0.04), WOOD)
        return [seat, back, *_legs(width, depth, 0.425, METAL, 0.04)]
    if key == "bed":
        frame = box((0.0, 0.15, 0.0), (width, 0.3, depth), WOOD)
        mattress = box((0.0, 0.4, 0.03), (width - 0.06, 0.2, depth - 0.1), WHITE)
        head = box((0.0, 0.5 * height, -0.5 * depth + 0.03), (width, height, 0.06), WOOD)
        return [frame, mattress, head]
    if key == "bookcase":
        shelves = [box((0.0, y, 0.0), (width, 0.03, depth), WOOD) for y in np.linspace(0.015, height - 0.015, 6)]
        sides = [box((s * 0.5 * (width - 0.03), 0.5 * height, 0.0), (0.03, height, depth), WOOD) for s in (-1, 1)]
        back = box((0.0, 0.5 * height, -0.5 * depth + 0.01), (width, height, 0.02), WOOD)
        books = [
            box((0.0, y + 0.13, 0.03), (0.8 * width, 0.22, 0.2), mat)
            for y, mat in zip(np.linspace(0.03, height - 0.4, 5), (CLAY, CLOTH, GREEN, DARK, CLAY), strict=True)
        ]
        return [*shelves, *sides, back, *books]
    if key == "plant":
        pot = lathe([(0.0, 0.0), (0.12, 0.0), (0.17, 0.3), (0.0, 0.3)], CLAY)
        crown = lathe([(0.02, 0.3), (0.03, 0.5), (0.25, 0.6), (0.2, 0.95), (0.0, height)], GREEN)
        return [pot, crown]
    if key in ("vase", "pot"):
        return [lathe([(0.0, 0.0), (0.3 * width, 0.0), (0.5 * width, 0.5 * height), (0.25 * width, height)], CLAY)]
    if key in _LIT:
        shade = lathe([(0.5 * width, height - 0.2), (0.3 * width, height)], LIGHT)
        foot = lathe([(0.3 * width, 0.0), (0.3 * width, 0.02), (0.02, 0.03), (0.02, height - 0.1)], METAL)
        return [shade] if key == "ceiling_lamp" else [foot, shade]
    materials = {"tv": DARK, "laptop": METAL, "fridge": METAL, "books": CLAY, "tv_stand": WOOD, "dresser": WOOD}
    wood = key in ("nightstand", "wardrobe")
    return [box((0.0, 0.5 * height, 0.0), size, materials.get(key, WOOD if wood else WHITE))]


@lru_cache(maxsize=64)
def _model(key: str) -> FurnitureModel:
    return FurnitureModel(_info(key.removeprefix("builtin/")), merge(_shape(key.removeprefix("builtin/"))))


@lru_cache(maxsize=32)
def _texture(key: str) -> Texture:
    """Planks, tiles, plaster or blotches, drawn from a generator seeded by the key."""
    rng = np.random.default_rng([ord(c) for c in key])
    y, x = np.mgrid[0:128, 0:128]
    base = rng.uniform(0.35, 0.8, 3)
    grain = rng.normal(0.0, 0.03, (128, 128, 1))
    if "planks" in key:
        board = (x // 32 + 3 * (y // 64)) % 7
        shade = 0.75 + 0.07 * board + 0.25 * ((x % 32) > 1) - 0.25
        base = np.array([0.62, 0.42, 0.25])
    elif "tiles" in key:
        shade = 0.7 + 0.3 * ((x % 32 > 1) & (y % 32 > 1))
    elif "rug" in key or "picture" in key:
        shade = 0.55 + 0.45 * np.sin(x / rng.uniform(4, 9)) * np.sin(y / rng.uniform(4, 9))
        base = rng.uniform(0.15, 0.85, 3)
    else:
        shade = np.full((128, 128), 0.95)
    rgb = np.clip(base * shade[..., None] + grain, 0.0, 1.0)
    rgba = np.concatenate([255.0 * rgb, np.full((128, 128, 1), 255.0)], axis=-1)
    return Texture(key, rgba.astype(np.uint8))


@lru_cache(maxsize=4)
def _panorama(key: str) -> Sky:
    """A clear or a cloudy gradient over a meadow."""
    height = np.cos(np.linspace(0.0, np.pi, 64))[:, None, None]
    zenith, horizon = (
        (np.array([0.25, 0.45, 0.95]), np.array([0.9, 0.95, 1.0])) if "clear" in key else (np.ones(3) * 0.7, np.ones(3))
    )
    sky = horizon + (zenith - horizon) * np.clip(height, 0.0, 1.0) ** 0.6
    meadow = np.array([0.14, 0.20, 0.07])
    image = np.where(height > 0.0, sky, meadow) * np.ones((64, 128, 1))
    return Sky(image.astype(np.float32), 1.0, tuple(float(c) for c in 0.7 * horizon * np.array([0.8, 0.9, 1.0])))


@lru_cache(maxsize=2)
def _actor(key: str) -> Actor:
    """A ball, or a box man whose legs swing (8 poses)."""
    if key == "builtin/ball":
        profile = [(0.15 * np.sin(a), 0.15 - 0.15 * np.cos(a)) for a in np.linspace(0.0, np.pi, 9)]
        return Actor(_CAST[0], lathe(profile, CLAY))
    body = box((0.0, 1.1, 0.0), (0.42, 0.7, 0.24), CLOTH)
    head = box((0.0, 1.6, 0.0), (0.2, 0.26, 0.2), CLAY)
    legs = [box((s * 0.11, 0.38, 0.0), (0.15, 0.76, 0.16), DARK) for s in (-1, 1)]
    mesh = merge([body, head, *legs])
    poses = []
    for phase in np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False):
        moved = mesh.positions.copy()
        for part, sign in ((slice(48, 72), 1.0), (slice(72, 96), -1.0)):
            moved[part, 2] += sign * 0.4 * np.sin(phase) * (0.76 - moved[part, 1])
        poses.append(moved)
    return Actor(_CAST[1], mesh, np.stack(poses))


_CAST = (
    ActorInfo("builtin/ball", "object", "ball", (0.3, 0.3, 0.3), {}, 0.0, 0.0, CREDIT),
    ActorInfo("builtin/man", "person", "man", (0.46, 1.73, 0.7), {"walk": (0, 8)}, 8.0, 1.2, CREDIT),
)

_SURFACES = tuple(
    Surface(f"builtin/{role}_{name}", role, metres, name)
    for role, name, metres in (
        ("wall", "plaster", 2.0),
        ("wall", "tiles", 1.0),
        ("floor", "planks", 1.6),
        ("floor", "tiles", 1.4),
        ("ceiling", "plaster", 2.0),
        ("rug", "rug", 2.0),
        ("picture", "picture", 0.7),
    )
)


def builtin_library() -> Library:
    """The library made of code."""
    return Library(
        furniture=tuple(sorted((_info(key) for key in _ITEMS), key=lambda info: info.key)),
        surfaces=tuple(sorted(_SURFACES, key=lambda surface: surface.key)),
        panoramas=("builtin/clear", "builtin/cloudy"),
        actors=_CAST,
        model=_model,
        texture=_texture,
        panorama=_panorama,
        actor=_actor,
    )
