"""Captions made from the scene graph: what kind of place, what is in it, its colours and its light."""

from collections import Counter

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
    facts = [f"{walls[0]} walls" if walls[0] else "", f"{floors[0]} floor" if floors[0] else "", light]
    return f"{_capital(sentence)}. {_capital(', '.join(fact for fact in facts if fact))}."


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
