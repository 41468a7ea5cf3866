"""Clips of one scene: what the engine hands to training, and its folder on disk.

A folder holds `rgb.npy` u8 [k, t, h, w, 3], `depth.npy` u16 [k, t, h, w] (log code below), `cameras.npz` (c2w f64
[k, t, 4, 4], K f64 [3, 3], times f64 [k, t]), `captions.json` (k lists of t captions, each of what that frame shows)
and `scene.json` (the rest); if asked for, `ids.npy` u16 [k, t, h, w],
`normals.npy` f16 [k, t, h, w, 3] (world axes, 0 at the sky) and `motion.npy` f16 [k, t, h, w, 3] (velocity of the
surface point in world axes, m/s, at the frame's time). At 448 x 256 a frame takes 573,440 bytes, ids 229,376 more,
normals and motion 688,128 more each. rgb is exact; depth is within 8.1e-5 of its value.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from worlds.errors import WorldsError

# Depth code: 0 is sky (infinite); 1..65535 are equal steps of log depth from NEAREST to FARTHEST metres.
NEAREST, FARTHEST = 0.05, 2000.0
_STEP = np.log(FARTHEST / NEAREST) / 65534.0
DEPTH_ERROR = 0.5 * _STEP  # largest relative error, 8.1e-5
_TABLE = np.concatenate([[np.inf], NEAREST * np.exp(_STEP * np.arange(65535))]).astype(np.float32)
OPTIONAL = ("ids", "normals", "motion")


def encode_depth(depth: np.ndarray) -> np.ndarray:
    """u16 code of metric depth f32 (inf is sky); values outside [0.05, 2000] m are clamped."""
    code = np.log(np.maximum(depth, np.float32(NEAREST)) * np.float32(1.0 / NEAREST)) * np.float32(1.0 / _STEP)
    code += np.float32(1.5)
    return np.where(np.isfinite(depth), np.minimum(code, 65535.0), 0.0).astype(np.uint16)


def decode_depth(code: np.ndarray) -> np.ndarray:
    """Metric depth f32 of a u16 code; sky is inf."""
    return _TABLE[code]


@dataclass(frozen=True)
class Facts:
    """What a scene is, beside its pixels.

    `clips` names the k paths in order: "left" ... "clockwise" (the six trajectories), "input" (the source video of a
    moving scene), "left_reversed" ... (same times, camera runs from far to near), "left_frozen" ... (time stands still
    at the first frame), "walk_0" ... (free walks). `coverage` is, for each path, the share of the pixels of its
    farthest frame that the first frame does not see. `motion` is the mean share of pixels on movers, over the paths on
    which time runs.
    """

    name: str
    world: str
    kind: str
    split: str
    seed: int
    caption: str
    clips: tuple[str, ...]
    dynamic: bool
    fov: float
    fps: float
    center_depth: float
    distances: tuple[float, ...]
    coverage: tuple[float, ...]
    motion: float
    assets: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class SceneClips:
    """k paths of t frames of one scene; arrays as in the module's text. All paths share the first frame's camera,
    except reversed ones, which share the last one's position on the path."""

    facts: Facts
    rgb: np.ndarray
    depth_code: np.ndarray
    ids: np.ndarray | None
    c2w: np.ndarray
    K: np.ndarray
    times: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    normals: np.ndarray | None = None
    motion: np.ndarray | None = None

    @property
    def depth(self) -> np.ndarray:
        """Metric depth f32 [k, t, h, w], sky inf, decoded anew at each call."""
        return decode_depth(self.depth_code)

    @property
    def frames(self) -> int:
        """Number of frames k * t."""
        return self.rgb.shape[0] * self.rgb.shape[1]


def save_clips(clips: SceneClips, folder: Path) -> int:
    """Write a scene's folder (under a temporary name first) and return its size in bytes."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "rgb.npy", clips.rgb)
    np.save(partial / "depth.npy", clips.depth_code)
    for name in OPTIONAL:
        if (array := getattr(clips, name)) is not None:
            np.save(partial / f"{name}.npy", array)
    np.savez(partial / "cameras.npz", c2w=clips.c2w, K=clips.K, times=clips.times)
    (partial / "captions.json").write_text(json.dumps(clips.captions))
    (partial / "scene.json").write_text(json.dumps(asdict(clips.facts), indent=1))
    size = sum(path.stat().st_size for path in partial.iterdir())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return size


def load_clips(folder: Path) -> SceneClips:
    """Read a scene's folder; images stay memory-mapped. WorldsError if it is missing or incomplete."""
    try:
        facts = json.loads((folder / "scene.json").read_text())
        for name in ("clips", "distances", "coverage", "assets"):
            facts[name] = tuple(facts[name])
        with np.load(folder / "cameras.npz") as cameras:
            c2w, K, times = (cameras[name] for name in ("c2w", "K", "times"))
        rgb, depth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rgb", "depth"))
        captions = tuple(tuple(row) for row in json.loads((folder / "captions.json").read_text()))
        files = {name: folder / f"{name}.npy" for name in OPTIONAL}
        more = {name: np.load(file, mmap_mode="r") if file.exists() else None for name, file in files.items()}
        return SceneClips(Facts(**facts), rgb, depth, c2w=c2w, K=K, times=times, captions=captions, **more)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorldsError(
            f"{folder} is not a rendered scene ({error}); render it with `python -m worlds render`"
        ) from error


def scene_folders(folder: Path) -> list[Path]:
    """The folders of the complete scenes under `folder`, sorted; WorldsError if there is none."""
    found = sorted(path.parent for path in folder.glob("*/scene.json") if not path.parent.name.endswith(".partial"))
    if not found:
        raise WorldsError(
            f"{folder} holds no rendered scene; render some with `python -m worlds render --out {folder}`"
        )
    return found


def unseen_share(depth: np.ndarray, c2w: np.ndarray, K: np.ndarray, first: np.ndarray, first_c2w: np.ndarray) -> float:
    """Share of the pixels of one frame (depth f32 [h, w], c2w [4, 4]) that the first frame (depth f32 [h, w]) does not
    see: outside its image, or behind what it sees there (3 % tolerance). Every fourth pixel is tested; sky is seen."""
    y, x = np.mgrid[2 : depth.shape[0] : 4, 2 : depth.shape[1] : 4]
    z = np.minimum(depth[y, x], 1e4)
    rays = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0], (y + 0.5 - K[1, 2]) / K[1, 1], np.ones(z.shape)], axis=-1)
    world = (rays * z[..., None]) @ c2w[:3, :3].T + c2w[:3, 3]
    local = (world - first_c2w[:3, 3]) @ first_c2w[:3, :3]
    front = np.maximum(local[..., 2], 1e-6)
    u = np.floor(K[0, 0] * local[..., 0] / front + K[0, 2]).astype(int)
    v = np.floor(K[1, 1] * local[..., 1] / front + K[1, 2]).astype(int)
    inside = (local[..., 2] > 1e-3) & (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
    there = np.minimum(first[np.clip(v, 0, depth.shape[0] - 1), np.clip(u, 0, depth.shape[1] - 1)], 1e4)
    return float(1.0 - np.mean(inside & (local[..., 2] < 1.03 * there)))
