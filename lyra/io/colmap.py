"""COLMAP models: cameras and images as .txt or .bin in one folder (poses are world-to-camera, OpenCV axes).

Pinhole models are read; radial ones only if their distortion is zero, since images must be undistorted for splatting
anyway. Points are neither needed nor read; an empty points3D file is written, because other programs look for it.
Images are put in the natural order of their names, as COLMAP's own order means nothing.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lyra.io.atomic import replacing_folder
from lyra.io.shots import (
    Shot,
    floats,
    invert,
    natural,
    pinhole,
    quat_to_rotation,
    read_text,
    rigid,
    rotation_to_quat,
    whole,
)
from lyra.scene import InputError, require

# Model names by COLMAP's number, with the count of parameters.
_MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
)  # fmt: skip
_COUNTS = dict(_MODELS)
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_TWO_FOCALS = ("PINHOLE", "OPENCV", "FULL_OPENCV")

Lens = tuple[np.ndarray, int, int]


def find(folder: Path) -> Path | None:
    """The folder of the model at or below `folder` (sparse/0, sparse, 0), or None."""
    for place in (folder, folder / "sparse" / "0", folder / "sparse", folder / "0"):
        if any((place / f"cameras{end}").is_file() and (place / f"images{end}").is_file() for end in (".bin", ".txt")):
            return place
    return None


def read(folder: Path) -> list[Shot]:
    """The shots of a model; the binary files are taken where both kinds are there."""
    place = find(folder)
    require(place is not None, f"{folder}: holds no COLMAP model (cameras and images as .bin or .txt)")
    binary = (place / "cameras.bin").is_file() and (place / "images.bin").is_file()
    source = place / ("images.bin" if binary else "images.txt")
    lenses = _lenses_binary(place / "cameras.bin") if binary else _lenses_text(place / "cameras.txt")
    shots = []
    for name, camera, pose in _poses_binary(source) if binary else _poses_text(source):
        require(camera in lenses, f"{source}: {name} uses camera {camera}, which the cameras file does not have")
        w2c = rigid(quat_to_rotation(source, name, pose[:4]), pose[4:])
        shots.append(Shot(name, invert(w2c), *lenses[camera]))
    return sorted(shots, key=lambda shot: natural(shot.name))


def _lens(path: Path, camera: int, model: str, width: int, height: int, parameters: np.ndarray) -> Lens:
    known = model in _ONE_FOCAL or model in _TWO_FOCALS
    require(
        known, f"{path}: camera {camera} has the model {model}; undistort the images first (colmap image_undistorter)"
    )
    used = 3 if model in _ONE_FOCAL else 4
    require(
        not parameters[used:].any(),
        f"{path}: camera {camera} has lens distortion; undistort the images first (colmap image_undistorter)",
    )
    focal = parameters[:1].repeat(2) if used == 3 else parameters[:2]
    return pinhole(*focal, *parameters[used - 2 : used]), width, height


def _lenses_text(path: Path) -> dict[int, Lens]:
    lenses = {}
    for line in read_text(path).splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        require(len(words) >= 4, f"{path}: expected 'id model width height parameters', got {line[:60]!r}")
        count = _COUNTS.get(words[1])
        require(count is not None, f"{path}: unknown camera model {words[1][:40]!r}")
        camera = _integer(path, words[0])
        width, height = whole(path, "image width", words[2]), whole(path, "image height", words[3])
        parameters = floats(path, f"parameters of camera {camera}", words[4:], (count,))
        lenses[camera] = _lens(path, camera, words[1], width, height, parameters)
    return lenses


def _poses_text(path: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    lines = iter(read_text(path).splitlines())
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        require(
            len(words) >= 10, f"{path}: expected 'id qw qx qy qz tx ty tz camera name', got {line[:60]!r}"
        )  # fmt: skip
        name = " ".join(words[9:])
        yield name, _integer(path, words[8]), floats(path, f"the pose of {name}", words[1:8], (7,))
        next(lines, None)  # the image's points, which may be an empty line


def _integer(path: Path, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise InputError(f"{path}: expected a camera number, got {word[:40]!r}") from None


class _Bytes:
    """Binary values in order; running out is an InputError."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, layout: str) -> tuple:
        size = struct.calcsize("<" + layout)
        require(self.at + size <= len(self.data), f"{self.path}: the file is cut short at byte {len(self.data)}")
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += size
        return values

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        require(end >= 0, f"{self.path}: an image name does not end; the file is damaged")
        raw, self.at = self.data[self.at : end], end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise InputError(f"{self.path}: an image name is not text; the file is damaged") from None

    def count(self, smallest: int) -> int:
        """A number of records of at least `smallest` bytes, which must fit into the file."""
        (number,) = self.take("Q")
        left = len(self.data) - self.at
        require(
            number * smallest <= left,
            f"{self.path}: claims {number} records, more than its {len(self.data)} bytes can hold",
        )
        return number


def _lenses_binary(path: Path) -> dict[int, Lens]:
    data = _Bytes(path)
    lenses = {}
    for _ in range(data.count(24)):
        camera, model, width, height = data.take("iiQQ")
        require(0 <= model < len(_MODELS), f"{path}: unknown camera model number {model}")
        name, count = _MODELS[model]
        size = whole(path, "image width", width), whole(path, "image height", height)
        lenses[camera] = _lens(path, camera, name, *size, np.array(data.take(f"{count}d")))
    return lenses


def _poses_binary(path: Path) -> Iterator[tuple[str, int, np.ndarray]]:
    data = _Bytes(path)
    for _ in range(data.count(64)):
        _, *pose, camera = data.take("i7di")
        name = data.text()
        points = data.count(24)
        data.at += 24 * points
        yield name, camera, np.array(pose)


def write(shots: Sequence[Shot], folder: Path, *, binary: bool = False) -> None:
    """Write a model into `folder` (name it scene/sparse/0 for programs that look there), text or binary.

    An existing model there is replaced whole; any other folder with content is refused. Times are not stored.
    """
    require(not any(shot.K[0, 1] for shot in shots), f"{folder}: COLMAP cannot hold a lens with skew")
    lenses: dict[tuple, int] = {}
    for shot in shots:
        lenses.setdefault(_key(shot), len(lenses) + 1)
    poses = []
    for index, shot in enumerate(shots, 1):
        quat = rotation_to_quat(shot.c2w[:3, :3].T)
        # Through the quaternion, which unlike float32's matrix is a rotation exactly: the centre survives to 1e-15.
        translation = -quat_to_rotation(folder, shot.name, quat) @ shot.c2w[:3, 3]
        poses.append((index, (*quat, *translation), lenses[_key(shot)], shot.name))
    with replacing_folder(folder, "cameras.bin" if binary else "cameras.txt") as temporary:
        if binary:
            _write_binary(temporary, lenses, poses)
        else:
            _write_text(temporary, lenses, poses)


def _key(shot: Shot) -> tuple:
    K = shot.K
    return shot.width, shot.height, float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _write_text(folder: Path, lenses: dict[tuple, int], poses: list[tuple]) -> None:
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy"]
    cameras += [f"{i} PINHOLE {w} {h} {' '.join(repr(x) for x in lens)}" for (w, h, *lens), i in lenses.items()]
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then the image's points"]
    for index, pose, camera, name in poses:
        images += [f"{index} {' '.join(repr(float(x)) for x in pose)} {camera} {name}", ""]
    files = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": ["# no points"]}
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_binary(folder: Path, lenses: dict[tuple, int], poses: list[tuple]) -> None:
    cameras = [struct.pack("<Q", len(lenses))]
    cameras += [struct.pack("<iiQQ4d", i, 1, w, h, *lens) for (w, h, *lens), i in lenses.items()]
    images = [struct.pack("<Q", len(poses))]
    for index, pose, camera, name in poses:
        images.append(struct.pack("<i7di", index, *pose, camera) + name.encode() + b"\0" + struct.pack("<Q", 0))
    files = {"cameras.bin": cameras, "images.bin": images, "points3D.bin": [struct.pack("<Q", 0)]}
    for name, parts in files.items():
        (folder / name).write_bytes(b"".join(parts))
