"""What a teacher is started from: first images with depth and lens, from rendered scenes or photographs.

A rendered scene is a folder with `rgb.npy` u8 [paths, frames, h, w, 3], `depth.npy` u16 [paths, frames, h, w] (0 is
sky, else equal steps of log depth, see DEPTH_RANGE) and `cameras.npz` (c2w [paths, frames, 4, 4], K [3, 3]). Only the
first frame enters training; the other true frames are for evaluation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from lyra.io.images import load_image
from lyra.scene import Cameras, InputError, require

DEPTH_RANGE = (0.05, 2000.0)  # metres of the codes 1 and 65535
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, eq=False)
class FirstView:
    """A first image in [0, 1], its depth along z (not finite: sky or unknown) and lens K in pixels.

    `paths` [v, t] are cameras along which the scene was recorded, the first one being the identity, in the depth's
    unit; None if there are none.
    """

    name: str
    image: Float[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"]
    K: Float[Tensor, "3 3"]
    paths: Cameras | None = None

    @property
    def unit(self) -> float:
        """Median depth of what is not sky: the length that the student sees as 1."""
        known = self.depth[self.depth.isfinite() & (self.depth > 0)]
        require(len(known) > 0, f"{self.name}: the depth map holds no finite depth")
        return float(known.median())

    def resized(self, height: int, width: int) -> "FirstView":
        """Resampled to another size; depth by nearest neighbour, so that edges stay edges."""
        if self.image.shape[1:] == (height, width):
            return self
        image = functional.interpolate(self.image[None], (height, width), mode="bilinear", antialias=True)[0]
        depth = functional.interpolate(self.depth[None, None], (height, width), mode="nearest-exact")[0, 0]
        scale = torch.tensor([width / self.image.shape[2], height / self.image.shape[1], 1.0])
        paths = None if self.paths is None else self.paths.resize(height, width)
        return FirstView(self.name, image.clamp(0, 1), depth, self.K * scale[:, None], paths)


def decode_depth(code: np.ndarray) -> Float[Tensor, "*b"]:
    """Depth in metres of the u16 log code, sky infinite."""
    near, far = DEPTH_RANGE
    depth = near * np.exp((code.astype(np.float64) - 1) * (math.log(far / near) / 65534))
    return torch.from_numpy(np.where(code == 0, np.inf, depth).astype(np.float32))


def rendered_view(folder: Path, recorded_paths: bool = True) -> FirstView:
    """The first view of a rendered scene, with true depth; InputError if the folder is not whole."""
    try:
        rgb = np.load(folder / "rgb.npy", mmap_mode="r")
        code = np.array(np.load(folder / "depth.npy", mmap_mode="r")[0, 0])
        with np.load(folder / "cameras.npz") as file:
            c2w, K = (torch.from_numpy(file[name]).float() for name in ("c2w", "K"))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{folder} is not a rendered scene with rgb, depth and cameras ({error})") from error
    image = torch.from_numpy(np.array(rgb[0, 0])).permute(2, 0, 1).float() / 255
    paths = None
    if recorded_paths:
        height, width = rgb.shape[2:4]
        # All six begin at one camera; later clips of a moving scene (reversed, frozen) are not wanted here.
        paths = Cameras(c2w[:6], K.expand(*c2w[:6].shape[:2], 3, 3), width, height).relative_to_first()
    return FirstView(folder.name, image, decode_depth(code), K, paths)


def true_frames(folder: Path) -> UInt8[Tensor, "v t 3 h w"]:
    """The true frames of the six paths of a rendered scene; for evaluation only."""
    return torch.from_numpy(np.array(np.load(folder / "rgb.npy", mmap_mode="r")[:6])).permute(0, 1, 4, 2, 3)


def photograph(path: Path, depth_model: Callable, height: int, width: int) -> FirstView:
    """A photograph, cropped about its centre to the aspect ratio and resized, with the depth network's depth."""
    picture = load_image(path, shortest=2 * min(height, width))
    side = min(picture.shape[2] / width, picture.shape[1] / height)
    tall, wide = max(1, round(side * height)), max(1, round(side * width))
    top, left = (picture.shape[1] - tall) // 2, (picture.shape[2] - wide) // 2
    cropped = picture[None, :, top : top + tall, left : left + wide]
    image = functional.interpolate(cropped, (height, width), mode="bilinear", antialias=True)[0].clamp(0, 1)
    found = depth_model(image)
    depth = torch.where(found.valid, found.depth, torch.inf).float().cpu()
    return FirstView(path.stem, image, depth, found.K.float().cpu())


def image_files(folder: Path) -> list[Path]:
    """Images below a folder by name; InputError if there is none, or two with one stem (the stem names a sample)."""
    require(folder.is_dir(), f"{folder} is not a folder of images")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    require(len(files) > 0, f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    stems = [path.stem for path in files]
    double = next((stem for stem in stems if stems.count(stem) > 1), None)
    require(double is None, f"{folder} holds several images called {double}; give each its own name")
    return files


def share(items: Sequence, rank: int, count: int) -> list:
    """Every `count`-th item, for one of `count` processes."""
    return list(items[rank::count])
