"""A moving scene as a folder: `0000.ply`, `0001.ply`, ... and `sequence.json` with their times.

Every frame is a complete 3DGS PLY, because that is what other programs play. For a compact file use `.lyra4d`.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from lyra.io import ply
from lyra.io.atomic import replacing_folder
from lyra.scene import DynamicGaussians, InputError, require

MARKER = "sequence.json"
_MAX_JSON = 1 << 24


def save(
    scene: DynamicGaussians,
    path: str | os.PathLike,
    *,
    layout: str = "standard",
    scale: str | None = None,
    gravity: Sequence[float | int] | None = None,
) -> None:
    """Write one PLY a frame (`scene.frame_times()`), with the options of PLY.

    An existing folder is replaced only if it is empty or such a sequence. Frames without Gaussians become PLY files
    with 0 vertices. Raises InputError if no frame holds any.
    """
    times = scene.frame_times().tolist()
    frames = [{"file": f"{i:04d}.ply", "time": time} for i, time in enumerate(times)]
    with replacing_folder(path, MARKER) as folder:
        total = 0
        for frame in frames:
            shown = scene.at(frame["time"])
            total += len(shown)
            target = folder / frame["file"]
            ply.save(shown, target, layout=layout, scale=scale, gravity=gravity, allow_empty=True)
        require(total > 0, f"{path}: the scene holds no Gaussians, so there is nothing to save")
        notes = {"format": "lyra-sequence", "version": 1, "fps": scene.fps, "duration": scene.duration}
        (folder / MARKER).write_text(json.dumps({**notes, "frames": frames}, indent=1))


def load(path: str | os.PathLike, *, fps: float = 24.0) -> DynamicGaussians:
    """Read a folder of numbered PLY files as a flip-book.

    Times come from `sequence.json`; without it the files play in numerical order at `fps`. Raises InputError if there
    are no frames or one of them is damaged.
    """
    folder = Path(path)
    if (folder / MARKER).is_file():
        names, fps = _read_marker(folder)
    else:
        numbered = [(int(m[1]), p.name) for p in folder.glob("*.ply") if (m := re.search(r"(\d+)\.ply$", p.name))]
        names = [name for _, name in sorted(numbered)]
        require(len(names) > 0, f"{path}: is a folder without numbered .ply files, so it is no sequence")
    frames = [ply.load(folder / name, allow_empty=True) for name in names]
    require(any(len(frame) for frame in frames), f"{path}: none of its frames holds any Gaussians")
    return DynamicGaussians.from_frames(frames, fps)


def _read_marker(folder: Path) -> tuple[list[str], float]:
    """Frame files in order, and frames a second."""
    marker = folder / MARKER
    require(marker.stat().st_size <= _MAX_JSON, f"{marker}: is too large to be the list of frames")
    try:
        notes = json.loads(marker.read_bytes())
        names, fps = [frame["file"] for frame in notes["frames"]], float(notes["fps"])
        plain = all(isinstance(name, str) and Path(name).name == name for name in names)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{marker}: is not the list of frames that it should be ({error})") from error
    require(plain and len(names) > 0, f"{marker}: must name at least one frame, each a file in the same folder")
    require(0 < fps < float("inf"), f"{marker}: its fps must be positive, got {fps}")
    missing = [name for name in names if not (folder / name).is_file()]
    require(not missing, f"{folder}: lacks {len(missing)} of its {len(names)} frames, for example {missing[:1]}")
    return names, fps
