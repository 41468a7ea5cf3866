"""transforms.json of nerfstudio and instant-ngp: camera-to-world poses with OpenGL axes (+x right, +y up, -z forward).

Intrinsics are shared or per frame (fl_x, fl_y, cx, cy, w, h, or camera_angle_x). `applied_transform`, which says how
the poses were moved after they were estimated, is undone, so that they are in the frame of the original scene.
Lens distortion is refused. Frames are put in the natural order of their file names.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lyra.io.atomic import write_json
from lyra.io.shots import Shot, floats, natural, pinhole, whole
from lyra.scene import require

_GL = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL camera axes <-> OpenCV camera axes
_PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE", "FULL_OPENCV")
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")


def parse(path: Path, document: dict) -> list[Shot]:
    """The shots of a parsed transforms.json."""
    frames = document.get("frames")
    require(isinstance(frames, list), f"{path}: 'frames' must be a list of cameras")
    undo = np.eye(4)
    if document.get("applied_transform") is not None:
        rows = np.asarray(document["applied_transform"], dtype=object)
        shape = (4, 4) if rows.shape[:1] == (4,) else (3, 4)
        undo[:3] = floats(path, "applied_transform", document["applied_transform"], shape)[:3]
        scale = float(abs(np.linalg.det(undo[:3, :3])) ** (1 / 3)) if np.isfinite(undo).all() else 0.0
        require(scale > 1e-9, f"{path}: applied_transform cannot be inverted")
        undo = np.linalg.inv(undo)
    shots = [_shot(path, i, frame, document, undo) for i, frame in enumerate(frames)]
    return sorted(shots, key=lambda shot: natural(shot.name))


def _shot(path: Path, index: int, frame: object, document: dict, undo: np.ndarray) -> Shot:
    require(isinstance(frame, dict), f"{path}: frame {index} must be an object, got {type(frame).__name__}")
    name = str(frame.get("file_path", f"frame_{index:05d}.png"))
    # Per-frame values win over shared ones.
    values = {key: value for key, value in (document | frame).items() if value is not None}
    model = str(values.get("camera_model", "OPENCV"))
    require(
        model in _PINHOLE_MODELS,
        f"{path}: {name} has the camera model {model}, but only pinhole images can be used; undistort them first",
    )
    bent = [key for key in _DISTORTION if key in values and float(floats(path, key, values[key], ())) != 0]
    require(not bent, f"{path}: {name} has lens distortion ({', '.join(bent)}); undistort the images first")
    require("transform_matrix" in frame, f"{path}: {name} has no transform_matrix")
    c2w = floats(path, f"transform_matrix of {name}", frame["transform_matrix"], (4, 4))
    require("w" in values and "h" in values, f"{path}: {name} has no image size; add w and h to the file")
    width, height = whole(path, "w", values["w"]), whole(path, "h", values["h"])
    moved = undo @ c2w @ _GL
    scale = np.cbrt(abs(np.linalg.det(undo[:3, :3])))  # a scaled world must not scale the camera's axes
    moved[:3, :3] /= scale
    time = float(floats(path, f"time of {name}", values["time"], ())) if "time" in values else None
    return Shot(name, moved, _lens(path, name, values, width, height), width, height, time)


def _lens(path: Path, name: str, values: dict, width: int, height: int) -> np.ndarray:
    def number(key: str, default: float | None = None) -> float | None:
        return float(floats(path, f"{key} of {name}", values[key], ())) if key in values else default

    def from_angle(key: str, size: int) -> float | None:
        angle = number(key)
        return None if angle is None or not 0 < angle < math.pi else 0.5 * size / math.tan(angle / 2)

    fx = number("fl_x", from_angle("camera_angle_x", width))
    require(fx is not None, f"{path}: {name} has no focal length (fl_x or camera_angle_x)")
    fy = number("fl_y", from_angle("camera_angle_y", height) if "fl_x" not in values else None)
    return pinhole(fx, fx if fy is None else fy, number("cx", width / 2), number("cy", height / 2))


def write(shots: Sequence[Shot], path: Path) -> None:
    """Write with shared values where all frames agree, else per frame. The world is left as it is."""
    require(not any(shot.K[0, 1] for shot in shots), f"{path}: transforms.json cannot hold a lens with skew")
    lenses = [_intrinsics(shot) for shot in shots]
    same = all(lens == lenses[0] for lens in lenses)
    frames = []
    for shot, lens in zip(shots, lenses, strict=True):
        frame = {"file_path": shot.name} | ({} if same else lens)
        frame |= {} if shot.time is None else {"time": shot.time}
        frames.append(frame | {"transform_matrix": (shot.c2w @ _GL).tolist()})
    document = {"camera_model": "PINHOLE"} | (lenses[0] if same else {}) | {"frames": frames}
    write_json(path, document)


def _intrinsics(shot: Shot) -> dict[str, float | int]:
    K = shot.K
    return {
        "w": shot.width, "h": shot.height, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
    }  # fmt: skip
