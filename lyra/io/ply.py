"""3DGS `.ply`: the INRIA layout (Kerbl et al. 2023), the format that every splat tool reads.

Little-endian float32 rows x y z nx ny nz f_dc_0..2 f_rest_0.. opacity scale_0..2 rot_0..3: opacity is a logit, scales
are natural logarithms, rot is w x y z, f_rest is channel-major. Axes are ours (OpenCV), unchanged.
"""

import os
from collections.abc import Sequence

import numpy as np

from lyra.io import compressed_ply, storage
from lyra.io.atomic import replacing_file
from lyra.io.ply_header import Body, Element, read_header
from lyra.scene import Gaussians, require

_REST = {0: 0, 9: 1, 24: 2, 45: 3}


def save(
    scene: Gaussians,
    path: str | os.PathLike,
    *,
    layout: str = "standard",
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
    allow_empty: bool = False,
) -> None:
    """Write `scene` as a 3DGS PLY.

    layout "standard" holds the SH degree of the scene and, where provenance is known, one more float `seen` (0 or 1),
    which other readers skip (they choke on a uchar). layout "full" always is 62 floats (248 bytes) a row with degree
    3, for importers that accept nothing else; provenance is left out. `scale` ("metric", "relative") and `gravity` go
    into comments.
    Raises InputError for scenes that are empty (unless `allow_empty`) or not finite.
    """
    require(layout in ("standard", "full"), f"{path}: the PLY layout must be 'standard' or 'full', got {layout!r}")
    scene = storage.to_write(scene, path, allow_empty=allow_empty)
    k = 16 if layout == "full" else scene.sh.shape[1]
    seen = None if layout == "full" or scene.seen is None else scene.seen.numpy()
    names = _names(3 * (k - 1))
    lines = ["ply", "format binary_little_endian 1.0", "comment Lyra: Gaussians, colours are display-referred sRGB"]
    lines += ["comment axes: x right, y down, z forward"]
    lines += [f"comment scale: {scale}"] if scale else []
    lines += [f"comment gravity: {' '.join(f'{v:g}' for v in gravity)}"] if gravity is not None else []
    lines += [f"element vertex {len(scene)}", *(f"property float {name}" for name in names)]
    lines += ["property float seen"] if seen is not None else []
    width = len(names) + (seen is not None)
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        for first in range(0, len(scene), storage.BLOCK):
            rows = slice(first, first + storage.BLOCK)
            block = np.zeros((len(scene.means[rows]), width), "<f4")
            _fill(block[:, : len(names)], scene, rows, k)
            if seen is not None:
                block[:, -1] = seen[rows]
            file.write(block)


def _names(rest: int) -> list[str]:
    rest_names = [f"f_rest_{i}" for i in range(rest)]
    dc = [f"f_dc_{i}" for i in range(3)]
    return [
        *("x", "y", "z", "nx", "ny", "nz"), *dc, *rest_names, "opacity", *(f"scale_{i}" for i in range(3)),
        *(f"rot_{i}" for i in range(4)),
    ]  # fmt: skip


def _fill(floats: np.ndarray, scene: Gaussians, rows: slice, k: int) -> None:
    """Write the rows of one block: [rows, 14 + 3 k] floats, k = coefficients a colour in the file."""
    sh = scene.sh[rows].numpy()
    rest = floats[:, 9 : 6 + 3 * k].reshape(len(floats), 3, k - 1)  # a view: one axis becomes two
    floats[:, 0:3] = scene.means[rows].numpy()
    floats[:, 6:9] = sh[:, 0]
    rest[:, :, : sh.shape[1] - 1] = sh[:, 1:].transpose(0, 2, 1)
    floats[:, 6 + 3 * k] = storage.logit(scene.opacities[rows].numpy())
    floats[:, 7 + 3 * k : 10 + 3 * k] = storage.log_scale(scene.scales[rows].numpy())
    floats[:, 10 + 3 * k :] = scene.quats[rows].numpy()


def load(path: str | os.PathLike, *, allow_empty: bool = False) -> Gaussians:
    """Read a 3DGS or PlayCanvas compressed PLY: ASCII or binary of either byte order, SH degree 0 to 3.

    Other elements and properties are skipped. Rows that are not finite are dropped with a warning. Raises InputError
    for anything that is not a whole PLY of Gaussians.
    """
    with open(path, "rb") as file:
        header = read_header(file, path)
        if compressed_ply.is_compressed(header):
            return compressed_ply.read(file, header, path)
        vertex = header.element("vertex")
        require(vertex is not None, f"{path}: has no 'vertex' element, so it holds no Gaussians")
        degree = _degree(vertex, path)
        if vertex.count == 0 and allow_empty:
            return Gaussians.empty(degree)
        require(vertex.count > 0, f"{path}: holds no Gaussians (its header promises 0 vertices)")
        body = Body(file, header, path)
        for element in header.elements:
            if element is vertex:
                break
            body.skip(element)
        return _read(body, vertex, degree, path)


def _degree(vertex: Element, path: str | os.PathLike) -> int:
    scalar = {n for n, c in zip(vertex.properties, vertex.types, strict=True) if not isinstance(c, tuple)}
    rest = sum(name.startswith("f_rest_") for name in scalar)
    require(rest in _REST, f"{path}: has {rest} f_rest properties, but SH degrees 0 to 3 have 0, 9, 24 or 45")
    missing = [name for name in _names(rest) if name not in scalar and name not in ("nx", "ny", "nz")]
    require(
        not missing,
        f"{path}: is not a PLY of Gaussians, because its vertices lack {', '.join(missing[:4])}"
        f"{' ...' if len(missing) > 4 else ''}",
    )
    return _REST[rest]


def _read(body: Body, vertex: Element, degree: int, path: str | os.PathLike) -> Gaussians:
    k, n = (degree + 1) ** 2, vertex.count
    blocks = body.blocks(vertex, storage.BLOCK)
    first = next(blocks)  # before allocating: this checks that the file is as long as it says
    means, quats, scales = np.empty((n, 3), np.float32), np.empty((n, 4), np.float32), np.empty((n, 3), np.float32)
    opacities, sh = np.empty(n, np.float32), np.empty((n, k, 3), np.float32)
    seen = np.empty(n, bool) if "seen" in vertex.properties else None
    names, at, block = _names(3 * (k - 1)), 0, first
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is dropped as not finite
        while block is not None:
            rows = slice(at, at + len(block))
            means[rows] = _columns(block, names[0:3])
            sh[rows, 0] = _columns(block, names[6:9])
            if k > 1:
                rest = _columns(block, names[9 : 6 + 3 * k]).reshape(len(block), 3, k - 1)
                sh[rows, 1:] = rest.transpose(0, 2, 1)
            opacities[rows] = storage.sigmoid(block["opacity"].astype(np.float32))
            scales[rows] = np.exp(_columns(block, names[-7:-4]))
            quats[rows] = _columns(block, names[-4:])
            if seen is not None:
                seen[rows] = block["seen"] != 0
            at += len(block)
            block = next(blocks, None)
    return storage.to_scene(path, means, quats, scales, opacities, sh, seen)[0]


def _columns(block: np.ndarray, names: list[str]) -> np.ndarray:
    """The named fields as float32 [rows, names]: one strided view where they lie side by side, as they mostly do."""
    fields = [block.dtype.fields[name] for name in names]
    code, begin = fields[0]
    if all(field == (code, begin + i * code.itemsize) for i, field in enumerate(fields)):
        strides = (block.dtype.itemsize, code.itemsize)
        view = np.ndarray((len(block), len(names)), code, block.data, begin, strides)
        return np.ascontiguousarray(view, np.float32)
    return np.stack([block[name].astype(np.float32) for name in names], 1)
