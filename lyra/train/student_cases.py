"""Held-out scenes with true pictures: what the student is measured on, never trained on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lyra.scene import Cameras, InputError, require
from lyra.scene.lyra_paths import LYRA_SET, LyraPath
from lyra.train.student_scenes import FirstView, rendered_view, true_frames

RECORDED = 25  # frames of a path in the public evaluation set


@dataclass(frozen=True, eq=False)
class TrueViews:
    """n true pictures with their cameras (world units) and, if known, depth along z at every k-th pixel (sky inf)."""

    cameras: Cameras
    images: UInt8[Tensor, "n 3 h w"]
    depth: Float[Tensor, "n h2 w2"] | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A held-out scene: the first view with the paths the teacher takes, and true views by name of their set."""

    view: FirstView
    truth: dict[str, TrueViews]


def recorded_case(folder: Path, frames: Sequence[int] = (8, 16, 24)) -> Case:
    """A rendered scene; the truth is taken at some frames of its six paths, which the teacher takes too."""
    view, pictures = rendered_view(folder), true_frames(folder)
    chosen = torch.tensor([frame for frame in frames if frame < pictures.shape[1]])
    cameras = view.paths[:, chosen].flatten()
    return Case(view, {"paths": TrueViews(replace(cameras, times=None), pictures[:, chosen].flatten(0, 1))})


def public_case(folder: Path, frames: int = 25) -> Case:
    """A scene of the public evaluation set (tests/assets/eval_worlds): true views on its paths, and off them.

    The set stores no whole paths; their distances follow from its views, since offsets are proportional to them.
    """
    try:
        record = json.loads((folder / "cameras.json").read_text())
        image = stored_picture(folder / "first.webp")
        depth = stored_depth(folder / "first_depth.png", record["depth_scale"])
        K = torch.tensor(record["K"], dtype=torch.float32)
        sets: dict[str, list[dict]] = {}
        for entry in record["views"]:
            sets.setdefault("novel" if entry["path"] == "novel" else "paths", []).append(entry)
        truth = {name: _views(folder, entries, K, record) for name, entries in sets.items()}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} is not a scene of the evaluation set ({error})") from error
    paths = _whole_paths(record["views"], record["center_depth"], frames)
    cameras = Cameras(paths, K.expand(*paths.shape[:2], 3, 3), record["width"], record["height"])
    return Case(FirstView(folder.name, image.float() / 255, depth, K, cameras), truth)


def _whole_paths(views: list[dict], center_depth: float, frames: int) -> Float[Tensor, "v t 4 4"]:
    """The six published paths through the recorded views."""
    paths = []
    for kind, *_ in LYRA_SET:
        seen = max((view for view in views if view["path"] == kind), key=lambda view: view["frame"], default=None)
        require(seen is not None, f"the evaluation scene has no view on the path {kind}")
        offset = LyraPath(kind, 1.0).offsets(RECORDED)[seen["frame"]].norm() * center_depth
        distance = float(torch.tensor(seen["c2w"]).double()[:3, 3].norm() / offset)
        paths.append(LyraPath(kind, distance).poses(frames, center_depth))
    return torch.stack(paths).float()


def _views(folder: Path, entries: list[dict], K: Tensor, record: dict) -> TrueViews:
    c2w = torch.tensor([entry["c2w"] for entry in entries], dtype=torch.float32)
    cameras = Cameras(c2w, K.expand(len(c2w), 3, 3), record["width"], record["height"])
    images = torch.stack([stored_picture(folder / entry["image"]) for entry in entries])
    depth = torch.stack([stored_depth(folder / entry["depth"], record["depth_scale"]) for entry in entries])
    return TrueViews(cameras, images, depth)


def stored_picture(path: Path) -> UInt8[Tensor, "3 h w"]:
    """A picture of the public evaluation set. Raises OSError if there is none."""
    with Image.open(path) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)


def stored_depth(path: Path, scale: float) -> Float[Tensor, "h w"]:
    """Depth of the public evaluation set, in the unit of its cameras: stored as scale / depth in u16, 0 is sky."""
    with Image.open(path) as file:
        code = np.array(file).astype(np.float32)
    return torch.from_numpy(np.where(code > 0, scale / np.maximum(code, 1), np.inf).astype(np.float32))
