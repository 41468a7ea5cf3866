"""Sweet Home 3D furniture: 820 textured models with real sizes, from the .sh3f catalogues of `sweethome3d-furniture`.

Each catalogue is a zip with PluginFurnitureCatalog.properties (name#7=..., width#7=... in cm) and OBJ models whose
front looks along +z. Licences: CC-BY 3.0 (Scopia, Kator Legaz, Reallusion, Blend Swap CC-BY), CC0 (Blend Swap CC-0).
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from worlds.errors import WorldsError
from worlds.licences import Credit
from worlds.scene import Mesh
from worlds.sources.furniture import FurnitureInfo, FurnitureModel, LightSource
from worlds.sources.obj import linear, parse_obj

PACKAGE = "sweethome3d-furniture"
_LICENCES = {
    "BlendSwap-CC-0": ("CC0", "contributors of blendswap.com"),
    "BlendSwap-CC-BY": ("CC-BY-3.0", "contributors of blendswap.com"),
    "KatorLegaz": ("CC-BY-3.0-US", "Andrew Kator & Jennifer Legaz"),
    "Reallusion": ("CC-BY-3.0-US", "Reallusion"),
    "Scopia": ("CC-BY-3.0", "Scopia Visual Interfaces Systems, s.l."),
}


@dataclass(frozen=True)
class Catalogue:
    """One .sh3f file, open for reading."""

    name: str
    version: str
    archive: zipfile.ZipFile
    records: tuple[dict[str, str], ...]


def open_catalogue(path: Path, version: str) -> Catalogue:
    """Read the list of models of a .sh3f file. WorldsError if it is not one."""
    try:
        archive = zipfile.ZipFile(path)
        text = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
    except (zipfile.BadZipFile, KeyError) as error:
        raise WorldsError(f"{path} is not a Sweet Home 3D catalogue ({error}); fetch {PACKAGE} again") from error
    if path.stem not in _LICENCES:
        raise WorldsError(f"the licence of the catalogue {path.name} is not known; expected one of {sorted(_LICENCES)}")
    numbered: dict[int, dict[str, str]] = {}
    for name, number, value in re.findall(r"^(\w+)#(\d+)\s*=[ \t]*(.*?)\s*$", text, re.MULTILINE):
        numbered.setdefault(int(number), {})[name] = value
    records = tuple(record for _, record in sorted(numbered.items()) if "model" in record)
    return Catalogue(path.stem, version, archive, records)


def furniture(catalogue: Catalogue) -> Iterator[FurnitureModel]:
    """Every model of a catalogue, in metres, upright, front towards +z, at full detail."""
    for record in catalogue.records:
        yield read_model(catalogue, record)


def read_model(catalogue: Catalogue, record: dict[str, str]) -> FurnitureModel:
    """The model that one catalogue record describes."""
    path = record["model"].lstrip("/")
    archive = catalogue.archive
    size = tuple(float(record[side]) / 100 for side in ("width", "height", "depth"))
    door_or_window = record.get("doorOrWindow") == "true"
    opening = door_or_window or record["category"].lower().startswith("doors")

    def read(file: str) -> bytes | None:
        try:
            return archive.read(str(_flat(file)))
        except KeyError:
            return None

    def image(file: str) -> np.ndarray | None:
        data = read(file)
        if data is None:
            return None
        with Image.open(BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGBA"))

    mesh = parse_obj(archive.read(path), read, image, path, see_through=opening)
    mesh = _with_keys(_fitted(mesh, _rotation(record), size))
    drop = float(record.get("dropOnTopElevation", record["height"]))
    licence, author = _LICENCES[catalogue.name]
    info = FurnitureInfo(
        key="sh3d/" + str(PurePosixPath(path).with_suffix("")).lower(),
        name=record.get("name", PurePosixPath(path).stem),
        label=caption_word(record.get("name", PurePosixPath(path).stem)),
        category=record["category"].lower(),
        size=size,
        elevation=float(record.get("elevation", 0)) / 100,
        drop_on_top=None if drop < 0 else drop / 100,
        door_or_window=door_or_window,
        movable=record.get("movable") == "true",
        lights=_lights(record, size),
        triangles=len(mesh.triangles),
        credit=Credit(
            PACKAGE, catalogue.version, f"{catalogue.name}.sh3f/{path}", record.get("creator", author), licence
        ),
    )
    return FurnitureModel(info, mesh)


def caption_word(name: str) -> str:
    """A caption word for a catalogue name: "Corner sofa 2" -> "corner sofa"."""
    word = re.sub(r"\(.*?\)|[\d_]+|\bn\b", " ", name.lower())
    return re.sub(r"\s+", " ", word).strip(" -.,")


def _flat(file: str) -> PurePosixPath:
    """`file` without "." and ".." steps, as zip members are named."""
    parts: list[str] = []
    for part in PurePosixPath(file.replace("\\", "/")).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return PurePosixPath(*parts)


def _rotation(record: dict[str, str]) -> np.ndarray:
    numbers = record.get("modelRotation")
    return np.array(numbers.split(), float).reshape(3, 3) if numbers else np.eye(3)


def _fitted(mesh: Mesh, rotation: np.ndarray, size: tuple[float, float, float]) -> Mesh:
    """`mesh` turned by the catalogue's rotation, scaled to its stated size, standing on the origin."""
    turned = mesh.positions @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = np.array(size) / np.maximum(high - low, 1e-6)
    middle = (low + high) / 2
    standing = (turned - (middle[0], low[1], middle[2])) * scale
    normals = mesh.normals @ rotation.T / scale
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return replace(mesh, positions=standing.astype(np.float32), normals=normals.astype(np.float32))


def _with_keys(mesh: Mesh) -> Mesh:
    """Textures named by their place in the catalogue, with the source in front."""
    materials = tuple(
        replace(m, texture=replace(m.texture, key="sh3d/" + str(_flat(m.texture.key)).lower())) if m.texture else m
        for m in mesh.materials
    )
    return replace(mesh, materials=materials)


def _lights(record: dict[str, str], size: tuple[float, float, float]) -> tuple[LightSource, ...]:
    """Light sources; the catalogue counts x from the left, y from the back and z from the floor, in cm."""
    if "lightSourceX" not in record:
        return ()
    columns = [record[f"lightSource{name}"].split() for name in ("X", "Y", "Z", "Color")]
    diameters = record.get("lightSourceDiameter", "").split() or ["5"] * len(columns[0])
    lights = []
    for x, y, z, colour, diameter in zip(*columns, diameters, strict=True):
        position = (float(x) / 100 - size[0] / 2, float(z) / 100, float(y) / 100 - size[2] / 2)
        srgb = tuple(int(colour.lstrip("#")[k : k + 2], 16) / 255 for k in (0, 2, 4))
        lights.append(LightSource(position, linear(srgb), float(diameter) / 100))
    return tuple(lights)
