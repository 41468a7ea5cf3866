"""`.splat`: 32 bytes a Gaussian, colour only (no SH): position and scale float32, colour, opacity and rotation 8 bits.

The rows are sorted by size times opacity, largest first, as its players expect. Axes are ours (OpenCV), unchanged.
"""

import os

import numpy as np

from lyra.io import storage
from lyra.io.atomic import replacing_file
from lyra.scene import Gaussians, require
from lyra.scene.sh import C0

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def save(scene: Gaussians, path: str | os.PathLike) -> None:
    """Write `scene`; view-dependent colour and provenance are lost, with a warning for the former."""
    scene = storage.to_write(scene, path)
    if scene.sh_degree > 0 and bool(scene.sh[:, 1:].any()):
        storage.log.warning("%s: .splat has no view-dependent colour; only degree 0 is kept", path)
    rows = np.empty(len(scene), _ROW)
    rows["mean"], rows["scale"] = scene.means.numpy(), scene.scales.numpy()
    rows["rgba"][:, :3] = np.clip(np.rint(scene.rgb.numpy() * 255), 0, 255)
    rows["rgba"][:, 3] = np.rint(scene.opacities.numpy() * 255)
    rows["quat"] = np.clip(np.rint(scene.quats.numpy() * 128 + 128), 0, 255)
    weight = scene.scales.numpy().prod(1, dtype=np.float64) * scene.opacities.numpy()
    order = np.argsort(-weight, kind="stable")
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        for part in storage.blocks(len(rows)):
            file.write(rows[order[part]])


def load(path: str | os.PathLike) -> Gaussians:
    """Read a `.splat` file (degree 0). The format has no header: InputError if the bytes cannot be Gaussians."""
    size = os.path.getsize(path)
    require(size > 0, f"{path}: holds no Gaussians (the file is empty)")
    require(size % 32 == 0, f"{path}: is {size} bytes long, but a .splat file has 32 bytes a Gaussian; it is cut short")
    rows = np.fromfile(path, _ROW)
    quats = (rows["quat"].astype(np.float32) - 128) / 128
    unit = np.abs(np.linalg.norm(quats, axis=1) - 1) < 0.1
    require(bool(unit.mean() > 0.5), f"{path}: is not a .splat file (most of its rotations are not unit quaternions)")
    rgba = rows["rgba"].astype(np.float32) / 255
    sh = ((rgba[:, :3] - 0.5) / C0)[:, None]
    return storage.to_scene(path, rows["mean"], quats, rows["scale"], rgba[:, 3], sh)[0]
