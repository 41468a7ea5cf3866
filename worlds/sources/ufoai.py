"""UFO:AI maps: streets, villages and offices with their props. All maps are GPL, so they serve evaluation alone."""

import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from worlds.fetch import Package
from worlds.licences import Credit
from worlds.scene import Instance, Material, Mesh, Sky, Sun, Texture, World
from worlds.sources.bsp import METRES, Faces, read_bsp, upright
from worlds.sources.geometry import crease_normals, indexed_mesh, triangulate
from worlds.sources.md2 import read_md2
from worlds.sources.textures import debian_copyright, file_credit, read_image

BASE = "usr/share/games/ufoai/base/"
MAPS = {
    "village": "a village with gardens",
    "small_street": "a small street with houses",
    "office": "an office building",
    "resort": "a holiday resort",
    "rivertown": "a town by a river",
    "estate": "a country estate",
    "england": "an english village",
    "harbour": "a harbour with warehouses",
}
_EYE = 1.2


class Library:
    """The archives of the three packages, open for reading."""

    def __init__(self, maps: Package, textures: Package, data: Package) -> None:
        files = ((maps, "0maps.pk3"), (textures, "0textures.pk3"), (data, "0models.pk3"))
        self._home: dict[str, tuple[zipfile.ZipFile, Package]] = {}
        for package, name in files:
            archive = zipfile.ZipFile(package.path(BASE + name))
            self._home.update((file, (archive, package)) for file in archive.namelist())
        self._copyright = {package.name: debian_copyright(package) for package, _ in files}
        self.texture_files: dict[str, str] = {}
        self.texture = lru_cache(maxsize=None)(self._texture)
        self.model = lru_cache(maxsize=None)(self._model)

    def read(self, file: str) -> bytes:
        """The bytes of a file of any of the archives. KeyError if there is none."""
        return self._home[file][0].read(file)

    def credit(self, file: str) -> Credit:
        """The credit of a file; compiled maps are credited as their sources."""
        package = self._home[file][1]
        source = file[:-4] + ".map" if file.endswith(".bsp") else file
        return file_credit(package, self._copyright[package.name], f"base/{source}")

    def _texture(self, stem: str) -> Texture | None:
        for suffix in ("", ".png", ".jpg", ".tga"):
            if stem + suffix in self._home and not (stem + suffix).endswith("/"):
                key = f"ufoai/{stem.removesuffix('.png').removesuffix('.jpg')}"
                self.texture_files[key] = stem + suffix
                return Texture(key, read_image(self.read(stem + suffix)))
        return None

    def _model(self, file: str, frame: int, skin: str) -> Mesh | None:
        if file not in self._home:
            return None
        positions, uvs, named = read_md2(self.read(file), file, frame)
        named = skin or named
        stem = str(PurePosixPath(file).parent / named.lstrip("./")) if named.startswith(".") else named
        texture = self.texture(stem) or self.texture(str(PurePosixPath(file).with_suffix("")))
        if texture is None or not len(positions):
            return None
        points = upright(positions)
        normals = crease_normals(points.reshape(-1, 3), np.arange(points.size // 3).reshape(-1, 3), 60.0)
        return indexed_mesh(points, normals, uvs, np.zeros(len(points), int), (_material(texture),))


def _material(texture: Texture | None) -> Material:
    if texture is None:
        return Material((0.4, 0.4, 0.4))
    masked = (texture.rgba[..., 3] < 128).mean() > 0.01
    return Material((1.0, 1.0, 1.0), texture, "mask" if masked else "opaque")


def worlds(library: Library) -> Iterator[tuple[World, Credit]]:
    """The complete maps of `MAPS` as levels with daylight."""
    for name, caption in MAPS.items():
        faces, entities = read_bsp(library.read(f"maps/{name}.bsp"), f"{name}.bsp")
        instances = [Instance(_map_mesh(library, faces), np.eye(4), "")]
        for entity in entities:
            if entity.get("classname") == "misc_model":
                instances.extend(_prop(library, entity))
        seeds = [e["origin"] for e in entities if e.get("classname", "").endswith("_start") and "origin" in e]
        spawns = upright(np.array([[float(v) for v in seed.split()] for seed in seeds]).reshape(-1, 3))
        world = World(
            name=f"ufoai/{name}",
            kind="level",
            instances=tuple(instances),
            sun=Sun((0.42, -0.78, -0.46), (2.2, 2.1, 1.9)),
            sky=Sky(np.array([[(0.45, 0.6, 0.85)]], np.float32), 1.0, (0.45, 0.5, 0.6)),
            spawns=spawns + np.array([0.0, _EYE - 24 * METRES, 0.0]),
            near_scale=6.0,
            caption=caption,
        )
        yield world, library.credit(f"maps/{name}.bsp")


def _map_mesh(library: Library, faces: Faces) -> Mesh:
    names = sorted(set(faces.textures))
    textures = [library.texture(f"textures/{name}") for name in names]
    number = np.array([names.index(name) for name in faces.textures])
    sizes = np.array([t.rgba.shape[1::-1] if t is not None else (128, 128) for t in textures], float)
    rows = triangulate(faces.corners, np.arange(len(faces.corners)), faces.sizes)
    corners, polygon = rows[:, 2::-1], rows[:, 3]
    uvs = faces.texels[corners] / sizes[number[polygon]][:, None]
    points = faces.corners[corners]
    normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    normals = np.repeat(normal[:, None], 3, axis=1)
    return indexed_mesh(points, normals, uvs, number[polygon], tuple(_material(t) for t in textures))


def _prop(library: Library, entity: dict[str, str]) -> list[Instance]:
    mesh = library.model(entity["model"], int(float(entity.get("frame", 0))), entity.get("skin", ""))
    if mesh is None or "origin" not in entity:
        return []
    pitch, yaw, roll = (float(v) for v in entity.get("angles", f"0 {entity.get('angle', 0)} 0").split())
    scale = [float(v) for v in entity.get("modelscale_vec", entity.get("modelscale", "1")).split()]
    transform = np.eye(4)
    transform[:3, :3] = _turn(pitch, yaw, roll) * (scale if len(scale) == 3 else scale * 3)
    swap = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    transform[:3, :3] = swap @ transform[:3, :3] @ swap.T
    transform[:3, 3] = upright(np.array([float(v) for v in entity["origin"].split()]))
    return [Instance(mesh, transform, PurePosixPath(entity["model"]).parent.name.strip("0123456789_"))]


def _turn(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Quake's angles in degrees as a matrix, z up: roll about x, then pitch about y, then yaw about z."""
    p, y, r = np.radians([pitch, yaw, roll])
    about_z = np.array([[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(p), 0, np.sin(p)], [0, 1, 0], [-np.sin(p), 0, np.cos(p)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(r), -np.sin(r)], [0, np.sin(r), np.cos(r)]])
    return about_z @ about_y @ about_x
