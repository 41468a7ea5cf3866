"""Nexuiz levels: futuristic arenas with baked light. All are GPL, so they serve evaluation alone."""

import re
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from worlds.fetch import Package
from worlds.licences import Credit
from worlds.scene import Instance, Material, Mesh, Sky, Texture, World
from worlds.sources.geometry import unique_rows
from worlds.sources.q3bsp import Q3Map, read_q3bsp
from worlds.sources.textures import read_image

DATA = "usr/share/games/nexuiz/data/"
LEVELS = ("aggressor", "basement", "bloodprison", "darkzone", "runningman", "silvercity", "stormkeep", "strength")
_METRES = 1.0 / 36.0  # a player is 69 units tall
_PAGE = 256  # external light pages are scaled to this
_EYE = 0.6


class Library:
    """The archives of the two packages, open for reading, with the images that shader scripts name."""

    def __init__(self, data: Package, textures: Package) -> None:
        self._home: dict[str, tuple[zipfile.ZipFile, Package]] = {}
        for package, name in ((data, "data.pk3"), (textures, "textures.pk3")):
            archive = zipfile.ZipFile(package.path(DATA + name))
            self._home.update((file, (archive, package)) for file in archive.namelist())
        self._shaders = self._scripts()
        self.texture_files: dict[str, str] = {}
        self.texture = lru_cache(maxsize=None)(self._texture)

    def read(self, file: str) -> bytes:
        """The bytes of a file of either archive. KeyError if there is none."""
        return self._home[file][0].read(file)

    def credit(self, file: str) -> Credit:
        """The credit of a file of either archive; the packages state one licence for everything."""
        package = self._home[file][1]
        return Credit(package.name, package.version, file, "Alientrap, Lee Vermeulen and others", "GPL-2+")

    def light_pages(self, level: str) -> np.ndarray:
        """Baked light that lies beside a map: u8 [n, side, side, 3]."""
        files = sorted(f for f in self._home if re.match(rf"maps/{level}/lm_\d+\.(tga|jpg|png)$", f))
        pages = []
        for file in files:
            with Image.open(BytesIO(self.read(file))) as image:
                pages.append(np.asarray(image.convert("RGB").resize((_PAGE, _PAGE), Image.Resampling.BOX)))
        return np.array(pages, np.uint8).reshape(-1, _PAGE, _PAGE, 3)

    def _scripts(self) -> dict[str, str | None]:
        """Shader name -> first image it draws; None for shaders that only add light (flares, beams)."""
        found: dict[str, str | None] = {}
        for file in sorted(name for name in self._home if name.endswith(".shader")):
            text = re.sub(r"//.*", "", self.read(file).decode("latin-1"))
            for name, body in re.findall(r"^\s*(textures/\S+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", text, re.MULTILINE):
                images = [m for m in re.findall(r"\b(?:clamp)?map\s+(\S+)", body, re.IGNORECASE) if m[0] not in "$*"]
                adds = re.search(r"blendfunc\s+(add|gl_one\s+gl_one\b)", body, re.IGNORECASE)
                solid = "$lightmap" in body.lower()
                found[name.lower()] = None if adds and not solid else (images[0] if images else name)
        return found

    def _texture(self, name: str) -> Texture | None:
        image = self._shaders.get(name.lower(), name)
        if image is None:
            return None
        stem = image.rsplit(".", 1)[0] if image[-4:].lower() in (".tga", ".jpg", ".png") else image
        for suffix in (".tga", ".jpg", ".png"):
            if stem + suffix in self._home:
                key = f"nexuiz/{stem.lower()}"
                self.texture_files[key] = stem + suffix
                return Texture(key, read_image(self.read(stem + suffix)))
        return None


def worlds(library: Library) -> Iterator[tuple[World, Credit]]:
    """The levels of `LEVELS` with their baked light."""
    for name in LEVELS:
        level = read_q3bsp(library.read(f"maps/{name}.bsp"), f"{name}.bsp")
        seeds = [e["origin"] for e in level.entities if "origin" in e and re.match("info_player|item_", e["classname"])]
        spawns = _upright(np.array([[float(v) for v in seed.split()] for seed in seeds]).reshape(-1, 3))
        world = World(
            name=f"nexuiz/{name}",
            kind="level",
            instances=(Instance(_mesh(library, level, name), np.eye(4), ""),),
            sky=Sky(np.array([[(0.3, 0.4, 0.6)]], np.float32), 1.0, (0.3, 0.35, 0.4)),
            spawns=spawns + np.array([0.0, _EYE, 0.0]),
            near_scale=6.0,
            caption="the halls of a futuristic arena",
        )
        yield world, library.credit(f"maps/{name}.bsp")


def _upright(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1) * _METRES


def _mesh(library: Library, level: Q3Map, name: str) -> Mesh:
    textures = [library.texture(texture) for texture in level.names]
    drawn = np.array([texture is not None for texture in textures])[level.textures]
    corners, numbers, light = level.corners[drawn], level.textures[drawn], level.lightmaps[drawn]
    used, materials = np.unique(numbers, return_inverse=True)
    pages = level.pages if len(level.pages) else library.light_pages(name)
    light = np.where(light < len(pages), light, -1)
    atlas, cells, columns, rows = _atlas(pages, np.unique(light[light >= 0]))
    side = pages.shape[1] if len(pages) else 1
    cell = np.array([cells.get(int(page), 0) for page in light])
    inside = np.where(light[:, None, None] >= 0, np.clip(corners["light"], 0, 1), 0.5)
    inside = (inside * (side - 1) + 0.5) / side  # texel centres: no bleeding from the neighbour page
    place = np.stack([cell % columns, cell // columns], axis=1)[:, None]
    lightmap_uvs = (inside + place) / (columns, rows)
    flat = corners.reshape(-1)
    light_uvs = lightmap_uvs.reshape(-1, 2).astype(np.float32)
    first, inverse = unique_rows(np.concatenate([flat["position"], flat["normal"], flat["uv"], light_uvs], axis=1))
    flat = flat[first]
    return Mesh(
        positions=_upright(flat["position"].astype(float)).astype(np.float32),
        normals=(_upright(flat["normal"].astype(float)) / _METRES).astype(np.float32),
        uvs=np.ascontiguousarray(flat["uv"]),
        triangles=inverse.reshape(-1, 3)[:, ::-1].astype(np.int32),
        face_materials=materials.astype(np.int32),
        materials=tuple(_material(textures[number]) for number in used),
        lightmap=Texture(f"nexuiz/light/{name}", atlas),
        lightmap_uvs=light_uvs[first],
    )


def _material(texture: Texture) -> Material:
    masked = (texture.rgba[..., 3] < 128).mean() > 0.02
    return Material((1.0, 1.0, 1.0), texture, "mask" if masked else "opaque")


def _atlas(pages: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, dict[int, int], int, int]:
    """One image of the used light pages, cell 0 being even grey for faces without baked light; page -> cell."""
    count, side = len(used) + 1, pages.shape[1] if len(pages) else 1
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    atlas = np.full((rows * side, columns * side, 4), 255, np.uint8)
    atlas[:side, :side, :3] = 110
    for cell, page in enumerate(used, 1):
        y, x = divmod(cell, columns)
        atlas[y * side : (y + 1) * side, x * side : (x + 1) * side, :3] = pages[page]
    return atlas, {int(page): cell for cell, page in enumerate(used, 1)}, columns, rows
