"""cameras.json: Lyra's own camera file, which is also the list that 3D Gaussian Splatting (INRIA) writes.

A JSON list with one object a camera:
  id        number, counted from 0
  img_name  name of the image
  width, height  pixels
  position  [3] camera centre in the world
  rotation  3 rows of the camera-to-world rotation, OpenCV axes
  fx, fy    focal lengths in pixels
Lyra adds, and other programs ignore: cx, cy (pixels, image centre if missing), skew (0 if missing), time (seconds).
SuperSplat and other viewers load the file as a camera track.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from lyra.io.atomic import replacing_file
from lyra.io.shots import Shot, floats, pinhole, rigid, whole
from lyra.scene import require


def parse(path: Path, entries: list) -> list[Shot]:
    """The shots of a parsed list, in its order."""
    return [_shot(path, i, entry) for i, entry in enumerate(entries)]


def _shot(path: Path, index: int, entry: object) -> Shot:
    require(isinstance(entry, dict), f"{path}: camera {index} must be an object, got {type(entry).__name__}")
    missing = [key for key in ("width", "height", "position", "rotation", "fx", "fy") if key not in entry]
    require(not missing, f"{path}: camera {index} has no {', '.join(missing)}")

    def number(key: str, default: float = 0.0) -> float:
        return float(floats(path, f"{key} of camera {index}", entry.get(key, default), ()))

    width, height = (whole(path, f"{key} of camera {index}", entry[key]) for key in ("width", "height"))
    rotation = floats(path, f"rotation of camera {index}", entry["rotation"], (3, 3))
    position = floats(path, f"position of camera {index}", entry["position"], (3,))
    K = pinhole(number("fx"), number("fy"), number("cx", width / 2), number("cy", height / 2), number("skew"))
    time = number("time") if entry.get("time") is not None else None
    return Shot(str(entry.get("img_name", index)), rigid(rotation, position), K, width, height, time)


def write(shots: Sequence[Shot], path: Path) -> None:
    """Write the list; numbers keep every digit."""
    entries = []
    for index, shot in enumerate(shots):
        K = shot.K
        entry = {
            "id": index, "img_name": shot.name, "width": shot.width, "height": shot.height,
            "position": shot.c2w[:3, 3].tolist(), "rotation": shot.c2w[:3, :3].tolist(),
            "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
        }  # fmt: skip
        entries.append(
            entry | ({"skew": K[0, 1]} if K[0, 1] else {}) | ({} if shot.time is None else {"time": shot.time})
        )
    with replacing_file(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n", encoding="utf-8")
