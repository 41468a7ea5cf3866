"""Clips as latents in the memory of the device that trains, and the stream of scenes they are made from.

A run starts with few scenes and goes on while more are rendered: threads read what is new below a folder, another one
turns it into latents beside training (`denoiser_supply`), and once nothing is new, old scenes are filmed again with
other paths, colours and depth errors. The bank is a ring: when it is full, the oldest clips make room.
"""

import json
import os
import queue
import random
import shutil
import threading
import time
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lyra.scene import InputError, require
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosConfig, pool_masks
from lyra.train.clip_data import read_array
from lyra.train.denoiser_clips import Clip, Views
from lyra.train.moving_scenes import Recording, is_moving, read_recording


@dataclass(frozen=True, eq=False)
class Latents:
    """Training examples: normalised latents of the true frames and of the warp, mask channels, and captions.

    The first frame is latent frame 0 of `target`. Single frames have a row of a table of texts as `caption`, and no
    channels in warp and mask; clips have no text, and 0.
    """

    target: Float[Tensor, "b c t h w"]
    warp: Float[Tensor, "b e t h w"]
    mask: Float[Tensor, "b d t h w"]
    caption: Int64[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: slice | Tensor) -> "Latents":
        """Some of the examples."""
        return Latents(self.target[index], self.warp[index], self.mask[index], self.caption[index])

    def float(self) -> "Latents":
        """In float32, for computing."""
        return Latents(self.target.float(), self.warp.float(), self.mask.float(), self.caption)

    @staticmethod
    def concat(parts: Sequence["Latents"]) -> "Latents":
        """One after the other."""
        fields = ("target", "warp", "mask", "caption")
        return Latents(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))


@torch.no_grad()
def encode(clips: Sequence[Clip], codec: VideoCodec, config: CosmosConfig) -> Latents:
    """Latents of clips of one size, in float16."""
    videos = torch.stack([clip.frames for clip in clips] + [clip.warp for clip in clips])
    target, warp = codec.encode(videos).half().chunk(2)
    masks = pool_masks(torch.stack([clip.mask for clip in clips]).float(), codec.spec, config.mask_cells).half()
    return Latents(target, warp, masks, torch.zeros(len(clips), dtype=torch.long, device=target.device))


class Bank:
    """A ring of at most `capacity` examples on one device, allocated when the first ones come."""

    def __init__(self, capacity: int) -> None:
        require(capacity >= 1, f"the bank of latents must hold at least 1 clip, not {capacity}")
        self.capacity, self.written = capacity, 0
        self._store: Latents | None = None

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def add(self, latents: Latents) -> None:
        """Put examples in, over the oldest ones if the ring is full."""
        if self._store is None:
            fields = (latents.target, latents.warp, latents.mask, latents.caption)
            self._store = Latents(*(field.new_empty(self.capacity, *field.shape[1:]) for field in fields))
        done = 0
        while done < len(latents):
            at = self.written % self.capacity
            part = latents[done : done + self.capacity - at]
            for name in ("target", "warp", "mask", "caption"):
                getattr(self._store, name)[at : at + len(part)] = getattr(part, name)
            done, self.written = done + len(part), self.written + len(part)

    def draw(self, count: int, generator: torch.Generator) -> Latents:
        """Examples drawn evenly with replacement, in float32."""
        require(self._store is not None, "the bank of latents is empty")
        return self._store[
            torch.randint(len(self), (count,), generator=generator).to(self._store.target.device)
        ].float()


def clip_bytes(config: CosmosConfig, latent_size: tuple[int, int, int]) -> int:
    """Bytes of one example of so many latent frames, rows and columns."""
    return 2 * (2 * config.latent_channels + config.mask_channels) * int(np.prod(latent_size))


def is_held_out(name: str, share: float) -> bool:
    """Whether a scene of this name is kept from training: the same answer on every machine and in every run."""
    return zlib.crc32(f"held out {name}".encode()) < share * 2**32


def static_scenes(root: str | Path, known: Container[str] = ()) -> list[Path]:
    """The folders of complete scenes below `root`, by name, but those of `known` names; there may be none yet."""
    found, folders = [], [Path(root)]
    while folders:
        for entry in _folders(folders.pop()):
            if entry.name not in known and not entry.name.endswith(".partial"):
                path = Path(entry.path)
                (found if (path / "scene.json").is_file() else folders).append(path)
    return sorted(found, key=lambda path: path.name)


def _folders(path: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:  # scenes may be deleted after their use
        return []


def read_views(folder: Path, depth_of_code: np.ndarray, frames: int) -> Views | None:
    """A scene's plain paths, or None if it moves or is shorter than `frames`; `depth_of_code` [65536] is in metres."""
    facts = json.loads((folder / "scene.json").read_text())
    codes = np.load(folder / "depth.npy", mmap_mode="r")
    if facts["dynamic"] or codes.shape[1] < frames:
        return None
    paths = min(6, len(codes))
    with np.load(folder / "cameras.npz") as cameras:
        c2w, K = torch.from_numpy(cameras["c2w"][:paths, :frames]), torch.from_numpy(cameras["K"])
    depth = torch.from_numpy(depth_of_code[codes[:paths, [0, frames - 1]]])
    return Views(torch.from_numpy(read_array(folder / "rgb.npy", paths)[:, :frames]), depth, c2w, K)


@dataclass(frozen=True)
class Source:
    """Where scenes come from: `root` is searched every `rescan` seconds; of `count` processes this is number `rank`.

    Scenes of the share `held_out` are left alone. With `keep`, folders beyond that number are deleted after their
    first use, so that rendering can go on on a small disk.
    """

    root: Path
    frames: int
    rank: int = 0
    count: int = 1
    rescan: float = 5.0
    held_out: float = 0.0
    keep: int | None = None

    def mine(self, known: Container[str] = ()) -> list[Path]:
        """The scenes there are now for this process, but those of `known` names."""
        return [
            folder
            for folder in static_scenes(self.root, known)
            if zlib.crc32(folder.name.encode()) % self.count == self.rank
            and not is_held_out(folder.name, self.held_out)
        ]


class SceneFeed:
    """Scenes read ahead by some threads: new ones first, the newest of them before the others (old folders may be
    deleted to make room), then old ones again and again, in random order. Scenes that move come as recordings, half
    of the time backwards."""

    def __init__(self, source: Source, depth_of_code: np.ndarray, seed: int = 0, readers: int = 4) -> None:
        self.source, self._depth = source, depth_of_code
        self.seen: list[Path] = []
        self._known: set[str] = set()
        self._new: list[Path] = []
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._ready: queue.Queue[Views | Recording] = queue.Queue(maxsize=readers)
        for work in (self._look, *[self._read] * readers):
            threading.Thread(target=work, daemon=True).start()

    def next(self, wait: float = 0.0) -> Views | Recording | None:
        """A scene, or None if none is there within `wait` seconds."""
        try:
            return self._ready.get(timeout=wait) if wait > 0 else self._ready.get_nowait()
        except queue.Empty:
            return None

    def _look(self) -> None:
        while True:
            for folder in self.source.mine(self._known):
                self._known.add(folder.name)
                self._new.append(folder)
            time.sleep(self.source.rescan)

    def _read(self) -> None:
        while True:
            with self._lock:
                folder = self._new.pop() if self._new else self._random.choice(self.seen) if self.seen else None
            views = None if folder is None else self._views(folder)
            if views is None:
                time.sleep(0.05)
                continue
            with self._lock:
                if folder not in self.seen:
                    self.seen.append(folder)
                    self._tidy()
            self._ready.put(views)

    def _views(self, folder: Path) -> Views | Recording | None:
        """The scene, or None if it is of another kind or cannot be read (it may just be deleted)."""
        try:
            if is_moving(folder):
                recording = read_recording(folder, backwards=self._random.random() < 0.5)
                return recording if len(recording.source) == self.source.frames else None
            return read_views(folder, self._depth, self.source.frames)
        except (OSError, ValueError, KeyError, InputError) as error:
            print(f"left out {folder}: {error}", flush=True)
            with self._lock:
                if folder in self.seen:
                    self.seen.remove(folder)
            return None

    def _tidy(self) -> None:
        keep = self.source.keep
        if keep is not None and len(self.seen) > keep:
            shutil.rmtree(self.seen.pop(0), ignore_errors=True)
