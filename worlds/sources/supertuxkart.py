"""SuperTuxKart: tracks as levels and karts as vehicles, with the licence of every mesh and texture looked up.

A track whose own meshes are all free to train on is kept so: library objects under other licences are left out and
textures under other licences replaced (see stk_substitutes). All other tracks are for evaluation and complete.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from worlds.errors import WorldsError
from worlds.fetch import Package
from worlds.licences import Credit
from worlds.scene import Instance, Material, Mesh, Mover, Sky, Sun, Texture, World
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.geometry import indexed_mesh
from worlds.sources.obj import linear
from worlds.sources.spm import Part, read_spm
from worlds.sources.stk_scene import items, read_xml
from worlds.sources.stk_substitutes import mean_colour, stand_in, tint
from worlds.sources.textures import STK_DATA, debian_copyright, file_credit, read_image

PACKAGE = "supertuxkart-data"
_NOT_TRACKS = {"endcutscene", "featunlocked", "gplose", "gpwin", "introcutscene", "introcutscene2", "tutorial"}
_UNSEEN_SHADERS = {"additive", "displace", "decal"}
_LIT = 2.2  # radiance of a white sun


@dataclass(frozen=True, eq=False)
class Track:
    """A level with what the pack needs beside it: its credit, the credits of its textures, its sky."""

    key: str
    world: World
    credit: Credit
    texture_credits: dict[str, Credit]
    sky: tuple[str, np.ndarray, Credit] | None


class Library:
    """The unpacked game data: finds meshes, textures, material descriptions and licences."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.root = package.path(STK_DATA.rstrip("/"))
        self._copyright = debian_copyright(package)
        self._images = {path.name: path for path in sorted((self.root / "textures").iterdir())}
        self._material_shaders = lru_cache(maxsize=None)(self._read_shaders)
        self._shaders = self._material_shaders(self.root / "textures")
        self.texture_files: dict[str, Path] = {}
        self.credit = lru_cache(maxsize=None)(self._credit)
        self.mesh = lru_cache(maxsize=None)(self._mesh)
        self._replaced = lru_cache(maxsize=None)(self._replace)
        self.texture = lru_cache(maxsize=None)(self._texture)

    def tracks(self) -> list[str]:
        """The names of all tracks and arenas."""
        folders = sorted(path.parent.name for path in self.root.glob("tracks/*/scene.xml"))
        return [name for name in folders if name not in _NOT_TRACKS]

    def karts(self) -> list[str]:
        """The names of all karts."""
        return sorted(path.parent.name for path in self.root.glob("karts/*/kart.xml"))

    def _credit(self, path: Path) -> Credit:
        """The credit of one file of the game data."""
        return file_credit(self.package, self._copyright, "data/" + path.relative_to(self.root).as_posix())

    def _read_shaders(self, folder: Path) -> dict[str, str]:
        path = folder / "materials.xml"
        if not path.exists():
            return {}
        return {m.get("name"): m.get("shader", "solid") for m in read_xml(path).iter("material")}

    def shader(self, folder: Path, texture: str) -> str:
        """The shader a texture is drawn with: the folder's own description counts before the shared one."""
        own = self._material_shaders(folder)
        return own.get(texture, self._shaders.get(texture, "solid"))

    def image_path(self, folder: Path, texture: str) -> Path | None:
        """The file of a texture: beside the model, else among the shared ones."""
        own = folder / texture
        return own if own.exists() else self._images.get(texture)

    def _texture(self, path: Path) -> Texture:
        key = "stk/" + path.relative_to(self.root).as_posix().lower()
        self.texture_files[key] = path
        return Texture(key, read_image(path.read_bytes()))

    def _mesh(self, path: Path, shared: Path, strict: bool) -> Mesh | None:
        """The visible parts of a model, None if there are none. Textures are searched in its folder, then `shared`."""
        parts, materials = [], []
        for part in read_spm(path.read_bytes(), str(path)):
            material = self._material(path.parent, shared, part, strict)
            if material is not None and len(part.triangles):
                parts.append(part)
                materials.append(material)
        if not parts:
            return None
        corners = [[getattr(p, name)[p.triangles] for p in parts] for name in ("positions", "normals", "uvs")]
        faces = np.repeat(np.arange(len(parts)), [len(p.triangles) for p in parts])
        mesh = indexed_mesh(*(np.concatenate(column) for column in corners), faces, tuple(materials))
        return mesh if len(mesh.triangles) else None

    def _material(self, folder: Path, shared: Path, part: Part, strict: bool) -> Material | None:
        shader = self.shader(folder, part.texture)
        if shader == "solid":
            shader = self.shader(shared, part.texture)
        path = self.image_path(folder, part.texture) or self.image_path(shared, part.texture)
        if not part.texture or path is None or shader in _UNSEEN_SHADERS:
            return None  # invisible walls carry no texture
        texture = self.texture(path)
        see_through = shader in ("alphatest", "alphablend", "grass")
        emission = 1.0 if shader == "unlit" else 0.0
        colour = (1.0, 1.0, 1.0)
        if strict and not self.credit(path).train_ok:
            colour, texture = self._replaced(path, see_through)
            if texture is None:
                return None if see_through else Material(colour, None, "opaque", emission)
        return Material(colour, texture, "mask" if see_through else "opaque", emission)

    def _replace(self, path: Path, masked: bool) -> tuple[tuple[float, float, float], Texture | None]:
        """The colour and free texture that take the place of a texture that may not be trained on."""
        wanted, file = self.texture(path).rgba, stand_in(path.name, masked)
        if file is None:
            return mean_colour(wanted), None
        texture = self.texture(self._images[file])
        return tint(wanted, texture.rgba), texture


def read_track(library: Library, name: str) -> Track:
    """The track `name` as a level. WorldsError if nothing of it can be seen."""
    folder = library.root / "tracks" / name
    scene = read_xml(folder / "scene.xml")
    description = read_xml(folder / "track.xml")
    strict = all(library.credit(path).train_ok for path in folder.glob("*.spm"))
    instances, movers, used = [], [], set()
    for item in items(scene, folder, library.root / "library"):
        if not item.model.exists() or (strict and not library.credit(item.model).train_ok):
            continue
        mesh = library.mesh(item.model, folder, strict)
        if mesh is None:
            continue
        used.add(item.model)
        instance = Instance(mesh, item.transform, item.label)
        if item.times is None:
            instances.append(instance)
        else:
            movers.append(Mover(instance, item.times, item.transforms))
    if not instances:
        raise WorldsError(f"the track {name} shows nothing")
    world = World(
        name=f"stk/{name}",
        kind="level",
        instances=tuple(instances),
        movers=tuple(movers),
        sun=_sun(scene),
        sky=Sky(np.array([[_sky_colour(scene)]], np.float32), 1.0, _sky_colour(scene)),
        spawns=_spawns(folder, scene),
        near_scale=8.0,
        caption=_caption(description, instances),
    )
    credits = {key: library.credit(path) for key, path in library.texture_files.items()}
    return Track(f"stk/{name}", world, _joint(library, used), credits, _sky(library, scene, folder, name))


def _joint(library: Library, used: set[Path]) -> Credit:
    """One credit for all meshes of a level: every author, every licence."""
    credits = [library.credit(path) for path in sorted(used)]
    authors = sorted({credit.author for credit in credits})
    licences = sorted({licence for credit in credits for licence in credit.licence.split(" and ")})
    return Credit(
        library.package.name,
        library.package.version,
        "; ".join(sorted({str(Path(credit.file).parent) for credit in credits})),
        "; ".join(authors),
        " and ".join(licences),
    )


def _colour(text: str | None, default: str) -> tuple[float, float, float]:
    return linear(tuple(float(v) / 255 for v in (text or default).split()[:3]))


def _sun(scene) -> Sun:
    sun = scene.find("sun")
    position = np.array([float(v) for v in (sun.get("xyz") if sun is not None else "100 200 100").split()])
    direction = -position * (1, 1, -1)
    direction[1] = min(direction[1], -0.15 * np.linalg.norm(direction))  # suns on the horizon light nothing
    colour = _paled(_colour(sun.get("sun-diffuse") if sun is not None else None, "255 245 230"))
    return Sun(tuple(float(v) for v in direction / np.linalg.norm(direction)), tuple(_LIT * v for v in colour))


def _paled(colour: tuple[float, float, float]) -> tuple[float, float, float]:
    """`colour` with a quarter of its saturation and at least 0.25 bright: the game lights in primary colours."""
    bright = max(sum(colour) / 3, 0.25)
    share = bright / max(sum(colour) / 3, 1e-3)
    return tuple(0.75 * bright + 0.25 * v * share for v in colour)


def _sky_colour(scene) -> tuple[float, float, float]:
    sun = scene.find("sun")
    return _paled(_colour(sun.get("ambient") if sun is not None else None, "140 150 165"))


def _spawns(folder: Path, scene) -> np.ndarray:
    """Points 1.2 m above the driveline; in arenas above the starting places and the items."""
    points: list[np.ndarray] = []
    if (folder / "quads.xml").exists():
        corners: list[list[np.ndarray]] = []
        for quad in read_xml(folder / "quads.xml").iter("quad"):
            corners.append([_corner(quad.get(f"p{k}"), corners) for k in range(4)])
        points = [np.mean(quad, axis=0) for quad in corners]
    if not points:
        for tag in ("start", "small-nitro", "big-nitro", "item", "banana"):
            for e in scene.iter(tag):
                xyz = e.get("xyz", "").split() or [e.get("x"), e.get("y"), e.get("z")]
                if None not in xyz:
                    points.append(np.array([float(v) for v in xyz]))
    chosen = points[:: max(1, len(points) // 64)]
    return (np.array(chosen).reshape(-1, 3) + np.array([0, 1.2, 0])) * (1, 1, -1)


def _corner(text: str, corners: list[list[np.ndarray]]) -> np.ndarray:
    if ":" in text:
        quad, corner = text.split(":")
        return corners[int(quad)][int(corner)]
    return np.array([float(v) for v in text.split()])


def _caption(description, instances: list[Instance]) -> str:
    counts = Counter(instance.label for instance in instances if instance.label)
    things = [label for label, _ in counts.most_common(4)]
    light = "at night" if description.get("is-during-day", "Y").upper().startswith("N") else "by day"
    return f"{description.get('name')}, a cartoon landscape {light}" + (f" with {', '.join(things)}" if things else "")


def _sky(library: Library, scene, folder: Path, name: str) -> tuple[str, np.ndarray, Credit] | None:
    """The sky box as a panorama of 128 x 256, if all its images are free to train on."""
    box = scene.find("sky-box")
    paths = [library.image_path(folder, file) for file in box.get("texture").split()] if box is not None else []
    if len(paths) != 6 or None in paths:
        return None
    credits = [library.credit(path) for path in paths]
    faces = [read_image(path.read_bytes())[..., :3] for path in paths]
    worst = next((credit for credit in credits if not credit.train_ok), credits[2])
    return f"stk/sky/{name}", _equirectangular(faces), worst


def _equirectangular(faces: list[np.ndarray], height: int = 128) -> np.ndarray:
    """Linear panorama [h, 2h, 3] of a cube (top, bottom, then four sides at azimuth 0, 180, 90, 270 degrees)."""
    polar = (np.arange(height) + 0.5) / height * np.pi
    azimuth = (np.arange(2 * height) + 0.5) / height * np.pi
    y = np.cos(polar)[:, None] + 0 * azimuth
    x, z = np.sin(polar)[:, None] * np.sin(azimuth), -np.sin(polar)[:, None] * np.cos(azimuth)
    biggest = np.maximum(np.abs(y), np.maximum(np.abs(x), np.abs(z)))
    views = [(y, x, z), (-y, x, -z), (-z, x, -y), (z, -x, -y), (x, z, -y), (-x, -z, -y)]
    out = np.zeros((height, 2 * height, 3), np.float32)
    for face, (toward, right, down) in zip(faces, views, strict=True):
        seen = toward >= biggest - 1e-9
        u = np.clip((right[seen] / toward[seen] + 1) / 2 * face.shape[1], 0, face.shape[1] - 1).astype(int)
        v = np.clip((down[seen] / toward[seen] + 1) / 2 * face.shape[0], 0, face.shape[0] - 1).astype(int)
        out[seen] = (face[v, u] / 255.0) ** 2.2
    return out


def read_kart(library: Library, name: str) -> Actor:
    """The kart `name` with its driver and wheels in one rigid mesh, facing +z."""
    folder = library.root / "karts" / name
    kart = read_xml(folder / "kart.xml")
    placed = [(folder / kart.get("model-file"), np.zeros(3))]
    for wheel in kart.find("wheels") if kart.find("wheels") is not None else []:
        placed.append((folder / wheel.get("model"), np.array([float(v) for v in wheel.get("position").split()])))
    credits = [library.credit(path) for path, _ in placed]
    strict = all(credit.train_ok for credit in credits)
    pieces, materials = [], []
    for path, position in placed:
        mesh = library.mesh(path, folder, strict)
        if mesh is not None:
            moved = (mesh.positions + position * (1, 1, -1)) * (-1, 1, -1)
            corners = (moved, mesh.normals * (-1, 1, -1), mesh.uvs)
            pieces.append((*(array[mesh.triangles] for array in corners), mesh.face_materials + len(materials)))
            materials.extend(mesh.materials)
    mesh = indexed_mesh(*(np.concatenate(column) for column in zip(*pieces, strict=True)), tuple(materials))
    low, high = mesh.positions.min(axis=0), mesh.positions.max(axis=0)
    middle = (low + high) / 2
    mesh = replace(mesh, positions=mesh.positions - np.float32((middle[0], low[1], middle[2])))
    size = tuple(round(float(v), 3) for v in high - low)
    label = f"go-kart driven by {kart.get('name')}"
    info = ActorInfo(f"stk/kart/{name}", "vehicle", label, size, {}, 0.0, 0.0, _joint(library, {p for p, _ in placed}))
    return Actor(info, mesh)
