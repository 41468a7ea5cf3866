"""The library a room is built from: furniture, textures, panoramas and actors of packs, or the built-in boxes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from worlds.pack import Pack
from worlds.scene import Sky, Texture
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.furniture import FurnitureInfo, FurnitureModel


@dataclass(frozen=True)
class Surface:
    """A texture by what it covers: `role` ("wall", "floor", "ceiling", "rug", "picture"), `metres` a repeat."""

    key: str
    role: str
    metres: float
    words: str


@dataclass(frozen=True, eq=False)
class Library:
    """What may be used, sorted by key, and the functions that load it."""

    furniture: tuple[FurnitureInfo, ...]
    surfaces: tuple[Surface, ...]
    panoramas: tuple[str, ...]
    actors: tuple[ActorInfo, ...]
    model: Callable[[str], FurnitureModel]
    texture: Callable[[str], Texture]
    panorama: Callable[[str], Sky]
    actor: Callable[[str], Actor]

    def role(self, role: str) -> tuple[Surface, ...]:
        """The surfaces for `role`."""
        return tuple(surface for surface in self.surfaces if surface.role == role)

    def keeping(self, keep: Callable[[str], bool]) -> "Library":
        """The library without the assets whose key `keep` refuses."""
        return replace(
            self,
            furniture=tuple(item for item in self.furniture if keep(item.key)),
            surfaces=tuple(item for item in self.surfaces if keep(item.key)),
            panoramas=tuple(key for key in self.panoramas if keep(key)),
            actors=tuple(item for item in self.actors if keep(item.key)),
        )


ROLES = ("wall", "floor", "ceiling", "rug", "picture")


def from_packs(packs: tuple[Pack, ...]) -> Library:
    """The library of all furniture, textures, panoramas and actors in `packs`."""
    home = {key: pack for pack in packs for key in pack.entries}
    furniture = sorted((info for pack in packs for info in pack.catalogue()), key=lambda info: info.key)
    actors = sorted((info for pack in packs for info in pack.cast()), key=lambda info: info.key)
    surfaces = [
        Surface(entry.key, role, float(entry.info.get("metres", 1.0)), str(entry.info.get("words", "")))
        for pack in packs
        for role in ROLES
        for entry in pack.textures(role)
    ]
    return Library(
        furniture=tuple(furniture),
        surfaces=tuple(sorted(surfaces, key=lambda surface: surface.key)),
        panoramas=tuple(sorted(key for pack in packs for key in pack.keys("panorama"))),
        actors=tuple(actors),
        model=lru_cache(maxsize=400)(lambda key: home[key].furniture(key)),
        texture=lambda key: home[key].texture(key),
        panorama=lru_cache(maxsize=16)(lambda key: home[key].panorama(key)),
        actor=lru_cache(maxsize=24)(lambda key: home[key].actor(key)),
    )
