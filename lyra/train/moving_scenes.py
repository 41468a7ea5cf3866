"""Rendered scenes that move, as training data: a source video and paths about its moving camera (Lyra, Sec. 3.3).

The folder is that of `student_scenes` with more clips, named in scene.json: "input" is the source video, "left" ...
the six paths while time runs, "left_reversed" ... the same paths run from far to near while time runs forwards. Played
backwards the latter are what a teacher is asked that gets the source video backwards: it starts at the last moment's
camera and moves away while time runs back. So every moment is seen from near and from far, which keeps early moments
from being seen from near only ("motion-reversed supervision"). Poses are those of the frames, in both directions.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from lyra.scene import Cameras, InputError, require
from lyra.scene.lyra_paths import LYRA_SET
from lyra.teacher.cache import Cache, CacheOptions
from lyra.teacher.cosmos import CameraRequest
from lyra.train.denoiser_clips import Clip
from lyra.train.student_scenes import decode_depth
from lyra.train.synthesis import DEPTH_STEP, SKY, LatentSource, TeacherSample

KINDS = tuple(kind for kind, *_ in LYRA_SET)


@dataclass(frozen=True, eq=False)
class Recording:
    """A source video [t] with true depth along z (sky infinite) and cameras, and paths [v, t] with true frames.

    Lengths are in world units; the world is the source's first camera. `backwards` says that time runs back.
    """

    name: str
    source: UInt8[Tensor, "t 3 h w"]
    depth: Float[Tensor, "t h w"]
    cameras: Cameras
    frames: UInt8[Tensor, "v t 3 h w"]
    paths: Cameras
    backwards: bool = False

    @property
    def unit(self) -> float:
        """Median depth of the earliest frame."""
        first = self.depth[-1 if self.backwards else 0]
        known = first[first.isfinite()]
        require(len(known) > 0, f"{self.name}: the depth map holds no finite depth")
        return float(known.median())


def is_moving(folder: Path) -> bool:
    """Whether a rendered scene has a source video and the paths run both ways."""
    try:
        clips = json.loads((folder / "scene.json").read_text())["clips"]
    except (OSError, ValueError, KeyError):
        return False
    return {"input", *KINDS, *(f"{kind}_reversed" for kind in KINDS)} <= set(clips)


def read_recording(folder: Path, backwards: bool = False) -> Recording:
    """A moving scene as it happened, or backwards in time. InputError if the folder is not whole or does not move."""
    require(is_moving(folder), f"{folder} is not a rendered scene that moves, with its paths both ways")
    try:
        facts = json.loads((folder / "scene.json").read_text())
        rgb, code = (np.load(folder / name, mmap_mode="r") for name in ("rgb.npy", "depth.npy"))
        with np.load(folder / "cameras.npz") as file:
            c2w, K = (torch.from_numpy(file[name]) for name in ("c2w", "K"))
        clips = list(facts["clips"])
        source = clips.index("input")
        chosen = [clips.index(f"{kind}_reversed" if backwards else kind) for kind in KINDS]
        order = slice(None, None, -1) if backwards else slice(None)
        pictures = torch.from_numpy(np.array(rgb[[source, *chosen]][:, order])).permute(0, 1, 4, 2, 3)
        depth = decode_depth(np.array(code[source][order]))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{folder} is not a rendered scene that moves ({error})") from error
    poses = torch.linalg.inv(c2w[source, 0]) @ c2w[[source, *chosen]]
    poses = poses.flip(1) if backwards else poses
    height, width = rgb.shape[2:4]
    cameras = Cameras(poses.float(), K.float().expand(*poses.shape[:2], 3, 3), width, height)
    return Recording(folder.name, pictures[0], depth, cameras[0], pictures[1:], cameras[1:], backwards)


def read_both(folder: Path) -> tuple[Recording, Recording]:
    """A moving scene forwards and backwards in time."""
    return read_recording(folder), read_recording(folder, True)


def cache_of(recording: Recording, device: torch.device | str = "cpu") -> Cache:
    """The cache of every source frame, in units of the median depth."""
    images = recording.source.to(device).float() / 127.5 - 1
    depth = (recording.depth / recording.unit).to(device)
    cameras = scaled(recording.cameras, recording.unit).to(device)
    return Cache.from_depth(images, depth, cameras, CacheOptions(max_depth=SKY))


def scaled(cameras: Cameras, unit: float) -> Cameras:
    """Cameras with lengths in `unit`."""
    c2w = cameras.c2w.clone()
    c2w[..., :3, 3] /= unit
    return replace(cameras, c2w=c2w)


def moving_clips(recording: Recording, device: torch.device | str = "cpu") -> list[Clip]:
    """What the denoiser learns from: the true frames of each path, and what each source frame's own cache shows."""
    cache, clips = cache_of(recording, device), []
    for frames, path in zip(recording.frames, scaled(recording.paths, recording.unit), strict=True):
        warped = cache.warp(path.to(device), per_frame=True)
        true = (frames.to(device).float() / 127.5 - 1).transpose(0, 1)
        clips.append(Clip(true, warped.image.transpose(0, 1), warped.mask))
    return clips


@torch.no_grad()
def synthesize_moving(
    recording: Recording, source: LatentSource, seed: int, device: torch.device | str = "cpu"
) -> TeacherSample:
    """Let a teacher imagine the six paths from the source video alone; frames stay in the order they were made in.

    Cameras are in the world of the earliest frame, so the samples of both directions share one world.
    """
    cache, paths = cache_of(recording, device), scaled(recording.paths, recording.unit).to(device)
    seen = [cache.warp(path, per_frame=True) for path in paths]
    image, mask, depth = (torch.stack([getattr(s, name) for s in seen]) for name in ("image", "mask", "depth"))
    request = CameraRequest(
        image=repeat(recording.source[0].to(device).float() / 127.5 - 1, "c h w -> b c h w", b=len(paths)),
        warp=image[:, :, None],
        warp_mask=mask[:, :, None, None].to(image),
    )
    raw = source.raw_latents(request, seed)
    depth = torch.where(mask, depth, 0)[:, :, DEPTH_STEP // 2 :: DEPTH_STEP, DEPTH_STEP // 2 :: DEPTH_STEP]
    return TeacherSample(recording.name, raw.half(), paths, depth.half(), recording.unit)
