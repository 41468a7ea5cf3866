"""Walls, floors, ceilings, rugs, pictures and skies for rooms: hand-picked files of five packages.

Only files whose own licence allows training are named here; a file whose licence says otherwise is refused.
Panoramas are 512 x 256 OpenEXR images that `@pmndrs/assets` carries as base64 in JavaScript.
"""

import base64
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from worlds.errors import WorldsError
from worlds.fetch import Package
from worlds.licences import CopyrightFile, Credit, parse_copyright
from worlds.scene import Texture

STK_DATA = "usr/share/games/supertuxkart/data/"

# file stem: role, metres of one repeat (or of a picture's longer side), caption words; "a+b" stands for both roles.
_MINIWORLD = {
    "brick_wall_1": ("wall", 2.0, "red brick"),
    "cardboard_3": ("wall", 1.5, "beige plaster"),
    "cardboard_4": ("wall+rug", 0.8, "peach linen"),
    "ceiling_tile_noborder_1": ("ceiling", 0.6, "acoustic tiles"),
    "ceiling_tiles_1": ("ceiling", 2.4, "ceiling tiles"),
    "cinder_blocks_1": ("wall", 2.0, "grey block wall"),
    "concrete_1": ("wall+floor", 2.0, "concrete"),
    "concrete_2": ("wall+floor", 1.5, "smooth concrete"),
    "concrete_3": ("wall", 2.5, "cast concrete"),
    "concrete_tiles_1": ("wall+floor", 3.0, "concrete slabs"),
    "drywall_1": ("wall+ceiling", 1.0, "white plaster"),
    "floor_tiles_bw_1": ("floor", 1.2, "black and white tiles"),
    "floor_tiles_white": ("floor+wall", 1.2, "white tiles"),
    "marble_1": ("floor", 2.0, "marble"),
    "marble_2": ("floor+wall", 1.5, "veined marble"),
    "stucco_1": ("wall+ceiling", 1.0, "stucco"),
    "wood_1": ("floor+wall", 1.2, "dark wood"),
    "wood_2": ("floor+wall", 1.2, "light wood"),
    "wood_planks_1": ("wall+floor", 1.5, "brown planks"),
}
_UFOAI = {
    "tex_buildings/carpet008": ("rug", 2.4, "brown rug"),
    "tex_buildings/carpet009": ("rug", 2.4, "red persian rug"),
    "tex_buildings/carpet010": ("rug", 2.4, "dark flower rug"),
    "tex_buildings/carpet011": ("rug", 2.0, "yellow and black rug"),
    "tex_buildings/carpet012": ("rug", 2.2, "orange rug"),
    "tex_buildings/carpet018": ("rug", 2.4, "red oriental rug"),
    "tex_buildings/carpet021": ("rug", 2.4, "blue rug"),
    "tex_buildings/carpet023": ("rug", 2.4, "pink rug"),
    "tex_buildings/carpet025": ("rug+wall", 1.6, "floral pattern"),
    "tex_buildings/concrete024": ("wall+floor", 2.0, "pale concrete"),
    "tex_buildings/concrete_slabs01": ("wall", 2.5, "concrete panels"),
    "tex_buildings/floor021": ("floor", 2.0, "slate tiles"),
    "tex_buildings/floor_wood01": ("floor", 2.0, "reddish parquet"),
    "tex_buildings/ground_dirt1": ("wall", 2.0, "cream plaster"),
    "tex_buildings/paving001": ("floor", 2.0, "flagstones"),
    "tex_buildings/tile01": ("floor", 1.0, "old grey tiles"),
    "tex_buildings/tile02": ("floor", 1.0, "grey tiles"),
    "tex_buildings/wall_brick01": ("wall", 1.8, "orange brick"),
    "tex_buildings/wall_dirt1": ("wall", 2.5, "old plaster"),
    "tex_buildings/wall_se14": ("wall", 2.5, "rough plaster"),
    "tex_buildings_snow/wall005": ("wall", 2.5, "field stone"),
    "tex_material/s_wood002": ("floor+wall", 1.0, "grey oak"),
    "tex_material/s_wood003": ("floor+wall", 1.0, "walnut"),
    "tex_material/wood003": ("floor+wall", 1.2, "dark planks"),
    "tex_trak/trak4_brick2a": ("wall", 1.5, "dark brick"),
    "tex_pics/art_africa001": ("picture", 0.6, "drawing"),
    "tex_pics/art_africa010": ("picture", 0.7, "mosaic"),
    "tex_pics/art_africa011": ("picture", 0.8, "painting"),
    "tex_pics/art_japan002": ("picture", 0.6, "woodblock print"),
    "tex_pics/art_japan003": ("picture", 0.6, "woodblock print"),
    "tex_pics/art_japan004": ("picture", 0.8, "woodblock print"),
    "tex_pics/art_japan006": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan007": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan008": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan009": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan010": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan011": ("picture", 0.7, "woodblock print"),
    "tex_pics/art_japan012": ("picture", 0.5, "dragon emblem"),
    "tex_pics/art_japan013": ("picture", 0.6, "ink landscape"),
    "tex_pics/art_japan014": ("picture", 0.7, "woodblock print"),
    "tex_pics/dragon001": ("picture", 0.6, "dragon print"),
    "tex_pics/traktor1": ("picture", 0.6, "old photograph"),
    "tex_pics/traktor2": ("picture", 0.6, "old photograph"),
}
_SUPERTUXKART = {
    "HortonRockWall": ("wall", 2.0, "grey stone wall"),
    "HortonRockWall2": ("wall", 2.0, "rubble wall"),
    "JapanwoodBridge": ("wall", 1.2, "red painted wood"),
    "Paving_stones_2": ("floor", 1.5, "paving stones"),
    "beige_bricks": ("wall", 1.5, "beige brick"),
    "bow_tile": ("floor", 1.2, "red mosaic tiles"),
    "bumpy_surface": ("wall", 1.5, "textured plaster"),
    "canyon_boards": ("wall+floor", 1.5, "weathered boards"),
    "ceramic": ("wall", 1.5, "orange plaster"),
    "city_checker": ("floor", 1.0, "checkered tiles"),
    "city_concrete": ("wall+floor", 2.0, "concrete boards"),
    "concrete_plain": ("wall+floor+ceiling", 2.0, "plain concrete"),
    "dark-wall-wood": ("wall+floor", 1.5, "warm planks"),
    "hacienda_ground": ("wall", 2.5, "grey render"),
    "marble": ("floor+wall", 1.5, "white marble"),
    "oldWood": ("floor+wall", 1.2, "old wood"),
    "pyramidwall": ("wall", 1.5, "sandstone blocks"),
    "rockwall": ("wall", 2.0, "light stone wall"),
    "generic_pinkCeramic_a": ("floor+wall", 1.0, "pink tiles"),
    "generic_redCeramic_a": ("floor+wall", 1.0, "red tiles"),
    "toll_roof": ("floor", 1.6, "large grey tiles"),
    "wood_planks1": ("floor+wall", 1.5, "pale planks"),
    "yellow_dirt": ("wall", 1.5, "yellow plaster"),
}
_SKIES = {
    "city": "a city square",
    "dawn": "a desert at dawn",
    "forest": "a sunny forest",
    "night": "a starry night",
    "park": "a green meadow",
    "sky": "clouds over the sea",
    "sunrise": "fields at sunrise",
    "sunset": "a square at sunset",
    "venice": "a harbour at dusk",
}
_BRIGHTEST = 100.0  # radiance; beyond it the sun's texels ring (negative, even blue) after lossy EXR compression


@dataclass(frozen=True, eq=False)
class Surface:
    """A texture with its role in rooms, its size in metres, a caption and a credit."""

    texture: Texture
    role: str
    metres: float
    words: str
    credit: Credit


def surfaces(miniworld: Package, ufoai: Package, supertuxkart: Package) -> Iterator[Surface]:
    """All room surfaces, in a fixed order. WorldsError if a named file is missing or may not be trained on."""
    yield from _miniworld(miniworld)
    copyright_file = debian_copyright(ufoai)
    with zipfile.ZipFile(ufoai.path("usr/share/games/ufoai/base/0textures.pk3")) as archive:
        names = {name.rsplit(".", 1)[0]: name for name in archive.namelist()}
        for stem, described in _UFOAI.items():
            name = names[f"textures/{stem}"]
            credit = file_credit(ufoai, copyright_file, f"base/{name}")
            yield from _roles(f"ufoai/{stem}", read_image(archive.read(name)), described, credit)
    copyright_file = debian_copyright(supertuxkart)
    folder = supertuxkart.path(STK_DATA + "textures")
    names = {path.stem.removeprefix("stk_"): path for path in sorted(folder.iterdir())}
    for stem, described in _SUPERTUXKART.items():
        path = names[stem]
        credit = file_credit(supertuxkart, copyright_file, f"data/textures/{path.name}")
        yield from _roles(f"stk/{stem.lower()}", read_image(path.read_bytes()), described, credit)


def debian_copyright(package: Package) -> CopyrightFile:
    """The parsed copyright file of a Debian package."""
    return parse_copyright(package.path(f"usr/share/doc/{package.name}/copyright").read_text(encoding="utf-8"))


def file_credit(package: Package, copyright_file: CopyrightFile, file: str) -> Credit:
    """The credit of one file by the package's per-file list."""
    author, licence = copyright_file.look_up(file)
    return Credit(package.name, package.version, file, author, licence)


def read_image(data: bytes) -> np.ndarray:
    """RGBA uint8 pixels of an encoded image."""
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA"))


def panoramas(package: Package) -> Iterator[tuple[str, np.ndarray, Credit, str]]:
    """(key, linear radiance f32 [256, 512, 3], credit, words) of every outdoor panorama."""
    for name, words in _SKIES.items():
        text = package.path(f"package/hdri/{name}.exr.js").read_text()
        start = text.index("base64,") + len("base64,")
        radiance = _read_exr(base64.b64decode(text[start:].rstrip().rstrip(";'\"`")))
        credit = Credit(package.name, package.version, f"hdri/{name}.exr.js", "Poly Haven, by way of pmndrs", "CC0-1.0")
        yield f"sky/{name}", radiance, credit, words


def _read_exr(data: bytes) -> np.ndarray:
    import OpenEXR  # an extra: only the pack writer needs it

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panorama.exr"
        path.write_bytes(data)
        radiance = np.array(OpenEXR.File(str(path)).channels()["RGB"].pixels, np.float32)
    rings = (radiance.min(axis=2) < 0) & (radiance.max(axis=2) > 1.0)
    radiance[rings] = np.minimum(np.abs(radiance[rings]).max(axis=1, keepdims=True), _BRIGHTEST)
    return np.clip(radiance, 0, _BRIGHTEST)


def _miniworld(package: Package) -> Iterator[Surface]:
    folder = package.path("miniworld/textures")
    for stem, described in _MINIWORLD.items():
        credit = Credit(package.name, package.version, f"textures/{stem}.png", "Farama Foundation", "Apache-2.0")
        data = (folder / f"{stem}.png").read_bytes()
        yield from _roles(f"miniworld/{stem}", read_image(data), described, credit)
    for path in sorted((folder / "portraits").glob("*.png")):
        credit = Credit(package.name, package.version, f"textures/portraits/{path.name}", path.stem, "Apache-2.0")
        picture = ("picture", 0.5, "portrait")
        yield from _roles(f"miniworld/portraits/{path.stem}", read_image(path.read_bytes()), picture, credit)


def _roles(key: str, rgba: np.ndarray, described: tuple[str, float, str], credit: Credit) -> Iterator[Surface]:
    roles, metres, words = described
    if not credit.train_ok:
        raise WorldsError(f"{credit.file} of {credit.package} is {credit.licence!r}; room textures must be trainable")
    opaque = rgba.copy()
    opaque[..., 3] = 255
    for number, role in enumerate(roles.split("+")):
        yield Surface(Texture(key if number == 0 else f"{key}@{role}", opaque), role, metres, words, credit)
