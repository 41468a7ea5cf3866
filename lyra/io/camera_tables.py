"""Camera paths as plain text tables: RealEstate10K (.txt) and TUM (.tum).

RealEstate10K: a line with the video's address, then one line a frame: microseconds, fx fy cx cy as shares of the image
size, two zeros, and the 12 numbers of the world-to-camera matrix row by row. TUM: one line a frame: seconds, position,
camera-to-world quaternion x y z w; `#` starts a comment.

Neither stores the image size, nor TUM the lens; they are taken from a camera that the caller gives. Without one,
RealEstate10K is read as 720 lines of square pixels. Times are counted from the first frame, because recordings often
start at the clock's epoch, which float32 seconds cannot resolve.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lyra.io.atomic import replacing_file
from lyra.io.shots import Shot, floats, invert, pinhole, quat_to_rotation, read_text, rigid, rotation_to_quat
from lyra.scene import Cameras, require

_LINES = 720  # the usual height of RealEstate10K videos
_FPS = 24.0  # for paths without times


def read_realestate10k(path: Path, like: Cameras | None) -> list[Shot]:
    """The shots of a RealEstate10K file at the size of the camera `like`."""
    lines = [line.split() for line in read_text(path).splitlines()]
    rows = [words for i, words in enumerate(lines) if words and not (i == 0 and len(words) != 19)]
    table = (
        np.stack([floats(path, f"frame {i}", row, (19,)) for i, row in enumerate(rows)]) if rows else np.zeros((0, 19))
    )
    require(bool(np.isfinite(table).all()), f"{path}: the table holds NaN or infinity")
    require(bool((table[:, 1:3] > 0).all()), f"{path}: focal lengths must be positive shares of the image size")
    if like is None and len(table):
        width = max(1, min(1_000_000, round(_LINES * float(table[0, 2] / table[0, 1]))))
        size = (width, _LINES)
    else:
        size = (0, 0) if like is None else (like.width, like.height)
    shots = []
    for i, row in enumerate(table):
        fx, fy, cx, cy = row[1:5] * (*size, *size)
        c2w = invert(np.vstack([row[7:].reshape(3, 4), [0, 0, 0, 1]]))
        name = f"{int(row[0])}" if abs(row[0]) < 1e15 else str(i)
        shots.append(Shot(name, c2w, pinhole(fx, fy, cx, cy), *size, (row[0] - table[0, 0]) / 1e6))
    return shots


def write_realestate10k(shots: Sequence[Shot], path: Path) -> None:
    """Write a RealEstate10K file; the line for the video's address only says who wrote it."""
    require(not any(shot.K[0, 1] for shot in shots), f"{path}: RealEstate10K cannot hold a lens with skew")
    lines = ["lyra"]
    for i, shot in enumerate(shots):
        K, w, h = shot.K, shot.width, shot.height
        lens = (K[0, 0] / w, K[1, 1] / h, K[0, 2] / w, K[1, 2] / h, 0, 0)
        numbers = [float(x) for x in (*lens, *invert(shot.c2w)[:3].flatten())]
        lines.append(f"{round(1e6 * _time(shot, i))} {' '.join(repr(x) for x in numbers)}")
    _write_lines(lines, path)


def read_tum(path: Path, like: Cameras | None) -> list[Shot]:
    """The shots of a TUM file with lens and size of the camera `like`."""
    require(
        like is not None, f"{path}: a TUM file stores poses alone; say which lens and image size to use with them"
    )  # fmt: skip
    K = like.K.reshape(-1, 3, 3)[0].double().cpu().numpy()
    rows = [line.replace(",", " ").split() for line in read_text(path).splitlines() if not line.startswith("#")]
    shots: list[Shot] = []
    first = 0.0
    for i, words in enumerate(row for row in rows if row):
        row = floats(path, f"line {i}", words, (8,))
        require(bool(np.isfinite(row).all()), f"{path}: line {i} holds NaN or infinity")
        first = row[0] if i == 0 else first
        rotation = quat_to_rotation(path, str(i), row[[7, 4, 5, 6]])
        shots.append(Shot(words[0], rigid(rotation, row[1:4]), K, like.width, like.height, row[0] - first))
    return shots


def write_tum(shots: Sequence[Shot], path: Path) -> None:
    """Write a TUM file. Lens, size and names are not stored."""
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for i, shot in enumerate(shots):
        w, x, y, z = rotation_to_quat(shot.c2w[:3, :3])
        lines.append(" ".join(repr(float(v)) for v in (_time(shot, i), *shot.c2w[:3, 3], x, y, z, w)))
    _write_lines(lines, path)


def _time(shot: Shot, index: int) -> float:
    return index / _FPS if shot.time is None else shot.time


def _write_lines(lines: Sequence[str], path: Path) -> None:
    with replacing_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
