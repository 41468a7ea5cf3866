"""Captions made from the scene graph: what kind of place, what is in it, its colours and its light."""

import colorsys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from worlds.scene import Instance, World

ROOM_WORDS = {
    "living": "living room",
    "bedroom": "bedroom",
    "office": "office",
    "kitchen": "kitchen",
    "dining": "dining room",
    "bath": "bathroom",
    "mixed": "studio flat",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
MOST_THINGS = 7
# What counts as seen, as a share of the picture: a thing, its colour, walls and floor, another room.
THING, COLOUR, SURFACE, ROOM = 0.004, 0.012, 0.03, 0.12
EVEN = 0.12  # mean difference from the middle colour of what is said to have one
UNSAID = ("wall", "floor", "ceiling", "trim")  # not named among the things
PLAIN = ("window", "picture", "rug")  # named without their colour
# Catalogue names that are not how one says it.
BETTER = {
    "toilets unit": "toilet",
    "sofa seats": "sofa",
    "tv :": "TV",
    "tv": "TV",
    "tv stand": "TV stand",
    "wall flat tv": "flat TV",
    "puff": "pouf",
    "trunck": "trunk",
    "air conditioning - internal unit": "air conditioner",
    "convertible sofa bz": "sofa bed",
    "apple ibook": "laptop",
    "apple imac": "computer",
    "clear sofa": "sofa",
    "osaka chair": "chair",
    "full bookcase": "bookcase",
}


def room_caption(functions: list[str], labels: list[list[str]], walls: list[str], floors: list[str], light: str) -> str:
    """One or two sentences: "A bedroom with a bed, two bedside tables and a lamp. White walls, oak floor, daylight."

    labels: the furniture of every room in order of placement (large pieces first).
    """
    names = [ROOM_WORDS[function] for function in functions]
    place = names[0] if len(names) == 1 else f"{names[0]} that opens into {_join([article(n) for n in names[1:]])}"
    things = things_words([label for room in labels for label in room if label])
    sentence = f"{article(place)} with {things}" if things else article(place)
    facts = [_covering(walls[0], "wall", "walls"), _covering(floors[0], "floor", "floor"), light]
    return f"{_capital(sentence)}. {_capital(', '.join(fact for fact in facts if fact))}."


def view_caption(world: World, ids: np.ndarray, rgb: np.ndarray) -> str:
    """The caption of one view of a room, which says only what can be seen in it: `ids` i32 [h, w], `rgb` u8 [h, w, 3]
    as in `Frames`.

    The room that fills most of the picture comes first, things by their size in the picture, walls and floor by what
    most of them looks like; colours are those in the picture. A world that has no rooms keeps its caption.
    """
    seen = _seen(world, ids, rgb) if any(instance.room for instance in world.instances) else []
    rooms = _shares((view.share, view.instance.room) for view in seen if view.instance.room)
    if not rooms:
        return world.caption
    main, *others = sorted(rooms, key=lambda name: -rooms[name])
    others = [name for name in others if rooms[name] >= ROOM]
    place = f"{main} that opens into {_join([article(name) for name in others])}" if others else main
    things = [view.thing for view in seen if view.thing]
    sentence = f"{article(place)} with {things_words(things)}" if things else article(place)
    facts = [_surface(seen, "wall", "walls"), _surface(seen, "floor", "floor"), world.light]
    return f"{_capital(sentence)}. {_capital(', '.join(fact for fact in facts if fact))}."


@dataclass(frozen=True)
class _View:
    """What one picture shows of an instance: its share of the picture, and its colour in a word ("" if it has many)."""

    instance: Instance
    share: float
    colour: str

    @property
    def kind(self) -> str:
        return self.instance.label.rsplit(" ", 1)[-1]

    @property
    def cover(self) -> str:
        """Words for what a wall, a floor or a curtain is covered with: of paint and cloth the colour that is seen."""
        plain = all(material.texture is None for material in self.instance.mesh.materials)
        return self.colour if plain and self.colour else self.instance.label.removesuffix(self.kind).strip()

    @property
    def thing(self) -> str:
        """What is said of it among the things, "" for nothing."""
        label = self.instance.label
        if self.share < THING or not label or self.kind in UNSAID:
            return ""
        if self.kind == "curtain":
            return f"{self.cover} curtain"
        name = BETTER.get(label.lower(), label.lower())
        return f"{self.colour} {name}" if self.colour and self.share >= COLOUR and self.kind not in PLAIN else name


def _seen(world: World, ids: np.ndarray, rgb: np.ndarray) -> list[_View]:
    """The instances that a picture shows, the largest first; every fourth pixel is looked at."""
    numbers, pixels = ids[::2, ::2].ravel().astype(np.uint16), rgb[::2, ::2].reshape(-1, 3) / 255.0
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    views = []
    for number, part in zip(found, np.split(order, starts[1:]), strict=True):
        if 1 <= number <= len(world.instances):
            middle = np.median(pixels[part], axis=0)
            even = np.abs(pixels[part] - middle).mean() < EVEN
            colour = colour_word(tuple(middle)) if even else ""
            views.append(_View(world.instances[number - 1], len(part) / len(numbers), colour))
    return sorted(views, key=lambda view: -view.share)


def colour_word(srgb: tuple[float, float, float]) -> str:
    """A plain word for an sRGB colour in [0, 1]."""
    hue, saturation, value = colorsys.rgb_to_hsv(*srgb)
    if value < 0.18:
        return "black"
    if saturation < 0.13:
        return "white" if value > 0.82 else "light grey" if value > 0.6 else "grey" if value > 0.35 else "dark grey"
    names = ((0.04, "red"), (0.11, "orange"), (0.18, "yellow"), (0.45, "green"), (0.53, "teal"), (0.69, "blue"))
    name = next((word for limit, word in names if hue < limit), "purple" if hue < 0.8 else "pink")
    if hue > 0.95:
        name = "red"
    if name == "orange" and saturation < 0.35 and value > 0.7:
        name = "beige"
    elif name in ("orange", "red", "yellow") and value < 0.6:
        name = "brown" if name != "yellow" else "olive"
    return f"pale {name}" if saturation < 0.3 and value > 0.7 and name != "beige" else name


def _surface(seen: list[_View], kind: str, said: str) -> str:
    """Words of the covering that most of the visible walls or floor have; "" if hardly any is visible."""
    words = _shares((view.share, view.cover) for view in seen if view.instance.room and view.kind == kind)
    best = max(words, key=lambda name: words[name], default="")
    return _covering(best, kind, said) if best and words[best] >= SURFACE else ""


def _covering(words: str, kind: str, said: str) -> str:
    """ "white walls"; of a texture that is called "grey block wall" it is "grey block walls"."""
    words = words.removesuffix(kind).strip()
    return f"{words} {said}" if words else ""


def _shares(parts: Iterable[tuple[float, str]]) -> dict[str, float]:
    """Sums by name."""
    sums: dict[str, float] = {}
    for share, name in parts:
        sums[name] = sums.get(name, 0.0) + share
    return sums


def things_words(labels: list[str]) -> str:
    """ "a sofa, two armchairs and a plant": the first kinds of a list, counted."""
    counts = Counter(BETTER.get(label.lower(), label.lower()) for label in labels)
    parts = [article(label) if n == 1 else f"{_number(n)} {plural(label)}" for label, n in counts.items()]
    return _join(parts[:MOST_THINGS])


def moving_caption(still: str, movers: list[str]) -> str:
    """The caption of a still world with a sentence about what moves in it; things without a name go unmentioned."""
    movers = [label for label in movers if label]
    if not movers:
        return still
    return f"{still.rstrip('. ')}. {_capital(things_words(movers))} {'moves' if len(movers) == 1 else 'move'}."


def article(noun: str) -> str:
    """ "a sofa", "an armchair", "shelves" (plural already)."""
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """ "sofas", "benches", "shelves" (already plural)."""
    for link in (" with ", " in ", " driven by "):
        if link in noun:
            head, rest = noun.split(link, 1)
            return f"{plural(head)}{link}{rest}"
    if noun.endswith("ves") or (noun.endswith("s") and not noun.endswith("ss")):
        return noun
    if noun.endswith(("man", "woman")):
        return noun[:-2] + "en"
    return f"{noun}es" if noun.endswith(("ch", "sh", "x", "ss")) else f"{noun}s"


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else "several"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
