"""Broken images, videos and camera files: each gives one sentence that names the file, and nothing else."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lyra.io.cameras import load_cameras, save_cameras
from lyra.io.images import load_depth, load_image, save_depth, save_image
from lyra.io.video import load_video
from lyra.io.video_writer import save_video
from lyra.scene import Cameras, InputError
from lyra.scene.trajectories import PRESETS

LENS = Cameras.from_fov(torch.eye(4), 60.0, 64, 48)
PATH = PRESETS["orbit"].cameras(LENS, 6)
GARBAGE = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """One whole file of every kind."""
    folder = tmp_path_factory.mktemp("good")
    noise = torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(0))
    for suffix in ("png", "jpg", "webp"):
        save_image(noise, folder / f"a.{suffix}")
    save_depth(noise[0] + 1, folder / "depth.png")
    frames = torch.rand(6, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    for suffix in ("mp4", "webm", "gif", "mkv"):
        save_video(frames, folder / f"v.{suffix}")
    for name in ("c.json", "transforms.json", "p.txt", "p.tum", "text"):
        save_cameras(PATH, folder / name)
    save_cameras(PATH, folder / "binary", binary=True)
    return folder


def refuse(load: Callable, path: Path) -> str:
    """The sentence with which `load` refuses the path."""
    with pytest.raises(InputError) as caught:
        load(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence.replace(str(path), "")
    assert 20 < len(sentence.replace(str(path.parent), "")) < 400
    assert "Traceback" not in sentence
    return sentence


def cameras(path: Path) -> Cameras:
    return load_cameras(path, like=LENS)


LOADERS = {
    "a.png": load_image, "a.jpg": load_image, "a.webp": load_image, "depth.png": load_depth, "v.mp4": load_video,
    "v.webm": load_video, "v.gif": load_video, "v.mkv": load_video, "c.json": cameras, "transforms.json": cameras,
    "p.txt": cameras, "p.tum": cameras,
}  # fmt: skip


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("damage", ["empty", "garbage", "text", "zeros", "folder", "missing", "head"])
def test_files_that_are_something_else(good, tmp_path, name, damage):
    path = tmp_path / name
    content = {
        "empty": b"", "garbage": GARBAGE, "text": b"This is not what its name says.\n" * 20, "zeros": bytes(3000),
        "head": (good / name).read_bytes()[:12],
    }  # fmt: skip
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[damage])
    refuse(LOADERS[name], path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "depth.png", "c.json", "transforms.json", "v.mp4"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_files_that_are_cut_short(good, tmp_path, name, share):
    """An mp4 is only whole at 100 %: its index comes first, so what is left decodes and `notes` tells of the rest."""
    data = (good / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    if name == "v.mp4" and share > 0.3:
        assert 1 <= len(load_video(tmp_path / name)) <= 6
    else:
        refuse(LOADERS[name], tmp_path / name)


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize("part", ["cameras", "images"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "missing", "cut"])
def test_colmap_models_that_are_damaged(good, tmp_path, kind, part, damage):
    end = ".txt" if kind == "text" else ".bin"
    model = tmp_path / "model"
    model.mkdir()
    for name in ("cameras", "images"):
        (model / f"{name}{end}").write_bytes((good / kind / f"{name}{end}").read_bytes())
    broken = model / f"{part}{end}"
    data = broken.read_bytes()
    broken.write_bytes({"empty": b"", "garbage": GARBAGE, "cut": data[: len(data) - 20], "missing": b""}[damage])
    if damage == "missing":
        broken.unlink()
    if (kind, part, damage) == ("text", "images", "cut"):
        broken.write_bytes(data[: len(data) // 2 + 40])
    assert str(model) in refuse_anywhere(model)


def refuse_anywhere(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_cameras(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def entry(**change) -> dict:
    """One camera of a list, with changes; None removes a key."""
    whole = {"id": 0, "img_name": "a", "width": 64, "height": 48, "position": [0, 0, 0],
             "rotation": np.eye(3).tolist(), "fx": 50, "fy": 50} | change  # fmt: skip
    return {key: value for key, value in whole.items() if value is not None}


def frame(**change) -> dict:
    """A transforms.json of one frame, with changes."""
    whole = {"w": 64, "h": 48, "fl_x": 50, "frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}]}
    return {key: value for key, value in (whole | change).items() if value is not None}


NAN, INF = float("nan"), float("inf")
JSON = {
    "a number": 7,
    "a word": "cameras",
    "null": None,
    "an empty list": [],
    "an empty object": {},
    "a list of numbers": [1, 2],
    "a list of lists": [[]],
    "no width": [entry(width=None)],
    "no rotation": [entry(rotation=None)],
    "no focal length": [entry(fx=None)],
    "half a pixel": [entry(width=64.5)],
    "no pixels": [entry(height=0)],
    "negative size": [entry(width=-64)],
    "huge size": [entry(width=1e12)],
    "NaN size": [entry(width=NAN)],
    "size in words": [entry(width="wide")],
    "NaN position": [entry(position=[0, NAN, 0])],
    "infinite position": [entry(position=[0, INF, 0])],
    "too large for float32": [entry(position=[1e300, 0, 0])],
    "two numbers": [entry(position=[0, 0])],
    "ragged rotation": [entry(rotation=[[1, 0, 0], [0, 1], [0, 0, 1]])],
    "not rigid": [entry(rotation=[[1, 0, 0], [0, 2, 0], [0, 0, 1]])],
    "mirrored": [entry(rotation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]])],
    "zero rotation": [entry(rotation=np.zeros((3, 3)).tolist())],
    "negative focal length": [entry(fx=-50)],
    "zero focal length": [entry(fy=0)],
    "NaN focal length": [entry(fx=NAN)],
    "two sizes": [entry(), entry(width=32)],
    "NaN time": [entry(time=NAN)],
    "nested position": [entry(position={"x": 0})],
    "no frames": {"frames": []},
    "frames in words": {"frames": "many"},
    "frames of numbers": {"frames": [1]},
    "no pose": frame(frames=[{"file_path": "a"}]),
    "no size": frame(w=None),
    "no lens": frame(fl_x=None),
    "fisheye": frame(camera_model="OPENCV_FISHEYE"),
    "distortion": frame(k1=0.1),
    "distortion in words": frame(k1="much"),
    "3x4 pose": frame(frames=[{"transform_matrix": np.eye(4)[:3].tolist()}]),
    "NaN pose": frame(frames=[{"transform_matrix": (np.eye(4) * NAN).tolist()}]),
    "stretched pose": frame(frames=[{"transform_matrix": np.diag([1, 1, 3, 1]).tolist()}]),
    "flat applied_transform": frame(applied_transform=np.zeros((3, 4)).tolist()),
    "odd applied_transform": frame(applied_transform=[1, 2]),
    "NaN applied_transform": frame(applied_transform=(np.eye(4) * NAN).tolist()),
}


@pytest.mark.parametrize("document", JSON.values(), ids=JSON.keys())
def test_json_that_holds_no_usable_cameras(tmp_path, document):
    (tmp_path / "a.json").write_text(json.dumps(document))
    refuse(load_cameras, tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"frames": [', "[{}", "[1e999]", '{"a": 1} {"b": 2}', "\x00\x01"])
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    refuse(load_cameras, tmp_path / "a.json")


POSE = "1 0 0 0 0 1 0 0 0 0 1 0"
TABLES = {
    "lens of zero": ("a.txt", f"url\n0 0 0.5 0.5 0.5 0 0 {POSE}"),
    "NaN": ("a.txt", f"url\n0 nan 0.5 0.5 0.5 0 0 {POSE}"),
    "words": ("a.txt", f"url\n0 0.5 0.5 0.5 much 0 0 {POSE}"),
    "one number short": ("a.txt", f"url\n0 0.5 0.5 0.5 0.5 0 0 {POSE}\n0 0.5 0.5 0.5 0.5 0 0 {POSE[:-2]}"),
    "not rigid": ("a.txt", "url\n0 0.5 0.5 0.5 0.5 0 0 1 0 0 0 0 5 0 0 0 0 1 0"),
    "singular": ("a.txt", "url\n0 0.5 0.5 0.5 0.5 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
    "only the address": ("a.txt", "https://video\n"),
    "zero quaternion": ("a.tum", "0 0 0 0 0 0 0 0"),
    "long quaternion": ("a.tum", "0 0 0 0 0 0 0 2"),
    "NaN quaternion": ("a.tum", "0 0 0 0 0 0 0 nan"),
    "seven numbers": ("a.tum", "0 0 0 0 0 0 1"),
    "only comments": ("a.tum", "# nothing\n"),
    "unknown suffix": ("a.csv", "0 0 0 0 0 0 0 1"),
}


@pytest.mark.parametrize("name, text", TABLES.values(), ids=TABLES.keys())
def test_tables_of_poses_that_are_wrong(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    refuse(cameras, tmp_path / name)


def colmap(folder: Path, lens: str, pose: str = "1 1 0 0 0 0 0 0 1 a.png") -> Path:
    folder.mkdir()
    (folder / "cameras.txt").write_text(lens + "\n")
    (folder / "images.txt").write_text(pose + "\n\n")
    return folder


COLMAP = {
    "distortion": ("1 SIMPLE_RADIAL 64 48 50 32 24 0.1",), "fisheye": ("1 OPENCV_FISHEYE 64 48 50 50 32 24 0 0 0 0",),
    "unknown model": ("1 MAGIC 64 48 50",), "too few parameters": ("1 PINHOLE 64 48 50 50 32",),
    "NaN lens": ("1 PINHOLE 64 48 nan 50 32 24",), "negative size": ("1 PINHOLE -64 48 50 50 32 24",),
    "no such camera": ("2 PINHOLE 64 48 50 50 32 24",), "no cameras": ("# none",),
    "zero quaternion": ("1 PINHOLE 64 48 50 50 32 24", "1 0 0 0 0 0 0 0 1 a.png"),
    "NaN pose": ("1 PINHOLE 64 48 50 50 32 24", "1 1 0 0 0 nan 0 0 1 a.png"),
    "no name": ("1 PINHOLE 64 48 50 50 32 24", "1 1 0 0 0 0 0 0 1"),
    "no images": ("1 PINHOLE 64 48 50 50 32 24", "# none"),
    "camera in words": ("1 PINHOLE 64 48 50 50 32 24", "1 1 0 0 0 0 0 0 one a.png"),
}  # fmt: skip


@pytest.mark.parametrize("lines", COLMAP.values(), ids=COLMAP.keys())
def test_colmap_models_that_cannot_be_used(tmp_path, lines):
    assert "model" in refuse_anywhere(colmap(tmp_path / "model", *lines))


BINARY = {
    "huge count": (struct.pack("<Q", 2**60), None),
    "unknown model": (struct.pack("<QiiQQ4d", 1, 1, 99, 64, 48, *[0.0] * 4), None),
    "huge size": (struct.pack("<QiiQQ4d", 1, 1, 1, 2**50, 48, *[9.0] * 4), None),
    "endless name": (None, struct.pack("<Qi7di", 1, 1, 1, *[0.0] * 6, 1) + b"a" * 50),
    "name of bytes": (None, struct.pack("<Qi7di", 1, 1, 1, *[0.0] * 6, 1) + b"\xff\xfe\0" + bytes(8)),
    "huge points": (None, struct.pack("<Qi7di", 1, 1, 1, *[0.0] * 6, 1) + b"a\0" + struct.pack("<Q", 2**61)),
}


@pytest.mark.parametrize("files", BINARY.values(), ids=BINARY.keys())
def test_binary_models_that_lie(tmp_path, files):
    lens = struct.pack("<QiiQQ4d", 1, 1, 1, 64, 48, 50, 50, 32, 24)
    pose = struct.pack("<Qi7di", 1, 1, 1, *[0.0] * 6, 1) + b"a\0" + bytes(8)
    for name, bad, whole in (("cameras.bin", files[0], lens), ("images.bin", files[1], pose)):
        (tmp_path / name).write_bytes(whole if bad is None else bad)
    refuse_anywhere(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "v.gif", "v.mp4", "v.webm", "c.json", "p.txt"])
def test_flipped_bytes_never_crash(good, tmp_path, name):
    """30 random damages each: either something is read, or one sentence says why not."""
    rng = np.random.default_rng(1)
    data = np.frombuffer((good / name).read_bytes(), dtype=np.uint8)
    for _ in range(30):
        broken = data.copy()
        places = rng.integers(0, len(data), max(1, len(data) // 300))
        broken[places] = rng.integers(0, 256, len(places))
        (tmp_path / name).write_bytes(broken.tobytes())
        try:
            LOADERS[name](tmp_path / name)
        except InputError as error:
            assert name in str(error)


def test_folders_without_frames(tmp_path):
    refuse(load_video, tmp_path)
    (tmp_path / "a.png").write_bytes(GARBAGE)
    with pytest.raises(InputError, match=r"a\.png"):
        load_video(tmp_path)
