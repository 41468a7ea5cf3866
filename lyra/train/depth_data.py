"""Frames with true depth for training the depth network, kept as bytes on the device that trains.

Scenes are folders with `rgb.npy` uint8 [k, t, h, w, 3], `depth.npy` uint16 [k, t, h, w] and `cameras.npz`, as the world
engine writes them. Depth stays in the engine's code until a batch is drawn: 0 is sky, 1..65535 are equal steps of log
depth from 0.05 to 2000 m.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor

from lyra.scene import require

NEAREST, FARTHEST = 0.05, 2000.0
_STEP = math.log(FARTHEST / NEAREST) / 65534


def decode_log_depth(code: Int16[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Bool[Tensor, "*b"]]:
    """Log of metric depth, and where there is sky (log depth is meaningless there)."""
    unsigned = code.int() & 0xFFFF
    return math.log(NEAREST) + _STEP * (unsigned - 1).float(), unsigned == 0


@dataclass(frozen=True, eq=False)
class Frames:
    """n frames: colours, depth codes (the 16 bits of the engine's code) and focal lengths in pixels."""

    rgb: UInt8[Tensor, "n h w 3"]
    code: Int16[Tensor, "n h w"]
    focal: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, index) -> "Frames":
        """Frames by any index of the first dimension but a single number."""
        return Frames(self.rgb[index], self.code[index], self.focal[index])


def read_frames(folder: Path, every: int) -> Frames:
    """Every `every`-th frame of each path of a scene, on the CPU; paths start one frame later each, so that together
    they cover all moments."""
    rgb, depth = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("rgb", "depth"))
    with np.load(folder / "cameras.npz") as cameras:
        K = cameras["K"]
    paths = range(len(rgb))
    colours = np.concatenate([rgb[path, path % every :: every] for path in paths])
    codes = np.concatenate([depth[path, path % every :: every] for path in paths]).view(np.int16)
    focal = torch.full((len(colours),), float(math.sqrt(K[0, 0] * K[1, 1])))
    return Frames(torch.from_numpy(colours), torch.from_numpy(codes), focal)


class FramePool:
    """Frames of all scenes below a folder, on one device, as many as fit into `max_bytes`.

    `scan` reads scenes that have appeared since the last call; it may run in another thread than the one that trains,
    because frames are only ever added and count once they are complete.
    """

    def __init__(self, root: Path, device: torch.device, max_bytes: int, every: int) -> None:
        self._root, self._every, self._max_bytes, self._device = Path(root), every, max_bytes, device
        self._known: set[Path] = set()
        self._frames: Frames | None = None
        self.count = self.scenes = 0

    def scan(self, without: Sequence[Path] = (), most: int | None = None) -> None:
        """Read new scenes but those of `without`, until there are `most`. Scenes of another size are left out."""
        for folder in complete_scenes(self._root):
            if self.full or (most is not None and self.scenes >= most):
                return
            if folder not in self._known and folder not in without:
                self._known.add(folder)
                try:
                    frames = read_frames(folder, self._every)
                except (OSError, ValueError) as error:  # old scenes may be deleted to make room
                    print(f"left out {folder}: {error}", flush=True)
                    continue
                self.scenes += self._add(frames)

    @property
    def full(self) -> bool:
        """Whether no further frame fits."""
        return self._frames is not None and self.count == len(self._frames)

    def draw(self, indices: Tensor) -> Frames:
        """Frames by number, 0 <= number < count."""
        require(self.count > 0, f"no rendered scenes (folders with rgb.npy and depth.npy) below {self._root}")
        return self._frames[indices.to(self._device)]

    def _add(self, frames: Frames) -> bool:
        if self._frames is None:
            self._frames = self._room(frames)
        if frames.rgb.shape[1:] != self._frames.rgb.shape[1:]:
            return False
        end = min(len(self._frames), self.count + len(frames))
        for mine, new in zip(_parts(self._frames), _parts(frames), strict=True):
            mine[self.count : end] = new[: end - self.count].to(self._device)
        self.count = end
        return True

    def _room(self, frames: Frames) -> Frames:
        one = sum(part[0].numel() * part.element_size() for part in _parts(frames))
        total = self._max_bytes // one
        require(total > 0, f"not one frame of {one} bytes fits into {self._max_bytes} bytes")
        return Frames(
            *(torch.empty(total, *part.shape[1:], dtype=part.dtype, device=self._device) for part in _parts(frames))
        )


def complete_scenes(root: Path) -> list[Path]:
    """The folders of complete scenes below `root`, by name."""
    found = (path.parent for path in Path(root).glob("**/depth.npy"))
    return sorted(path for path in found if not path.name.endswith(".partial") and (path / "scene.json").is_file())


def _parts(frames: Frames) -> tuple[Tensor, Tensor, Tensor]:
    return frames.rgb, frames.code, frames.focal
