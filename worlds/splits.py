"""Train, validation and test: a written list of assets (splits.json), disjoint seeds, and the licence rule.

Whatever splits.json names is validation or test; every other asset is training content, if its licence allows it.
Textures that belong to a model or a level follow it. Rooms of a split are built of that split's assets only, from
seeds of its own range, so neither a scene nor a thing of the test split is ever trained on.
"""

import argparse
import hashlib
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from worlds.errors import WorldsError
from worlds.pack import Pack, open_pack
from worlds.rooms.library import ROLES, Library
from worlds.rooms.pools import POOLS

SPLITS = ("train", "val", "test")
SEED_RANGE = 1_000_000_000  # seeds of a split are index + SEED_RANGE * position of the split
TEST_SHARE, VAL_SHARE = 0.15, 0.10  # of every purpose, rounded up
LIST = Path(__file__).with_name("splits.json")
TEST_SKIES, VAL_SKIES = ("city", "dawn"), ("venice",)
# Levels held out as wholes, by the last part of their key; those that may not be trained on are test content too.
TEST_LEVELS = ("resort", "rivertown", "england", "gran_paradiso_island", "zengarden", "pumpkin_park")
VAL_LEVELS = ("estate", "harbour", "ravenbridge_mansion", "icy_soccer_field")


@dataclass(frozen=True)
class SplitList:
    """The keys of the validation and the test split."""

    val: frozenset[str]
    test: frozenset[str]

    def of(self, key: str) -> str:
        """The split of an asset. A texture in another role ("wood_1@floor") goes with the texture."""
        base = key.split("@")[0]
        return "test" if base in self.test else "val" if base in self.val else "train"

    def library(self, library: Library, split: str) -> Library:
        """What rooms of a split may be built of."""
        return library.keeping(lambda key: self.of(key) == split)


@lru_cache(maxsize=1)
def split_list() -> SplitList:
    """The written list."""
    document = json.loads(LIST.read_text())
    return SplitList(frozenset(document["val"]), frozenset(document["test"]))


def seed_of(split: str, index: int) -> int:
    """The seed of scene `index` of a split; WorldsError for an unknown split or an index out of its range."""
    if split not in SPLITS:
        raise WorldsError(f"the split must be one of {', '.join(SPLITS)}, not {split!r}")
    if not 0 <= index < SEED_RANGE:
        raise WorldsError(f"a scene's index must be from 0 to {SEED_RANGE - 1}, not {index}")
    return SPLITS.index(split) * SEED_RANGE + index


def trainable_keys(packs: tuple[Pack, ...]) -> frozenset[str]:
    """The keys whose licence allows training."""
    return frozenset(key for pack in packs for key, entry in pack.entries.items() if entry.credit.train_ok)


def draw_splits(packs: tuple[Pack, ...]) -> dict[str, list[str]]:
    """The document of splits.json for these packs: stratified by purpose, in the order of each key's hash.

    A group of three or more gives at least one member to the test split, of four or more also one to validation.
    """
    groups: dict[str, list[str]] = {}
    for pack in packs:
        for info in pack.catalogue():
            purpose = next((name for name, pool in POOLS.items() if pool.takes(info)), info.category)
            if info.door_or_window:
                purpose = "door or window"
            groups.setdefault(f"furniture {purpose}", []).append(info.key)
        seen: set[str] = set()
        for role in ROLES:
            bases = {entry.key.split("@")[0] for entry in pack.textures(role)} - seen
            groups.setdefault(f"texture {role}", []).extend(bases)
            seen |= bases
        for info in pack.cast():
            groups.setdefault(f"actor {info.kind}", []).append(info.key)
    found: dict[str, list[str]] = {"val": [], "test": []}
    for members in groups.values():
        order = sorted(members, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        tests = math.ceil(TEST_SHARE * len(order)) if len(order) >= 3 else 0
        vals = math.ceil(VAL_SHARE * len(order)) if len(order) >= 4 else 0
        found["test"] += order[:tests]
        found["val"] += order[tests : tests + vals]
    for pack in packs:
        for key in (*pack.keys("world"), *pack.keys("panorama")):
            name = key.rsplit("/", 1)[-1]
            closed = pack.entries[key].kind == "world" and not pack.entries[key].credit.train_ok
            if closed or name in (*TEST_LEVELS, *TEST_SKIES):
                found["test"].append(key)
            elif name in (*VAL_LEVELS, *VAL_SKIES):
                found["val"].append(key)
    return {split: sorted(keys) for split, keys in found.items()}


def main(arguments: list[str]) -> None:
    """`python -m worlds splits`: draw the list anew, for a new set of packs only (it changes what is held out)."""
    parser = argparse.ArgumentParser("worlds splits", description=main.__doc__)
    parser.add_argument("packs", nargs="+", type=Path)
    parser.add_argument("--list", type=Path, default=LIST, help="the file to write")
    options = parser.parse_args(arguments)
    document = draw_splits(tuple(open_pack(path) for path in options.packs))
    partial = options.list.with_name(options.list.name + ".partial")
    partial.write_text(json.dumps(document, indent=0) + "\n")
    os.replace(partial, options.list)
    print(f"{options.list}: {len(document['val'])} keys for validation, {len(document['test'])} for test")
