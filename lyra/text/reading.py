"""What a prompt says in words the small model knows: a list of things with their descriptions, and what was not known.

The same reading is used for the captions a model is trained on and for prompts, so both meet in the same terms.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from lyra.text.vocabulary import DESCRIBING, KINDS, LEAVING_OUT, NUMBERS, PLAIN

LONGEST = 5  # words of one name
_PIECES = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[.,;:!?]|[^\s\w]")
_BREAKS = frozenset(".,;:!?")
_JOINS = frozenset(("of", "in", "made", "painted", "is", "are", "with"))  # a description may follow its thing


@dataclass(frozen=True)
class Concept:
    """A name of the vocabulary and its kind: "place", "thing", "surface", "light" or "word" (a description)."""

    kind: str
    name: str


@dataclass(frozen=True)
class Mention:
    """One thing that a text names, as "two green cupboards": concept (None if only described), descriptions, number."""

    concept: Concept | None
    words: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Reading:
    """What was understood, in order, and in the text's own words what was not, and what it wants left out."""

    mentions: tuple[Mention, ...]
    unknown: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@cache
def concepts() -> tuple[Concept, ...]:
    """All concepts in the order of the vocabulary."""
    lines = ((kind, line) for kind, text in KINDS.items() for line in text.strip().splitlines())
    return tuple(Concept(kind, line.split(":")[0].strip()) for kind, line in lines)


@cache
def phrases() -> Mapping[tuple[str, ...], Concept]:
    """Every way to say a concept, as singular lower-case words."""
    found = {}
    for kind, text in KINDS.items():
        for line in text.strip().splitlines():
            name, _, others = line.partition(":")
            for phrase in (name, *others.split(",")):
                if phrase.strip():
                    found.setdefault(_key(phrase), Concept(kind, name.strip()))
    return found


def read(text: str) -> Reading:
    """Find concepts in a text: at every word the longest name that begins there."""
    known = phrases()
    pieces = _pieces(text)
    words = [singular(piece) for piece in pieces]
    state = _State()
    at = 0
    while at < len(words):
        length, concept = _longest(words, at, known)
        if length == 1 and words[at] in DESCRIBING and _describes(words, at + 1, known):
            concept = Concept("word", DESCRIBING[words[at]])  # a light grey wall is no light, a glass table no glass
        if concept is not None:
            state.meet(concept, " ".join(pieces[at : at + length]))
        else:
            state.other(words[at], pieces[at])
        at += max(1, length)
    return state.reading()


class _State:
    """What has been read so far, and the descriptions, number and "no" that wait for their thing."""

    def __init__(self) -> None:
        self.mentions: list[Mention] = []
        self.unknown: list[str] = []
        self.left_out: list[str] = []
        self.waiting: list[str] = []
        self.count, self.without, self.joined = 1, False, False

    def meet(self, concept: Concept, said: str) -> None:
        """A concept comes next in the text."""
        if concept.kind == "word":
            self.waiting.append(concept.name)
            return
        if self.without:
            self.left_out.append(said)
        else:
            self.mentions.append(Mention(concept, tuple(dict.fromkeys(self.waiting)), self.count))
        self.waiting, self.count, self.without, self.joined = [], 1, False, False

    def other(self, word: str, said: str) -> None:
        """A word or sign that names nothing comes next."""
        if word in _BREAKS:
            self.settle()
        elif word in NUMBERS:
            self.count = NUMBERS[word]
        elif word in LEAVING_OUT:
            self.without = True
        elif word in _JOINS:
            self.settle()
            self.joined = True
        elif word not in _plain():
            if word.isdigit():
                self.count = max(1, min(6, int(word[:3])))
            elif any(unicodedata.category(c)[0] in "LN" or unicodedata.category(c) == "So" for c in word):
                self.unknown.append(said)

    def settle(self) -> None:
        """A part of the sentence ends: descriptions without a thing belong to the thing before, or stand alone."""
        if self.waiting:
            words = tuple(dict.fromkeys(self.waiting))
            if self.joined and self.mentions:
                last = self.mentions[-1]
                self.mentions[-1] = Mention(last.concept, tuple(dict.fromkeys((*last.words, *words))), last.count)
            elif not self.without:
                self.mentions.append(Mention(None, words))
        self.waiting, self.count, self.without, self.joined = [], 1, False, False

    def reading(self) -> Reading:
        """The end of the text."""
        self.settle()
        unknown, left_out = (tuple(dict.fromkeys(found)) for found in (self.unknown, self.left_out))
        return Reading(tuple(self.mentions), unknown, left_out)


def singular(word: str) -> str:
    """A word as the vocabulary has it: lower case, without the ending of a plural or an owner."""
    word = word.lower().removesuffix("'s")
    if len(word) <= 3 or not word.isascii() or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("men"):
        return word[:-2] + "an"
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("ves") and len(word) > 5:
        return word[:-3] + "f"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def _longest(words: list[str], at: int, known: Mapping[tuple[str, ...], Concept]) -> tuple[int, Concept | None]:
    """The longest phrase of the vocabulary that begins at a word, and how many words it has."""
    for length in range(min(LONGEST, len(words) - at), 0, -1):
        concept = known.get(tuple(words[at : at + length]))
        if concept is not None:
            return length, concept
    return 1, None


def _describes(words: list[str], at: int, known: Mapping[tuple[str, ...], Concept]) -> bool:
    """Whether a thing, a surface or another description begins here."""
    concept = _longest(words, at, known)[1]
    return concept is not None and concept.kind in ("thing", "surface", "word")


def _key(phrase: str) -> tuple[str, ...]:
    return tuple(singular(word) for word in _pieces(phrase) if word[0].isalnum())


def _pieces(text: str) -> list[str]:
    """Lower-case words and signs; a hyphen parts words as a space does."""
    return _PIECES.findall(unicodedata.normalize("NFKC", text).lower().replace("-", " "))


@cache
def _plain() -> frozenset[str]:
    return frozenset(form for word in PLAIN.split() for form in (word, singular(word)))
