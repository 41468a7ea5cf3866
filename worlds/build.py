"""`python -m worlds pack`: turn the fetched packages into compact packs, one file per kind of content."""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from worlds.errors import WorldsError
from worlds.fetch import Package, default_cache, package
from worlds.licences import licence_class
from worlds.pack import PackWriter
from worlds.scene import Texture, World
from worlds.simplify import simplify
from worlds.sources import nexuiz, supertuxkart, sweethome3d, textures, ufoai, zeroad
from worlds.sources.furniture import FurnitureModel


@dataclass(frozen=True)
class Options:
    """How to build: the cache, longest texture side in texels, triangles a model at most."""

    cache: Path
    texture_size: int
    max_triangles: int

    def package(self, name: str) -> Package:
        """The fetched package `name`."""
        return package(name, self.cache)

    def writer(self, name: str) -> PackWriter:
        """An empty pack."""
        return PackWriter(name, self.texture_size)


def surface_textures(world: World) -> list[Texture]:
    """The textures of a level's materials, sorted by key."""
    placed = [*world.instances, *(mover.instance for mover in world.movers)]
    found = {m.texture.key: m.texture for i in placed for m in i.mesh.materials if m.texture}
    return [found[key] for key in sorted(found)]


def furniture(options: Options) -> list[PackWriter]:
    """All Sweet Home 3D models."""
    source = options.package(sweethome3d.PACKAGE)
    writer = options.writer("furniture")
    for path in sorted(source.path("usr/share/sweethome3d/furniture").glob("*.sh3f")):
        for model in sweethome3d.furniture(sweethome3d.open_catalogue(path, source.version)):
            slim = simplify(model.mesh, options.max_triangles)
            writer.add_furniture(FurnitureModel(replace(model.info, triangles=len(slim.triangles)), slim))
    return [writer]


def room_textures(options: Options) -> list[PackWriter]:
    """Walls, floors, ceilings, rugs and pictures."""
    writer = options.writer("textures")
    packages = (options.package(name) for name in ("miniworld", "ufoai-textures", "supertuxkart-data"))
    for surface in textures.surfaces(*packages):
        writer.add_texture(surface.texture, surface.credit, surface.role, metres=surface.metres, words=surface.words)
    return [writer]


def skies(options: Options) -> list[PackWriter]:
    """Outdoor panoramas."""
    writer = options.writer("panoramas")
    for key, radiance, credit, words in textures.panoramas(options.package("@pmndrs/assets")):
        writer.add_panorama(key, radiance, credit, words)
    return [writer]


def tracks(options: Options) -> list[PackWriter]:
    """SuperTuxKart: the tracks to train on in one pack, those for evaluation alone in another, the karts in a third."""
    library = supertuxkart.Library(options.package(supertuxkart.PACKAGE))
    photographed = {sky[0]: sky for sky in textures.panoramas(options.package("@pmndrs/assets"))}
    free, closed, karts = options.writer("tracks"), options.writer("tracks_eval"), options.writer("karts")
    for name in library.tracks():
        track = supertuxkart.read_track(library, name)
        writer = free if track.credit.train_ok else closed
        if track.sky is not None and (track.sky[2].train_ok or writer is closed):
            sky, radiance, credit = track.sky
            words = "a painted sky"
        else:
            sky, radiance, credit, words = photographed["sky/night" if "at night" in track.world.caption else "sky/sky"]
        if sky not in writer:
            writer.add_panorama(sky, radiance, credit, words)
        for texture in surface_textures(track.world):
            writer.add_texture(texture, track.texture_credits[texture.key], "surface")
        writer.add_world(track.key, track.world, track.credit, 1 / 256, sky)
    for name in library.karts():
        kart = supertuxkart.read_kart(library, name)
        if kart.info.credit.train_ok:
            karts.add_actor(replace(kart, mesh=simplify(kart.mesh, options.max_triangles)))
    return [free, closed, karts]


def actors(options: Options) -> list[PackWriter]:
    """0 A.D.: people and animals that walk."""
    writer = options.writer("actors")
    for actor in zeroad.Library(options.package(zeroad.PACKAGE)).actors():
        writer.add_actor(actor)
    return [writer]


def maps(options: Options) -> list[PackWriter]:
    """UFO:AI maps, for evaluation."""
    names = ("ufoai-maps", "ufoai-textures", "ufoai-data")
    library = ufoai.Library(*(options.package(name) for name in names))
    writer = options.writer("maps_eval")
    for world, credit in ufoai.worlds(library):
        for texture in surface_textures(world):
            writer.add_texture(texture, library.credit(library.texture_files[texture.key]), "surface")
        writer.add_world(world.name, world, credit, 1 / 256)
    return [writer]


def levels(options: Options) -> list[PackWriter]:
    """Nexuiz levels with baked light, for evaluation."""
    library = nexuiz.Library(options.package("nexuiz-data"), options.package("nexuiz-textures"))
    writer = options.writer("levels_eval")
    for world, credit in nexuiz.worlds(library):
        for texture in surface_textures(world):
            writer.add_texture(texture, library.credit(library.texture_files[texture.key]), "surface")
        writer.add_world(world.name, world, credit, 1 / 256)
    return [writer]


BUILDERS: dict[str, Callable[[Options], list[PackWriter]]] = {
    "furniture": furniture,
    "textures": room_textures,
    "panoramas": skies,
    "actors": actors,
    "tracks": tracks,
    "maps": maps,
    "levels": levels,
}


def build(out: Path, options: Options, only: list[str]) -> None:
    """Write the packs named in `only` (all if empty) and bring `credits.json` up to date."""
    unknown = sorted(set(only) - set(BUILDERS))
    if unknown:
        raise WorldsError(f"there is no pack {unknown[0]!r}; choose from {', '.join(BUILDERS)}")
    credits_file = out / "credits.json"
    credits = json.loads(credits_file.read_text(encoding="utf-8")) if credits_file.exists() else {}
    for name in only or BUILDERS:
        start = time.perf_counter()
        for writer in BUILDERS[name](options):
            size = writer.save(out / f"{writer.name}.pack")
            credits[f"{writer.name}.pack"] = writer.credits()
            classes = Counter(licence_class(str(line["licence"])) for line in writer.credits())
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(classes.items()))
            print(
                f"{writer.name}.pack: {size / 2**20:.2f} MiB in {time.perf_counter() - start:.0f} s; {kinds}",
                flush=True,
            )
    partial = credits_file.with_name("credits.json.partial")
    partial.write_text(json.dumps(credits, indent=0, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, credits_file)


def main(arguments: list[str]) -> None:
    """`python -m worlds pack`."""
    parser = argparse.ArgumentParser(prog="python -m worlds pack", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the packs and credits.json")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (default: %(default)s)")
    parser.add_argument("--textures", type=int, default=256, help="longest side of a texture (default: %(default)s)")
    parser.add_argument("--max-tris", type=int, default=3000, help="triangles a model at most (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="PACK", help=f"some of: {', '.join(BUILDERS)}")
    given = parser.parse_args(arguments)
    build(given.out, Options(given.cache, given.textures, given.max_tris), given.only)
