"""Cameras, and depth if there is one, that another program found for a video.

| source                                    | what is read                                                           |
|-------------------------------------------|------------------------------------------------------------------------|
| a camera file (`lyra.io.cameras`)         | cameras                                                                |
| a folder of ViPE                          | pose/*.npz (c2w), intrinsics/*.npz (fx, fy, cx, cy), depth/*.zip (EXR) |
| a .npz of VGGT or Depth Anything 3        | extrinsic(s) (w2c), intrinsic(s), depth                                |

All use OpenCV axes. Nothing is downloaded and none of these programs is needed.
"""

import hashlib
import importlib
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from lyra.io.cameras import load_cameras
from lyra.scene import Cameras, InputError, require
from lyra.video.footage import Footage, fit

_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, IndexError)


@dataclass(frozen=True, eq=False)
class Given:
    """n cameras of the whole picture (any size), their depth along z in the same unit, if known (0: unknown)."""

    cameras: Cameras
    depth: Float[Tensor, "n h w"] | None
    what: str

    @property
    def digest(self) -> str:
        """SHA-256 of cameras and depth, wherever they were read."""
        cameras = self.cameras
        tensors = (cameras.c2w, cameras.K, *(() if self.depth is None else (self.depth,)))
        found = hashlib.sha256(f"{cameras.width}x{cameras.height} {[tuple(t.shape) for t in tensors]}".encode())
        for tensor in tensors:
            found.update(tensor.contiguous().numpy().tobytes())
        return found.hexdigest()

    def of(self, footage: Footage) -> "Given":
        """What belongs to the frames of a video, at their size.

        There must be one camera for each of these frames, or for each frame of the source.
        """
        count, last = len(self.cameras), int(footage.index[-1])
        require(
            count == len(footage) or count > last,
            f"{self.what}: holds {count} cameras, but the video needs {len(footage)} (one for each frame that is used) "
            f"or at least {last + 1} (one for each frame of the file)",
        )
        chosen = torch.arange(count) if count == len(footage) else footage.index
        height, width = footage.frames.shape[-2:]
        depth = None if self.depth is None else self.depth[chosen]
        if depth is not None:
            whole = functional.interpolate(depth[:, None], footage.full_size[::-1], mode="nearest-exact")
            depth = fit(torch.where(whole > 0, whole, torch.nan), height, width)[:, 0]
        return Given(footage.fitted(self.cameras[chosen]), depth, self.what)


def read_given(path: str | os.PathLike) -> Given:
    """Whatever of the above `path` is. Raises InputError."""
    source = Path(path)
    require(source.exists(), f"{path}: there is no such file or folder")
    try:
        if source.is_dir() and (source / "pose").is_dir():
            return _vipe(source)
        if source.suffix.lower() == ".npz":
            return _network(source)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path}: is not a whole result of ViPE, VGGT or Depth Anything 3 ({error})") from error
    cameras = load_cameras(source)
    return Given(cameras, None, str(path))


def _only(folder: Path, suffix: str) -> Path:
    """The one file of a kind in a folder of ViPE."""
    found = sorted(folder.glob(f"*{suffix}"))
    require(len(found) == 1, f"{folder}: must hold one *{suffix} (the result of one video), but holds {len(found)}")
    return found[0]


def _vipe(folder: Path) -> Given:
    """pose/CLIP.npz data [n, 4, 4] c2w, intrinsics/CLIP.npz data [n, 4], depth/CLIP.zip of 00000.exr with channel Z."""
    depth = None
    if (folder / "depth").is_dir():
        depth = _exr_depth(_only(folder / "depth", ".zip"))
    with np.load(_only(folder / "pose", ".npz")) as poses, np.load(_only(folder / "intrinsics", ".npz")) as lenses:
        c2w = torch.from_numpy(np.asarray(poses["data"], np.float32))
        fx, fy, cx, cy = torch.from_numpy(np.asarray(lenses["data"], np.float32)).unbind(-1)
    if depth is None:  # the size of the picture is twice the lens's centre
        width, height = round(2 * float(cx[0])), round(2 * float(cy[0]))
    else:
        height, width = depth.shape[-2:]
    require(
        len(fx) == len(c2w) and (depth is None or len(depth) == len(c2w)),
        f"{folder}: holds {len(c2w)} poses, {len(fx)} lenses and {0 if depth is None else len(depth)} depth maps; they "
        "must be of the same frames",
    )
    K = torch.eye(3).repeat(len(fx), 1, 1)
    K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = fx, fy, cx, cy
    return Given(Cameras(c2w, K, width, height), depth, str(folder))


def _exr_depth(path: Path) -> Float[Tensor, "n h w"]:
    """All maps of a zip, in the order of their numbers; 0 where there is no depth."""
    try:
        exr = importlib.import_module("OpenEXR")
    except ImportError:
        raise InputError(f"{path}: reading EXR depth needs OpenEXR; pip install 'lyra-3d[video]'") from None
    maps = []
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as place:
        for name in sorted(name for name in archive.namelist() if name.endswith(".exr")):
            file = Path(place) / "map.exr"
            file.write_bytes(archive.read(name))
            with exr.File(str(file)) as opened:
                maps.append(np.asarray(opened.channels()["Z"].pixels, np.float32))
    require(len(maps) > 0, f"{path}: holds no .exr depth maps")
    return _clean(np.stack(maps))


def _network(path: Path) -> Given:
    """VGGT: extrinsic, intrinsic, depth [n, h, w, 1]. Depth Anything 3: extrinsics, intrinsics, depth [n, h, w]."""
    with np.load(path) as file:
        names = set(file.files)
        pose, lens = ("extrinsics", "intrinsics") if "extrinsics" in names else ("extrinsic", "intrinsic")
        missing = sorted({pose, lens, "depth"} - names)
        require(not missing, f"{path}: has no {', '.join(missing)}; is it a result of VGGT or Depth Anything 3?")
        w2c, K, depth = (np.asarray(file[name], np.float32) for name in (pose, lens, "depth"))
    depth = depth[..., 0] if depth.ndim == 4 else depth
    bottom = np.tile(np.array([[[0, 0, 0, 1]]], np.float32), (len(w2c), 1, 1))
    matrix = np.concatenate([w2c[:, :3, :4], bottom], 1)
    turn = matrix[:, :3, :3].transpose(0, 2, 1)
    c2w = matrix.copy()
    c2w[:, :3, :3], c2w[:, :3, 3] = turn, -(turn @ matrix[:, :3, 3:])[..., 0]
    cameras = Cameras(torch.from_numpy(c2w), torch.from_numpy(K), depth.shape[2], depth.shape[1])
    return Given(cameras, _clean(depth), str(path))


def _clean(depth: np.ndarray) -> Float[Tensor, "n h w"]:
    return torch.from_numpy(np.where(np.isfinite(depth) & (depth > 0), depth, 0.0))
