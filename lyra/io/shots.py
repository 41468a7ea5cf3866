"""One camera as a file stores it, and the way between lists of those and `Cameras`.

Every camera format reads to and writes from a list of shots; what a format may get wrong is checked here once.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lyra.scene import Cameras, InputError, require, rotations


@dataclass(frozen=True, eq=False)
class Shot:
    """A camera with the name of its image. c2w [4, 4] OpenCV and K [3, 3] in pixels, both float64; time in seconds."""

    name: str
    c2w: np.ndarray
    K: np.ndarray
    width: int
    height: int
    time: float | None = None


def to_cameras(path: Path, shots: Sequence[Shot]) -> Cameras:
    """All shots as Cameras [n] in float32. Times are kept if every shot has one. Errors name the file and camera."""
    require(len(shots) > 0, f"{path}: holds no cameras")
    sizes = sorted({(shot.width, shot.height) for shot in shots})
    listed = ", ".join(f"{w}x{h}" for w, h in sizes[:4])
    require(
        len(sizes) == 1,
        f"{path}: holds images of {len(sizes)} sizes ({listed}), but one list of cameras has one size; resize them or "
        f"split the file",
    )
    try:
        return _stack(shots)
    except InputError as whole:
        for shot in shots:
            try:
                _stack([shot])
            except InputError as error:
                raise InputError(f"{path}: camera {shot.name!r} is unusable ({error})") from None
        raise InputError(f"{path}: {whole}") from None


def _stack(shots: Sequence[Shot]) -> Cameras:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which Cameras refuses
        c2w = torch.from_numpy(np.stack([shot.c2w for shot in shots]).astype(np.float32))
        K = torch.from_numpy(np.stack([shot.K for shot in shots]).astype(np.float32))
    times = [shot.time for shot in shots]
    seconds = None if any(time is None for time in times) else torch.tensor(times, dtype=torch.float32)
    return Cameras(c2w, K, shots[0].width, shots[0].height, seconds)


def from_cameras(cameras: Cameras, names: Sequence[str] | None = None) -> list[Shot]:
    """The shots of cameras of any batch shape; names default to frame_00000.png and so on."""
    flat = cameras.flatten()
    names = [f"frame_{i:05d}.png" for i in range(len(flat))] if names is None else list(names)
    require(len(names) == len(flat), f"{len(flat)} cameras need as many image names, got {len(names)}")
    require(len(set(names)) == len(names), "the image names of cameras must differ from each other")
    bad = [name for name in names if not name or any(c.isspace() for c in name)]
    require(not bad, f"image names must not be empty or hold spaces (camera files cannot store that), got {bad[:1]}")
    c2w, K = flat.c2w.detach().double().cpu().numpy(), flat.K.detach().double().cpu().numpy()
    times = [None] * len(flat) if flat.times is None else flat.times.double().tolist()
    return [Shot(*row, flat.width, flat.height, time) for *row, time in zip(names, c2w, K, times, strict=True)]


def pinhole(fx: float, fy: float, cx: float, cy: float, skew: float = 0.0) -> np.ndarray:
    """K [3, 3]."""
    return np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The 4x4 transform x -> R x + t."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a rigid transform, exact to rounding even where R is not quite a rotation."""
    rotation = np.linalg.inv(matrix[:3, :3]) if abs(np.linalg.det(matrix[:3, :3])) > 1e-9 else matrix[:3, :3].T
    return rigid(rotation, -rotation @ matrix[:3, 3])


def quat_to_rotation(path: Path, name: str, wxyz: np.ndarray) -> np.ndarray:
    """R of a quaternion (w, x, y, z), which must have length 1 to a thousandth."""
    length = float(np.linalg.norm(wxyz))
    require(
        abs(length - 1) < 1e-3,
        f"{path}: the quaternion of camera {name!r} has length {length:g}, but a rotation needs length 1",
    )
    return rotations.quat_to_matrix(torch.from_numpy(wxyz)).numpy()


def rotation_to_quat(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of a rotation, w >= 0."""
    return rotations.matrix_to_quat(torch.from_numpy(rotation)).numpy()


def natural(name: str) -> list:
    """Sort key that puts frame_9 before frame_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def floats(path: Path, what: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of the given shape from parsed JSON or split text."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: {what} must be numbers, got {str(value)[:60]!r}") from None
    require(array.shape == shape, f"{path}: {what} must have shape {list(shape)}, got {list(array.shape)}")
    return array


def whole(path: Path, what: str, value: Any) -> int:
    """A positive whole number of pixels."""
    number = float(floats(path, what, value, ()))
    require(number == round(number) if np.isfinite(number) else False, f"{path}: {what} must be whole, got {value}")
    require(1 <= number <= 1_000_000, f"{path}: {what} must be between 1 and a million pixels, got {value}")
    return int(number)


def read_text(path: Path) -> str:
    """A text file; InputError if it is missing, a folder or no text."""
    require(path.exists(), f"{path}: there is no such file")
    require(path.is_file(), f"{path}: is a folder, but a file is needed")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_json(path: Path) -> Any:
    """Parsed JSON; InputError with the place of the mistake."""
    text = read_text(path)
    require(text.strip() != "", f"{path}: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not valid JSON ({error.msg} in line {error.lineno})") from None
    except (RecursionError, ValueError):
        raise InputError(f"{path}: is not JSON that holds cameras") from None
