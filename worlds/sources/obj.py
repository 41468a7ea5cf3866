"""Wavefront OBJ and MTL as the Sweet Home 3D catalogues use them: polygons, materials, textures; one pass in numpy."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from worlds.errors import WorldsError
from worlds.scene import Material, Mesh, Texture
from worlds.sources.geometry import crease_normals, indexed_mesh, triangulate

FileReader = Callable[[str], bytes | None]
ImageLoader = Callable[[str], np.ndarray | None]


@dataclass(frozen=True)
class MtlMaterial:
    """What is used of an MTL material: diffuse sRGB, texture file, opacity (`d`), emission in [0, 1] (`Ke`)."""

    diffuse: tuple[float, float, float] = (0.8, 0.8, 0.8)
    texture: str | None = None
    opacity: float = 1.0
    emission: float = 0.0


def parse_mtl(text: str) -> dict[str, MtlMaterial]:
    """Materials of an MTL file by name."""
    materials: dict[str, dict] = {}
    current: dict = {}
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "newmtl":
            current = materials.setdefault(rest, {})
        elif word == "Kd":
            current["diffuse"] = tuple(float(v) for v in rest.split()[:3])
        elif word == "Ke":
            current["emission"] = max(float(v) for v in rest.split()[:3])
        elif word == "d":
            current["opacity"] = float(rest.split()[-1])
        elif word == "map_Kd":
            current["texture"] = rest
    return {name: MtlMaterial(**fields) for name, fields in materials.items()}


def parse_obj(data: bytes, read: FileReader, image: ImageLoader, path: str, see_through: bool) -> Mesh:
    """The mesh of an OBJ file.

    read(file) gives the bytes of a file beside it (None if missing); image(file) the RGBA pixels of a texture; `path`
    is the OBJ's own place, which relative names start from. With `see_through`, faces of glass (opacity < 0.35) are
    left out, as for window panes. WorldsError if there are no faces.
    """
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\\\n", b" ")
    positions = _floats(text, b"v", 3)
    texcoords = _floats(text, b"vt", 2)
    normals = _floats(text, b"vn", 3)
    corners, sizes, names, name_of = _faces(text)
    if not len(sizes):
        raise WorldsError(f"{path} holds no faces; expected a Wavefront OBJ with polygons")
    described = _materials(text, read, path)
    rows = triangulate(positions, corners[:, 0], sizes)
    triangles, polygon = rows[:, :3], rows[:, 3]
    wanted = [described.get(name, MtlMaterial()) for name in names]
    kept = np.array([not (see_through and m.opacity < 0.35) for m in wanted])[name_of[polygon]]
    triangles, polygon = triangles[kept], polygon[kept]
    if not len(triangles):
        raise WorldsError(f"{path} holds no opaque faces; expected at least one")
    points = corners[triangles]
    p = positions[points[..., 0]]
    has_uv = (points[..., 1] >= 0).all(axis=1) & (len(texcoords) > 0)
    uv = np.zeros((*triangles.shape, 2))
    uv[has_uv] = texcoords[points[has_uv][..., 1]] * (1, -1) + (0, 1)
    n = crease_normals(positions, points[..., 0])
    has_normal = (points[..., 2] >= 0).all(axis=1) & (len(normals) > 0)
    n[has_normal] = normals[points[has_normal][..., 2]]
    length = np.linalg.norm(n, axis=2, keepdims=True)
    n = np.where(length > 1e-6, n / np.maximum(length, 1e-6), (0.0, 1.0, 0.0))
    materials = tuple(_material(m, image, str(PurePosixPath(path).parent)) for m in wanted)
    return indexed_mesh(p, n, uv, name_of[polygon], materials)


def _floats(text: bytes, word: bytes, columns: int) -> np.ndarray:
    lines = re.findall(rb"^" + word + rb"[ \t]+(.*)$", text, re.MULTILINE)
    if not lines:
        return np.zeros((0, columns))
    return np.array([line.split()[:columns] for line in lines]).astype(np.float64)


def _faces(text: bytes) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Corners i64 [c, 3] (position, uv, normal; -1 if absent), polygon sizes, material names, name of each polygon."""
    names, name_of, sizes, tokens = [""], [], [], []
    current, number = 0, {"": 0}
    for word, rest in re.findall(rb"^(f|usemtl)[ \t]+(.*)$", text, re.MULTILINE):
        if word == b"usemtl":
            name = rest.strip().decode("latin-1")
            current = number.setdefault(name, len(number))
            if current == len(names):
                names.append(name)
            continue
        parts = rest.split()
        sizes.append(len(parts))
        name_of.append(current)
        tokens.extend(parts)
    slashes = np.array([token.count(b"/") for token in tokens]) if tokens else np.zeros(0, int)
    corners = np.full((len(tokens), 3), -1, np.int64)
    for count in np.unique(slashes):
        rows = np.flatnonzero(slashes == count)
        joined = b"/".join(tokens[row] for row in rows).replace(b"//", b"/0/")
        if joined.endswith(b"/"):
            joined += b"0"
        corners[rows, : count + 1] = np.array(joined.split(b"/")).astype(np.int64).reshape(len(rows), count + 1) - 1
    return corners, np.array(sizes, np.int64), names, np.array(name_of, np.int64)


def _materials(text: bytes, read: FileReader, path: str) -> dict[str, MtlMaterial]:
    found: dict[str, MtlMaterial] = {}
    for name in re.findall(rb"^mtllib[ \t]+(.*?)[ \t]*$", text, re.MULTILINE):
        data = read(str(PurePosixPath(path).parent / name.decode("latin-1")))
        if data is not None:
            found.update(parse_mtl(data.decode("latin-1")))
    return found


def linear(srgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """Linear RGB of an sRGB colour in [0, 1] (IEC 61966-2-1)."""
    return tuple(float(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in np.clip(srgb, 0, 1))


def _material(described: MtlMaterial, image: ImageLoader, folder: str) -> Material:
    if described.texture is not None:
        key = str(PurePosixPath(folder) / described.texture)
        rgba = image(key)
        if rgba is not None:
            masked = (rgba[..., 3] < 128).mean() > 0.005
            texture = Texture(key, rgba)
            return Material((1.0, 1.0, 1.0), texture, "mask" if masked else "opaque", described.emission)
    return Material(linear(described.diffuse), emission=described.emission)
