"""Furniture that may move: balls roll and bounce, things on wheels drive, aeroplanes fly."""

import re
from functools import lru_cache

from worlds.rooms.library import Library
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.furniture import FurnitureInfo

BALLS = re.compile(r"(soccer ball|basketball|^ball)$", re.I)
WHEELS = re.compile(
    r"car model|toy train|skateboard|tricycle|stroller|scooter|shopping basket|bullet|smart car|van$", re.I
)
WINGS = re.compile(r"biplane|helicopter|kite", re.I)


@lru_cache(maxsize=8)
def toys(library: Library) -> tuple[ActorInfo, ...]:
    """The movable furniture of a library as actors without poses, sorted by key."""
    found = []
    for info in library.furniture:
        kind = "vehicle" if WHEELS.search(info.name) else "object"
        if BALLS.search(info.name) or WHEELS.search(info.name) or WINGS.search(info.name):
            found.append(_info(info, kind))
    return tuple(found)


def _info(info: FurnitureInfo, kind: str) -> ActorInfo:
    return ActorInfo(info.key, kind, info.label, info.size, {}, 0.0, 0.0, info.credit)


def load(library: Library, info: ActorInfo) -> Actor:
    """The actor of the cast, or the piece of furniture, that `info` describes."""
    if any(info is other for other in library.actors):
        return library.actor(info.key)
    return Actor(info, library.model(info.key).mesh)
