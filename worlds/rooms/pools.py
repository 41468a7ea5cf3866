"""Which furniture serves which purpose: pools by catalogue category, name and real size."""

import re
from dataclasses import dataclass
from functools import lru_cache

from worlds.rooms.library import Library
from worlds.sources.furniture import FurnitureInfo


@dataclass(frozen=True)
class Pool:
    """A rule: the name matches `name` (and not `never`), the category one of `categories` (all if empty),
    width, height and depth lie within `least` and `most` (m), and `hung` says whether it is fixed to a wall."""

    name: str
    categories: tuple[str, ...] = ()
    least: tuple[float, float, float] = (0.0, 0.0, 0.0)
    most: tuple[float, float, float] = (9.0, 9.0, 9.0)
    never: str = "$^"
    hung: bool | None = None

    def takes(self, info: FurnitureInfo) -> bool:
        """True if `info` belongs to the pool."""
        if self.categories and info.category.lower() not in self.categories:
            return False
        if info.door_or_window or not re.search(self.name, info.name, re.I) or re.search(self.never, info.name, re.I):
            return False
        if self.hung is not None and self.hung != (info.elevation > 0.25):
            return False
        return all(a <= s <= b for a, s, b in zip(self.least, info.size, self.most, strict=True))


LIVING, BEDROOM, OFFICE, KITCHEN = ("living room",), ("bedroom",), ("office",), ("kitchen",)
BATH, MISC, LIGHTS = ("bathroom",), ("miscellaneous",), ("lights",)

POOLS = {
    "sofa": Pool(r"sofa|couch|futon", (*LIVING, *BEDROOM), (1.2, 0.4, 0.6), (2.6, 1.2, 1.7), r"opened"),
    "armchair": Pool(
        r"armchair|puff|ottoman|rattan", (*LIVING, *OFFICE, "exterior"), (0.5, 0.4, 0.5), (1.2, 1.2, 1.6), "sofa|table"
    ),
    "coffee": Pool(r"table", LIVING, (0.5, 0.3, 0.4), (1.5, 0.58, 0.9), r"children"),
    "tv_stand": Pool(r"tv stand|television cabinet|dresser|drawers", LIVING, (0.9, 0.3, 0.3), (2.0, 0.95, 0.75)),
    "tv": Pool(r"^tv( 16:9)?$", LIVING),
    "wall_tv": Pool(r"wall flat tv", LIVING),
    "bookcase": Pool(
        r"bookcase|shelves|wardrobe|cupboard|contemporary|vertical",
        (*LIVING, *OFFICE, *BEDROOM),
        (0.4, 1.1, 0.2),
        (2.7, 2.4, 0.55),
        "wardrobe",
        False,
    ),
    "low": Pool(
        r"dresser|chest$|shelves|cabinet|drawers|box$|fireplace|bookcase|safe|bench|trunck",
        (*LIVING, *BEDROOM, *OFFICE, *MISC),
        (0.38, 0.3, 0.25),
        (2.2, 1.15, 0.7),
        "cardboard|television",
        False,
    ),
    "chair": Pool(r"chair|stool", LIVING, (0.35, 0.6, 0.35), (0.68, 1.2, 0.85), r"armchair|bar |child|folding chair"),
    "table": Pool(
        r"table", (*LIVING, *OFFICE), (0.7, 0.65, 0.6), (2.4, 0.95, 1.3), r"coffee|technical|bedside|children|bar "
    ),
    "bar": Pool(r"bar table", LIVING),
    "bar_stool": Pool(r"bar (stool|chair)|^stool", (*LIVING, *KITCHEN), (0.3, 0.7, 0.3), (0.6, 1.2, 0.6)),
    "plant": Pool(
        r"plant|ficus|yucca|bamboo|spathi|cactus|palm|flowers|christmas",
        (*LIVING, *MISC),
        (0.25, 0.45, 0.2),
        (1.3, 2.2, 1.3),
    ),
    "bed": Pool(r"\bbed\b|futon", BEDROOM, (0.8, 0.15, 1.8), (2.3, 1.5, 2.4), r"hospital|mezzanine|bunk|air|day|sofa"),
    "odd_bed": Pool(r"bunk|mezzanine|crib|baby bed|day bed", BEDROOM, (0.5, 0.5, 0.8), (2.2, 2.0, 2.7)),
    "nightstand": Pool(
        r"bedside|filing|^table$|stool", (*BEDROOM, *LIVING, *OFFICE), (0.35, 0.38, 0.3), (0.68, 0.68, 0.6)
    ),
    "wardrobe": Pool(r"wardrobe|cupboard|shelves|clothes rack", BEDROOM, (0.8, 1.2, 0.3), (2.3, 2.5, 0.75)),
    "dressing": Pool(r"dressing|changing|doll house|chest$|rocking|clothes rack", BEDROOM, (0.45, 0.4, 0.25)),
    "desk": Pool(r"desk|^table$|wooden (alder |teak )?table", OFFICE, (0.95, 0.65, 0.5), (2.4, 1.2, 1.25)),
    "office_chair": Pool(r"chair", (*OFFICE, *LIVING), (0.45, 0.78, 0.45), (0.7, 1.15, 0.75), r"bar|child|arm|folding"),
    "screen": Pool(r"imac|laptop|ibook", OFFICE),
    "office_misc": Pool(
        r"water cooler|white board|safe|printer|filing|speaker|furnace|suitcase|water heater",
        (*OFFICE, *MISC),
        (0.2, 0.4, 0.2),
        (1.3, 1.6, 0.7),
    ),
    "counter": Pool(
        r"drawers cabinet|lower cabinet|sink|oven|washing|dryer|stove",
        KITCHEN,
        (0.4, 0.7, 0.48),
        (1.1, 1.25, 0.75),
        r"corner|small oven|propane",
    ),
    "upper": Pool(r"upper cabinet|upper shelves|glass door", KITCHEN, (0.3, 0.4, 0.2), (1.2, 0.9, 0.5), "corner"),
    "hood": Pool(r"hood", KITCHEN),
    "fridge": Pool(r"fridge|refrigerator|high cabinet", KITCHEN, (0.5, 1.2, 0.5)),
    "island": Pool(r"^island", KITCHEN, (0.6, 0.7, 0.6)),
    "bath": Pool(r"bath$|bathtub|shower stall|double vanity", BATH, (0.9, 0.5, 0.6), (2.0, 2.3, 1.3)),
    "toilet": Pool(r"toilets unit|bidet", BATH),
    "basin": Pool(r"washbasin|vanity", BATH, (0.4, 0.25, 0.3), (1.1, 2.1, 0.8)),
    "bath_misc": Pool(
        r"basket|radiator|washing|dryer|towel rack|clothes horse",
        (*BATH, *KITCHEN, *MISC),
        (0.2, 0.4, 0.08),
        (0.9, 1.6, 0.95),
        hung=False,
    ),
    "ceiling_lamp": Pool(
        r"ceiling lamp|chandelier|hanging|pendant|fluorescent|^lamp$|ceiling fan|track",
        (*LIGHTS, *MISC),
        most=(1.5, 1.2, 1.0),
        hung=True,
    ),
    "fan": Pool(r"ceiling fan", MISC),
    "floor_lamp": Pool(r"lamp", LIGHTS, (0.2, 1.1, 0.2), (0.7, 1.9, 0.7), "street|park|post|chandelier", False),
    "table_lamp": Pool(
        r"lamp|lantern|candle", LIGHTS, (0.08, 0.2, 0.08), (0.45, 0.75, 0.45), "wall|pendant|outdoor|ceiling"
    ),
    "on_wall": Pool(
        r"cuckoo|dart|wall light|air conditioning|wall hanger|clock|spotlight|artwork",
        (*MISC, *LIGHTS),
        (0.1, 0.05, 0.02),
        (1.0, 1.0, 0.35),
        "external",
    ),
    "radiator": Pool(r"radiator", (*MISC, *BATH), (0.4, 0.4, 0.05), (2.2, 1.2, 0.3)),
    "large": Pool(
        r"piano$|aquarium|fireplace|indoor bike|treadmill|football table|fitness|speaker|wheelchair|"
        r"stroller|bicycle|suitcase|cardboard|box$|crate|trunck|punching|rocking|flipper|ladder|"
        r"guitar",
        (*LIVING, *MISC, *BEDROOM, "vehicles"),
        (0.2, 0.25, 0.15),
        (2.3, 2.1, 1.9),
    ),
    "small_any": Pool(
        r"vase|plant|tulips|orchid|lily|cactus|book|newspaper|radio|clock|phone|camera|mini stereo|"
        r"teddy|toy|doll|car model|chess|gift|bonsai|bamboo|fan|speaker|box$|hat|handbag|helmet|"
        r"flowers|succulent",
        (*LIVING, *MISC, *BEDROOM, *OFFICE),
        (0.05, 0.03, 0.05),
        (0.5, 0.62, 0.45),
        "ceiling|house|basket|plug|socket|tower|wall|intercom|ladder|medicine",
    ),
    "small_kitchen": Pool(
        r"apple|bottle|bowl|bread|blender|coffee|cup|glass|plate|pottery|jar|toaster|teapot|"
        r"microwave|mixer|kettle|tray|jug|utensils|knife stand|cake|chicken|board|pan$|boiler|scale|"
        r"spice|towel holder|cooker$|milk|sugar|squeezer",
        KITCHEN,
        (0.05, 0.02, 0.05),
        (0.5, 0.62, 0.5),
        r"door|cabinet|baby high",
    ),
    "small_desk": Pool(
        r"printer|phone|penbox|letter tray|calendar|laptop|ibook|imac|speaker|desk lamp|book|mug|"
        r"camera|headphones|stapler|tablet",
        (*OFFICE, *MISC, *LIGHTS, *KITCHEN),
        (0.04, 0.02, 0.04),
        (0.6, 0.62, 0.5),
        "shelf|case|surveil",
    ),
    "small_bath": Pool(
        r"bottle|soap|cosmetics|flacon|towel$|sponge|vase|paper|box|plant",
        (*BATH, *LIVING, *MISC),
        (0.03, 0.03, 0.03),
        (0.3, 0.4, 0.3),
        "dispenser|cardboard|^box",
    ),
}


@lru_cache(maxsize=8)
def pools_of(library: Library) -> dict[str, tuple[FurnitureInfo, ...]]:
    """Every pool's members in `library`, sorted by key."""
    return {name: tuple(info for info in library.furniture if pool.takes(info)) for name, pool in POOLS.items()}
