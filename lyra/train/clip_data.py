"""Training clips from rendered scenes and from photographs, kept as bytes on the device that trains.

Scenes are folders with `rgb.npy` uint8 [paths, frames, height, width, 3] and `scene.json` (as the world engine writes
them); photographs come in one zip of JPEGs with `credits.json` (runs/fetch_photos.py). Every draw takes a generator.
"""

import io
import json
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from lyra.scene import require


@dataclass(frozen=True)
class ClipShape:
    """Size of a batch: clips, frames, height and width in pixels; `photos` is the share made from photographs."""

    batch: int
    frames: int
    height: int
    width: int
    photos: float


def scene_folders(root: str | Path) -> list[Path]:
    """The folders below `root` that hold a rendered scene, by name."""
    found = sorted(path.parent for path in Path(root).rglob("rgb.npy") if not path.parent.name.endswith(".partial"))
    require(len(found) > 0, f"no rendered scenes (folders with rgb.npy) below {root}")
    return found


def load_scenes(
    folders: Sequence[Path], device: torch.device, max_bytes: int, report: Callable[[str], None] = print
) -> UInt8[Tensor, "n length rows columns 3"]:
    """All paths of the scenes as bytes on `device`, as many as fit into `max_bytes`.

    Scenes whose clips have another size than those of the first scene are left out, and `report` says how many.
    """
    shapes = [_mapped(folder).shape for folder in folders]
    size = shapes[0][1:]
    fitting = [folder for folder, shape in zip(folders, shapes, strict=True) if shape[1:] == size]
    clip_bytes = int(np.prod(size))
    total = min(sum(shape[0] for shape in shapes if shape[1:] == size), max_bytes // clip_bytes)
    require(total > 0, f"no clip of {clip_bytes} bytes fits into {max_bytes} bytes")
    clips = torch.empty(total, *size, dtype=torch.uint8, device=device)
    done = 0
    for folder in fitting:
        part = torch.from_numpy(np.array(_mapped(folder)[: total - done]))
        clips[done : done + len(part)] = part.to(device)
        done += len(part)
    left_out = len(folders) - len(fitting)
    report(f"{done} clips {list(size)}, {done * clip_bytes / 2**30:.2f} GiB on {device}, {left_out} scenes left out")
    return clips


class ClipPool:
    """Clips of rendered scenes as bytes on one device; the pool grows while scenes still appear below `root`.

    Of n processes the one of this rank takes every n-th scene. All clips have the size of the first scene's, others are
    left out. `clips` is what is there so far; the constructor waits for the first scene.
    """

    def __init__(self, root: str | Path, device: torch.device, max_bytes: int, rank: int = 0, world: int = 1) -> None:
        self.root, self.rank, self.world = Path(root), rank, world
        while not self._folders():
            time.sleep(0.5)
        self.size = _mapped(self._folders()[0]).shape[1:4]
        capacity = max_bytes // (3 * int(np.prod(self.size)))
        require(capacity > 0, f"no clip of size {self.size} fits into {max_bytes} bytes")
        self._buffer = torch.empty(capacity, *self.size, 3, dtype=torch.uint8, device=device)
        self._seen: set[str] = set()
        self.count = 0

    def _folders(self) -> list[Path]:
        found = (path.parent for path in self.root.rglob("rgb.npy"))
        return sorted(folder for folder in found if not folder.name.endswith(".partial"))

    @property
    def clips(self) -> UInt8[Tensor, "n length rows columns 3"]:
        """The clips loaded so far."""
        return self._buffer[: self.count]

    def poll(self) -> None:
        """Load the scenes that have appeared since the last call."""
        for folder in self._folders():
            if folder.name in self._seen:
                continue
            self._seen.add(folder.name)
            if zlib.crc32(folder.name.encode()) % self.world == self.rank and self.count < len(self._buffer):
                self._take(folder)

    def _take(self, folder: Path) -> None:
        try:
            shape = _mapped(folder).shape
            if shape[1:4] != self.size:
                return
            frames = read_array(folder / "rgb.npy", min(shape[0], len(self._buffer) - self.count))
        except (OSError, ValueError) as error:  # old scenes may be deleted to make room
            print(f"left out {folder}: {error}", flush=True)
            return
        part = torch.from_numpy(frames)
        self._buffer[self.count : self.count + len(part)] = part.to(self._buffer.device)
        self.count += len(part)

    def watch(self, seconds: float = 2.0) -> None:
        """Keep polling from a thread until the process ends."""

        def loop() -> None:
            while self.count < len(self._buffer):
                self.poll()
                time.sleep(seconds)

        threading.Thread(target=loop, daemon=True).start()


def read_array(path: Path, count: int) -> np.ndarray:
    """The first `count` items of an array on disk, in pinned memory where there is a GPU.

    Read at one go: page faults of a mapped file cost more than the copy.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = header(file)
        require(not in_columns and count <= shape[0], f"{path} does not hold {count} arrays, one after the other")
        size = count * int(np.prod(shape[1:])) * dtype.itemsize
        memory = torch.empty(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available()).numpy()
        require(file.readinto(memory) == size, f"{path} is shorter than its header says")
    return memory.view(dtype).reshape(count, *shape[1:])


def _mapped(folder: Path) -> np.ndarray:
    """A scene's frames, mapped; drop the array soon, since each one holds a file open."""
    return np.load(folder / "rgb.npy", mmap_mode="r")


def load_photos(pack: str | Path, split: str, device: torch.device) -> list[UInt8[Tensor, "3 rows columns"]]:
    """The photographs of a split (`train` or `test`) of a pack."""
    photos = []
    with zipfile.ZipFile(pack) as archive:
        for entry in json.loads(archive.read("credits.json")):
            if entry["split"] == split:
                image = np.array(Image.open(io.BytesIO(archive.read(entry["file"]))).convert("RGB"))
                photos.append(torch.from_numpy(image).permute(2, 0, 1).to(device))
    require(len(photos) > 0, f"{pack} holds no photographs of the split {split!r}")
    return photos


def to_signed(clips: UInt8[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Bytes to [-1, 1]."""
    return clips.float() / 127.5 - 1


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _integer(generator: torch.Generator, below: int) -> int:
    return int(torch.randint(max(1, below), (), generator=generator))


def photo_clip(
    photo: UInt8[Tensor, "3 rows columns"], frames: int, height: int, width: int, generator: torch.Generator
) -> Float[Tensor, "3 t h w"]:
    """A clip in [-1, 1] that pans and zooms over a photograph at a random scale, straight and smooth."""
    size = torch.tensor(photo.shape[1:], dtype=torch.float32)
    smallest = max(1.02 * height / float(size[0]), 1.02 * width / float(size[1]))
    scale = smallest * (max(1.0, 1.0 / smallest) ** _uniform(generator, 0.0, 1.0))
    resized = functional.interpolate(to_signed(photo)[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    room = torch.tensor([resized.shape[1] - height, resized.shape[2] - width], dtype=torch.float32).clamp_min(0)
    start = torch.rand(2, generator=generator) * room
    reach = torch.tensor([height, width]) * _uniform(generator, 0.0, 0.25)
    end = (start + (2 * torch.rand(2, generator=generator) - 1) * reach).clamp_min(0).minimum(room)
    zoom = _uniform(generator, 0.85, 1.0)
    s = torch.linspace(0, 1, frames)[:, None] if frames > 1 else torch.zeros(1, 1)
    corner = start + (end - start) * s
    grow = (1 + (zoom - 1) * s)[:, 0]
    y = corner[:, :1] + (torch.arange(height) + 0.5 - height / 2)[None] * grow[:, None] + height / 2
    x = corner[:, 1:] + (torch.arange(width) + 0.5 - width / 2)[None] * grow[:, None] + width / 2
    across = (2 * x / resized.shape[2] - 1).to(resized.device)[:, None, :].expand(-1, height, -1)
    down = (2 * y / resized.shape[1] - 1).to(resized.device)[:, :, None].expand(-1, -1, width)
    source = resized[None].expand(frames, -1, -1, -1)
    grid = torch.stack([across, down], -1)
    return functional.grid_sample(source, grid, padding_mode="border", align_corners=False).transpose(0, 1)


def photo_clips(
    photos: Sequence[Tensor], count: int, frames: int, height: int, width: int, generator: torch.Generator
) -> UInt8[Tensor, "n t h w 3"]:
    """Pans over photographs made once, as bytes beside the photographs, so that drawing one costs a copy."""
    made = torch.empty(count, frames, height, width, 3, dtype=torch.uint8, device=photos[0].device)
    for index in range(count):
        clip = photo_clip(photos[index % len(photos)], frames, height, width, generator)
        made[index] = (127.5 * (clip + 1)).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0)
    return made


def scene_clip(
    clips: UInt8[Tensor, "n length rows columns 3"], frames: int, height: int, width: int, generator: torch.Generator
) -> Float[Tensor, "3 t h w"]:
    """A random part of a random path in [-1, 1], forwards or backwards in time."""
    n, length, full_height, full_width, _ = clips.shape
    require(
        frames <= length and height <= full_height and width <= full_width,
        f"clips of {length} frames {full_width}x{full_height} are too small for {frames} frames {width}x{height}",
    )
    clip = clips[_integer(generator, n)]
    rooms = (length - frames, full_height - height, full_width - width)
    t, top, left = (_integer(generator, room + 1) for room in rooms)
    part = to_signed(clip[t : t + frames, top : top + height, left : left + width]).permute(3, 0, 1, 2)
    return part.flip(1) if _integer(generator, 2) else part


def draw(
    shape: ClipShape,
    clips: UInt8[Tensor, "n length rows columns 3"] | None,
    pans: UInt8[Tensor, "m duration lines pixels 3"] | None,
    generator: torch.Generator,
) -> Float[Tensor, "b 3 t h w"]:
    """A batch in [-1, 1]: scenes and pans, mirrored at random, half of them with other exposure and colours."""
    from_pans = 0 if pans is None else shape.batch if clips is None else round(shape.batch * shape.photos)
    size = (shape.frames, shape.height, shape.width)
    pools = [pans] * from_pans + [clips] * (shape.batch - from_pans)
    batch = torch.stack([scene_clip(pool, *size, generator) for pool in pools])
    batch = torch.where(_coin(batch, generator), batch.flip(-1), batch)
    colour = torch.empty(shape.batch, 3).uniform_(0.8, 1.15, generator=generator)
    gain = colour * torch.empty(shape.batch, 1).uniform_(0.7, 1.2, generator=generator)
    toned = ((batch + 1) * gain[:, :, None, None, None].to(batch) - 1).clamp(-1, 1)
    return torch.where(_coin(batch, generator), toned, batch)


def _coin(batch: Tensor, generator: torch.Generator) -> Tensor:
    """One fair coin a clip."""
    return (torch.rand(batch.shape[0], 1, 1, 1, 1, generator=generator) < 0.5).to(batch.device)
