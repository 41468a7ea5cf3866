"""glTF 2.0 binary `.glb` with KHR_gaussian_splatting: one POINTS primitive whose attributes are the Gaussians.

glTF is Y-up. The arrays stay in our axes (OpenCV) and the node that holds them turns by 180 degrees about x, so what
is read back is bit for bit what was written, and every glTF program sees the scene upright.
"""

import json
import os
import struct
from collections.abc import Callable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import torch

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.io.storage import remaining
from lyra.scene import Gaussians, InputError, require
from lyra.scene.rotations import compose, quat_to_matrix

_EXTENSION = "KHR_gaussian_splatting"
_MAX_JSON = 1 << 26
_TYPES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_COMPONENTS = {5120: ("i1", 127), 5121: ("u1", 255), 5122: ("<i2", 32767), 5123: ("<u2", 65535), 5126: ("<f4", 1)}
_ROWS = 1 << 13  # written at once: few enough that torch starts no threads for them, which on busy cores takes longer
_Column = tuple[int, Callable[[Gaussians], np.ndarray]]


class _Buffer(NamedTuple):
    """Where the binary chunk of an open file lies, in bytes. Its accessors are read one at a time to save memory."""

    file: BinaryIO
    begin: int
    size: int


def save(
    scene: Gaussians,
    path: str | os.PathLike,
    *,
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
) -> None:
    """Write `scene`; provenance becomes the attribute `_SEEN` (0 or 1), which other readers ignore.

    `scale` ("metric" or "relative") and `gravity` (in the arrays' axes) go into asset.extras.
    """
    scene = storage.to_write(scene, path)
    columns = _columns(scene)
    document, size = _document(scene, columns)
    notes = {"axes": "x right, y down, z forward before the node's rotation", "scale": scale, "gravity": gravity}
    document["asset"]["extras"] = {key: value for key, value in notes.items() if value is not None}
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + size))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", size, b"BIN\0"))
        for _, values in columns.values():
            for rows in storage.blocks(len(scene), _ROWS):
                file.write(np.ascontiguousarray(values(scene[rows]), "<f4"))


def _columns(scene: Gaussians) -> dict[str, _Column]:
    """The attributes in file order: how many numbers each has, and how to get them [n, numbers] from some Gaussians."""
    columns: dict[str, _Column] = {
        "POSITION": (3, lambda part: part.means.numpy()),
        f"{_EXTENSION}:ROTATION": (4, lambda part: part.quats.numpy()[:, [1, 2, 3, 0]]),
        f"{_EXTENSION}:SCALE": (3, lambda part: part.scales.numpy()),
        f"{_EXTENSION}:OPACITY": (1, lambda part: part.opacities.numpy()[:, None]),
    }
    for k in range(scene.sh.shape[1]):
        degree = int(k**0.5)
        name = f"{_EXTENSION}:SH_DEGREE_{degree}_COEF_{k - degree * degree}"
        columns[name] = (3, lambda part, k=k: part.sh[:, k].numpy())
    columns["COLOR_0"] = (4, _point_colours)
    if scene.seen is not None:
        columns["_SEEN"] = (1, lambda part: part.seen.numpy()[:, None])
    return columns


def _point_colours(part: Gaussians) -> np.ndarray:
    """RGBA [n, 4] for programs that only draw points: linear in glTF, while ours is display-referred sRGB."""
    rgb = part.rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return torch.cat([linear, part.opacities[:, None]], 1).numpy()


def _document(scene: Gaussians, columns: dict[str, _Column]) -> tuple[dict, int]:
    """The glTF JSON, and the bytes of its buffer."""
    accessors, views, offset = [], [], 0
    for name, (width, _) in columns.items():
        kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[width]
        accessor = {"bufferView": len(views), "componentType": 5126, "count": len(scene), "type": kind}
        if name == "POSITION":
            accessor |= {"min": scene.means.amin(0).tolist(), "max": scene.means.amax(0).tolist()}
        accessors.append(accessor)
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": 4 * width * len(scene)})
        offset += 4 * width * len(scene)
    extension = {
        "kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective",
        "sortingMethod": "cameraDistance",
    }  # fmt: skip
    primitive = {
        "mode": 0, "attributes": {name: i for i, name in enumerate(columns)}, "extensions": {_EXTENSION: extension},
    }  # fmt: skip
    document = {
        "asset": {"version": "2.0", "generator": "Lyra"}, "extensionsUsed": [_EXTENSION], "scene": 0,
        "scenes": [{"nodes": [0]}], "nodes": [{"name": "scene", "mesh": 0, "rotation": [1, 0, 0, 0]}],
        "meshes": [{"primitives": [primitive]}], "accessors": accessors, "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }  # fmt: skip
    return document, offset


def load(path: str | os.PathLike) -> Gaussians:
    """Read every KHR_gaussian_splatting primitive of the default scene of a `.glb`, placed by its nodes.

    SH degrees 0 to 3; compressed variants of the extension are not supported. Raises InputError if the file is
    damaged or holds no Gaussians.
    """
    try:
        with open(path, "rb") as file:
            document, buffer = _read_container(file, path)
            parts = []
            for matrix, mesh in _placed_meshes(document):
                for primitive in document["meshes"][mesh]["primitives"]:
                    if _EXTENSION in primitive.get("extensions", {}):
                        part = _read_primitive(document, primitive["attributes"], buffer, path)
                        parts.append(part if np.allclose(matrix, np.eye(4), atol=1e-7) else _moved(part, matrix, path))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its glTF structure is damaged ({type(error).__name__}: {error})") from error
    require(len(parts) > 0, f"{path}: holds no {_EXTENSION} primitive, so no Gaussians")
    return parts[0] if len(parts) == 1 else Gaussians.concat(parts)


def _moved(part: Gaussians, matrix: np.ndarray, path: str | os.PathLike) -> Gaussians:
    require(bool(np.isfinite(matrix).all()), f"{path}: one of its nodes has a transform that is not finite")
    return part.transform(torch.from_numpy(matrix).float())


def _read_container(file: BinaryIO, path: str | os.PathLike) -> tuple[dict, _Buffer]:
    head = file.read(12)
    require(len(head) == 12 and head[:4] == b"glTF", f"{path}: is not a binary glTF file")
    _, version, length = struct.unpack("<4sII", head)
    require(version == 2, f"{path}: is glTF version {version}; version 2 can be read")
    left = remaining(file)
    require(length - 12 <= left, f"{path}: promises {length} bytes but has {left + 12}; it is cut short")
    text, buffer = None, _Buffer(file, 0, 0)
    while remaining(file) >= 8 and file.tell() < length:
        size, kind = struct.unpack("<I4s", file.read(8))
        require(size <= remaining(file), f"{path}: has a chunk of {size} bytes that reaches beyond its end")
        if text is None:
            require(kind == b"JSON" and size <= _MAX_JSON, f"{path}: does not begin with a JSON chunk")
            text = file.read(size)
        elif kind == b"BIN\0":
            buffer = _Buffer(file, file.tell(), size)
            break
        else:
            file.seek(size, os.SEEK_CUR)
    require(text is not None, f"{path}: holds no JSON chunk; it is cut short")
    document = json.loads(text)
    require(isinstance(document, dict), f"{path}: its JSON chunk is not an object")
    return document, buffer


def _placed_meshes(document: dict):
    """Yield (matrix from the mesh's axes to ours, mesh index) for every node of the default scene with a mesh."""
    ours = np.diag([1.0, -1.0, -1.0, 1.0])
    scenes = document.get("scenes", [{"nodes": list(range(len(document.get("nodes", []))))}])
    stack = [(ours, node) for node in scenes[document.get("scene", 0)]["nodes"]]
    visits = 0
    while stack:
        parent, index = stack.pop()
        node = document["nodes"][index]
        visits += 1
        require(visits <= len(document["nodes"]), "the nodes of the glTF scene form a loop")
        matrix = parent @ _local(node)
        if "mesh" in node:
            yield matrix, node["mesh"]
        stack += [(matrix, child) for child in node.get("children", [])]


def _local(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.asarray(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    turn = quat_to_matrix(torch.tensor([w, x, y, z], dtype=torch.float64))
    moved = compose(turn, torch.tensor(node.get("translation", [0, 0, 0]), dtype=torch.float64)).numpy()
    return moved @ np.diag([*node.get("scale", [1, 1, 1]), 1.0])


def _read_primitive(document: dict, attributes: dict, buffer: _Buffer, path: str | os.PathLike) -> Gaussians:
    names = ["ROTATION", "SCALE", "OPACITY", "SH_DEGREE_0_COEF_0"]
    missing = [name for name in names if f"{_EXTENSION}:{name}" not in attributes]
    require(
        not missing and "POSITION" in attributes,
        f"{path}: its Gaussians lack {', '.join(missing) or 'POSITION'} (compressed variants cannot be read)",
    )

    def column(name: str, width: int) -> np.ndarray:
        return _accessor(document, attributes[name], buffer, width, path)

    degree = 0
    while degree < 3 and f"{_EXTENSION}:SH_DEGREE_{degree + 1}_COEF_0" in attributes:
        degree += 1
    columns = [
        column("POSITION", 3), column(f"{_EXTENSION}:ROTATION", 4)[:, [3, 0, 1, 2]],
        column(f"{_EXTENSION}:SCALE", 3), column(f"{_EXTENSION}:OPACITY", 1)[:, 0],
    ]  # fmt: skip
    n = len(columns[0])
    sh = np.empty((n, (degree + 1) ** 2, 3), np.float32)
    seen = column("_SEEN", 1)[:, 0] != 0 if "_SEEN" in attributes else None
    same = all(len(c) == n for c in [*columns, *([] if seen is None else [seen])])
    for k in range(sh.shape[1]):
        d = int(k**0.5)
        coefficient = column(f"{_EXTENSION}:SH_DEGREE_{d}_COEF_{k - d * d}", 3)
        same = same and len(coefficient) == n
        require(same, f"{path}: the attributes of its Gaussians have different lengths")
        sh[:, k] = coefficient
    return storage.to_scene(path, *columns, sh, seen)[0]


def _accessor(document: dict, index: int, buffer: _Buffer, width: int, path: str | os.PathLike) -> np.ndarray:
    """An accessor as float32 [count, width]; integers are normalised where the accessor says so."""
    accessor = document["accessors"][index]
    require(_TYPES.get(accessor["type"]) == width, f"{path}: accessor {index} should hold {width} numbers an item")
    require("sparse" not in accessor, f"{path}: uses sparse accessors, which are not supported for Gaussians")
    code, full = _COMPONENTS[accessor["componentType"]]
    view = document["bufferViews"][accessor["bufferView"]]
    require(view.get("buffer", 0) == 0, f"{path}: refers to another file; only self-contained .glb files can be read")
    row = np.dtype(code).itemsize * width
    begin, count = view.get("byteOffset", 0) + accessor.get("byteOffset", 0), accessor["count"]
    stride = view.get("byteStride", row)
    whole = all(type(v) is int and v >= 0 for v in (begin, count, stride)) and stride >= row and count > 0
    require(
        whole and begin + (count - 1) * stride + row <= buffer.size,
        f"{path}: accessor {index} reaches beyond the data; the file is cut short or damaged",
    )
    values, step = np.empty((count, width), np.float32), (stride, np.dtype(code).itemsize)
    for rows in storage.blocks(count):
        block = values[rows]
        buffer.file.seek(buffer.begin + begin + rows.start * stride)
        data = buffer.file.read((len(block) - 1) * stride + row)
        block[:] = np.ndarray(block.shape, code, data, 0, step)
    return values / full if accessor.get("normalized") else values
