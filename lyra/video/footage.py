"""Any video -> so many frames of one size, evenly spaced in time, in memory that does not grow with the video.

A stretch of the video is read (`seconds` from `start` on) and not more of it: a feed-forward 4D model has room for a
few seconds of motion. Frames come by their own timestamps, so a variable frame rate becomes a constant one.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from lyra.io.video import stream_video
from lyra.scene import Cameras, require

LONGEST = 8.0  # seconds that are taken of a longer video unless asked otherwise
_SMALLEST = 64  # pixels of the shorter side
_CANDIDATES = 500  # frames held while reading; 500 of 448x256 pixels take 172 MB
_DETAIL = 2.0  # frames are decoded at most so many times larger, along each side, than they are needed
_CROPPED = 0.7  # below this share of the picture its owner should know


@dataclass(frozen=True, eq=False)
class Footage:
    """t frames [t, 3, h, w] in [0, 1], `fps` a second, and what they came from.

    `index` is the number of each frame in its source (from 0), `full_size` (width, height) that of the source as it was
    decoded (large ones smaller), of which the frames are the middle. `notes` are sentences for the user.
    """

    frames: Float[Tensor, "t 3 h w"]
    index: Int64[Tensor, " t"]
    fps: float
    name: str
    full_size: tuple[int, int]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def digest(self) -> str:
        """SHA-256 of what the model sees, and of where in its source it lies (given cameras are chosen by that)."""
        head = f"{tuple(self.frames.shape)} {self.fps:.9g} {self.full_size} {self.index.tolist()}".encode()
        return hashlib.sha256(head + self.frames.contiguous().numpy().tobytes()).hexdigest()

    def fitted(self, cameras: Cameras) -> Cameras:
        """Cameras of the whole source picture, at any size of its shape, as cameras of these frames.

        Raises InputError if the shapes differ by more than 3 %.
        """
        wide, tall = self.full_size
        off = cameras.width / cameras.height / (wide / tall)
        require(
            abs(off - 1) < 0.03,
            f"{self.name}: the video has {wide}x{tall} pixels, but its cameras are for {cameras.width}x{cameras.height}"
            ", which is another shape; give cameras of the whole picture",
        )
        height, width = self.frames.shape[-2:]
        top, left, rows, columns = window(tall, wide, height, width)
        return cameras.resize(tall, wide).crop(top, left, rows, columns).resize(height, width)


def window(tall: int, wide: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, rows and columns of the largest middle part with the shape of height x width."""
    scale = min(wide / width, tall / height)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    return (tall - rows) // 2, (wide - columns) // 2, rows, columns


def fit(picture: Float[Tensor, "*b c h w"], height: int, width: int) -> Float[Tensor, "*b c h2 w2"]:
    """The middle of a picture, resampled to height x width."""
    top, left, rows, columns = window(*picture.shape[-2:], height, width)
    part = picture[..., top : top + rows, left : left + columns]
    if (rows, columns) == (height, width):
        return part
    lead = part.shape[:-3]
    flat = part.reshape(-1, *part.shape[-3:])
    return functional.interpolate(flat, (height, width), mode="bilinear", antialias=True).unflatten(0, lead or (1,))


def read_footage(
    path: str | os.PathLike,
    width: int,
    height: int,
    count: int = 25,
    start: float = 0.0,
    seconds: float | None = None,
    fps: float = 24.0,
) -> Footage:
    """`count` frames of width x height pixels from `start` on, spread evenly over `seconds`.

    `seconds` None takes everything up to LONGEST. `fps` is the rate of folders of images, which store none. Raises
    InputError if there is no such video, no picture in it, nothing after `start`, or only one frame.
    """
    require(count >= 2, f"a moving scene needs at least 2 frames, not {count}")
    require(start >= 0 and (seconds is None or seconds > 0), f"nothing to read: start {start}, seconds {seconds}")
    asked = LONGEST if seconds is None else seconds
    reader = _Reader(Path(path).name, width, height, start, asked)
    notes: list[str] = []
    for number, (time, frame) in enumerate(
        stream_video(path, fps=fps, max_pixels=int(_DETAIL**2 * width * height), notes=notes)
    ):
        if not reader.add(number, time, frame):
            if seconds is None:
                notes.append(f"{path}: is longer than {asked:g} s, and only these are used; choose them with --start")
            break
    size = reader.full_size
    require(len(reader.times) > 0, f"{path}: has no picture after {start:g} s; choose an earlier --start")
    require(
        len(reader.times) > 1,
        f"{path}: shows only 1 frame there, but a moving scene needs 2 or more; give it as a photograph",
    )
    require(
        min(size) >= _SMALLEST, f"{path}: is {size[0]}x{size[1]} pixels, but {_SMALLEST} a side are needed at least"
    )
    return _sampled(reader, count, _notes(path, reader, count, notes))


class _Reader:
    """Frames of the stretch, already small, at most _CANDIDATES of them."""

    def __init__(self, name: str, width: int, height: int, start: float, seconds: float) -> None:
        self.name, self.width, self.height = name, width, height
        self.start, self.end, self.gap = start, start + seconds, seconds / _CANDIDATES
        self.frames: list[Tensor] = []
        self.times: list[float] = []
        self.numbers: list[int] = []
        self.full_size = (0, 0)
        self._origin: float | None = None

    def add(self, number: int, time: float, frame: Tensor) -> bool:
        """Take a frame if it belongs to the stretch and is no twin of the last; False once the stretch is over."""
        self._origin = time if self._origin is None else self._origin
        since = time - self._origin
        if since > self.end + 1e-6:
            return False
        rising = not self.times or since >= self.times[-1] + self.gap
        if since >= self.start - 1e-6 and rising:
            size = (frame.shape[2], frame.shape[1])
            same = self.full_size in ((0, 0), size)
            require(same, f"{self.name}: the frames have different sizes ({self.full_size} and {size})")
            self.full_size = size
            small = fit(frame.float()[None], self.height, self.width)[0]
            self.frames.append(small.round().clamp(0, 255).to(torch.uint8))
            self.times.append(since)
            self.numbers.append(number)
        return True


def _sampled(reader: _Reader, count: int, notes: tuple[str, ...]) -> Footage:
    """The frames nearest to evenly spaced times."""
    times = torch.tensor(reader.times, dtype=torch.float64)
    wanted = torch.linspace(float(times[0]), float(times[-1]), count, dtype=torch.float64)
    chosen = (wanted[:, None] - times[None]).abs().argmin(1)
    frames = torch.stack([reader.frames[i] for i in chosen.tolist()]).float() / 255
    rate = (count - 1) / float(times[-1] - times[0])
    return Footage(frames, torch.tensor(reader.numbers)[chosen], rate, reader.name, reader.full_size, notes)


def _notes(path: str | os.PathLike, reader: _Reader, count: int, notes: list[str]) -> tuple[str, ...]:
    """What the owner of the video should know."""
    wide, tall = reader.full_size
    _, _, rows, columns = window(tall, wide, reader.height, reader.width)
    share = rows * columns / (tall * wide)
    if share < _CROPPED:
        notes.append(f"{path}: {share:.0%} of the picture, its middle, fits into {reader.width}x{reader.height}")
    if len(reader.times) < count:
        notes.append(f"{path}: has {len(reader.times)} frames in this stretch, so some of the {count} are repeated")
    return tuple(notes)
