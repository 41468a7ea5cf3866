"""Camera files <-> Cameras, by suffix or folder.

| path                      | format                                             |
|---------------------------|----------------------------------------------------|
| anything.json             | Lyra's own list, which INRIA's 3DGS viewers share  |
| transforms*.json          | nerfstudio, instant-ngp                            |
| a folder                  | COLMAP model, text or binary                       |
| anything.txt              | RealEstate10K (COLMAP's own .txt: use the folder)  |
| anything.tum              | TUM trajectory                                     |

When reading, a .json or .txt is known by what it holds.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from lyra.io import camera_tables, cameras_json, colmap, nerfstudio
from lyra.io.shots import Shot, from_cameras, read_json, read_text, to_cameras
from lyra.scene import Cameras, InputError, require

SUFFIXES = (".json", ".txt", ".tum")


def load_cameras(path: str | os.PathLike, *, like: Cameras | None = None) -> Cameras:
    """Cameras [n] in float32 from any of the formats above, in the file's own world frame.

    `like` gives the image size to RealEstate10K files, and size and lens to TUM files, which do not store them. Raises
    InputError on missing or damaged files, lens distortion, images of several sizes, poses that are not rigid.
    """
    return load_named_cameras(path, like=like)[0]


def load_named_cameras(path: str | os.PathLike, *, like: Cameras | None = None) -> tuple[Cameras, list[str]]:
    """As `load_cameras`, with the name of each camera's image."""
    source = Path(path)
    require(source.exists(), f"{path}: there is no such file")
    try:
        shots = _read(source, like)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return to_cameras(source, shots), [shot.name for shot in shots]


def save_cameras(
    cameras: Cameras, path: str | os.PathLike, names: Sequence[str] | None = None, *, binary: bool = False
) -> None:
    """Write cameras of any batch shape; the suffix chooses the format, no suffix means a COLMAP folder.

    `names` are the images' names (frame_00000.png ... if None). `binary` makes the COLMAP model binary. The output
    appears whole or not at all. Raises InputError on other suffixes.
    """
    target, shots = Path(path), from_cameras(cameras, names)
    require(len(shots) > 0, f"{path}: there are no cameras to write")
    suffix = target.suffix.lower()
    require(
        suffix in SUFFIXES or suffix == "",
        f"{path}: cameras are written as {', '.join(SUFFIXES)} or as a folder (no suffix), not {suffix}",
    )
    if suffix == "":
        colmap.write(shots, target, binary=binary)
    elif suffix == ".json":
        (nerfstudio if _is_nerfstudio(target) else cameras_json).write(shots, target)
    else:
        (camera_tables.write_tum if suffix == ".tum" else camera_tables.write_realestate10k)(shots, target)


def _is_nerfstudio(path: Path) -> bool:
    return path.name.lower().startswith("transforms")


def _read(path: Path, like: Cameras | None) -> list[Shot]:
    if path.is_dir():
        for name in ("transforms.json", "cameras.json"):
            if colmap.find(path) is None and (path / name).is_file():
                return _read(path / name, like)
        return colmap.read(path)
    suffix = path.suffix.lower()
    if path.name in ("cameras.txt", "images.txt", "cameras.bin", "images.bin"):
        return colmap.read(path.parent)
    if suffix == ".json":
        document = read_json(path)
        if isinstance(document, list):
            return cameras_json.parse(path, document)
        holds_frames = isinstance(document, dict) and "frames" in document
        require(holds_frames, f"{path}: holds neither a list of cameras nor the 'frames' of a transforms.json")
        return nerfstudio.parse(path, document)
    if suffix == ".txt" and _columns(path) != 8:
        return camera_tables.read_realestate10k(path, like)
    require(
        suffix in (".txt", ".tum"), f"{path}: cameras are read from {', '.join(SUFFIXES)} or folders, not {suffix}"
    )  # fmt: skip
    return camera_tables.read_tum(path, like)


def _columns(path: Path) -> int:
    """Numbers in the last line: 19 in a RealEstate10K file, 8 in a TUM file."""
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    return len(lines[-1].replace(",", " ").split()) if lines else 0
