"""Video files -> frames: mp4, mov, mkv, webm, gif, animated WebP and folders of numbered images.

Frames come upright (rotation metadata applied), at their own presentation times (variable frame rates are kept), and in
display-referred sRGB. A video whose end is damaged gives what can be decoded and says so in `notes`.
"""

import os
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lyra.io.images import load_image, to_uint8
from lyra.scene import require
from lyra.scene.errors import InputError

_STILL = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".avif"}
_PICTURES = {*_STILL, ".webp"}
# FFmpeg's default repeats each chroma sample and rounds roughly: 33 dB where these flags give 50 dB (smooth picture).
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_EXACT, _EXACT_SMALLER = Interpolation.BICUBIC | _FULL_CHROMA, Interpolation.AREA | _FULL_CHROMA
# PyAV 19 reads titles and the like that are not UTF-8 by itself (surrogateescape), and knows the option no more.
_ANY_TITLE = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_WHOLE = 0.9  # share of the length that a file announces: sound, or the last picture, may last a little longer
_BY_PILLOW = {".gif", ".webp", ".apng"}  # FFmpeg ignores GIF transparency and cannot read animated WebP


@dataclass(frozen=True, eq=False)
class Video:
    """t frames of one size as bytes, with the seconds at which they are shown (the first at 0, rising).

    `fps` is the mean rate of the frames held; `notes` are sentences for the user about what was left out.
    """

    frames: UInt8[Tensor, "t 3 h w"]
    times: Float[Tensor, " t"]
    fps: float
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.frames.shape[0]

    def images(self, index=slice(None)) -> Float[Tensor, "*t 3 h w"]:
        """Frames in [0, 1], all of them or those of an index."""
        return self.frames[index].float() / 255


def load_video(
    path: str | os.PathLike, *, max_frames: int = 600, max_pixels: int = 1280 * 720, fps: float = 24.0
) -> Video:
    """Read a video, an animation or a folder of numbered images.

    More than `max_frames` frames are thinned evenly (every 2nd, every 4th, ...) and frames of more than `max_pixels`
    are made smaller; `notes` says so. `fps` is the rate of folders, which store none. Raises InputError if the file
    is missing, is no video, has no picture or not one decodable frame.
    """
    require(max_frames >= 1, f"at least 1 frame must be allowed, got {max_frames}")
    require(max_pixels >= 1, f"at least 1 pixel must be allowed, got {max_pixels}")
    thinned = _Thinning(max_frames)
    notes: list[str] = []
    for time, frame in _stream(path, max_pixels, fps, notes):
        thinned.add(time, frame)
    require(len(thinned.frames) > 0, f"{path}: not one frame can be decoded; export the video again")
    if thinned.stride > 1:
        notes.append(
            f"{path}: kept every {_ordinal(thinned.stride)} of {thinned.seen} frames (the limit is {max_frames})"
        )
    sizes = {tuple(frame.shape) for frame in thinned.frames}
    require(len(sizes) == 1, f"{path}: the frames have {len(sizes)} different sizes; a video needs one")
    times = torch.tensor(thinned.times, dtype=torch.float64)
    times = times - times[0]
    span = float(times[-1])
    rate = (len(times) - 1) / span if span > 0 else fps
    return Video(torch.stack(thinned.frames), times.float(), rate, tuple(notes))


def stream_video(
    path: str | os.PathLike, *, fps: float = 24.0, max_pixels: int | None = None, notes: list[str] | None = None
) -> Iterator[tuple[float, UInt8[Tensor, "3 h w"]]]:
    """(seconds, frame) one by one, for videos that do not fit into memory; at full size unless `max_pixels` is given.

    Sentences about damage and size are appended to `notes`. Errors as `load_video`.
    """
    return _stream(path, max_pixels, fps, [] if notes is None else notes)


@dataclass
class _Thinning:
    """Keeps an evenly spaced selection of a stream of unknown length within a limit, in one pass."""

    limit: int
    stride: int = 1
    seen: int = 0
    frames: list[Tensor] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, time: float, frame: Tensor) -> None:
        if self.seen % self.stride == 0:
            if len(self.frames) == self.limit:
                self.frames, self.times, self.stride = self.frames[::2], self.times[::2], self.stride * 2
            if self.seen % self.stride == 0:
                self.frames.append(frame)
                self.times.append(time)
        self.seen += 1


def _stream(path: str | os.PathLike, max_pixels: int | None, fps: float, notes: list[str]) -> Iterator:
    source = Path(path)
    require(source.exists(), f"{path}: there is no such file")
    if source.is_dir():
        return _folder(source, max_pixels, fps, notes)
    require(source.stat().st_size > 0, f"{path}: the file is empty")
    suffix = source.suffix.lower()
    require(suffix not in _STILL, f"{path}: is a still image, but a video is needed")
    return _animation(source, max_pixels, notes) if suffix in _BY_PILLOW else _decode(source, max_pixels, notes)


def _target(height: int, width: int, max_pixels: int | None) -> tuple[int, int]:
    if max_pixels is None or height * width <= max_pixels:
        return height, width
    factor = (max_pixels / (height * width)) ** 0.5
    return max(1, int(height * factor)), max(1, int(width * factor))


def _note_size(path: Path, before: tuple[int, int], after: tuple[int, int], notes: list[str]) -> None:
    sentence = f"{path}: frames of {before[1]}x{before[0]} pixels were made smaller, to {after[1]}x{after[0]}"
    if before != after and sentence not in notes:
        notes.append(sentence)


def _note_end(path: Path, shown: float, announced: int | None, notes: list[str]) -> None:
    """Some containers (Matroska) that are cut off end without an error; then only their head tells how long they were.

    `shown` is in seconds, `announced` in FFmpeg's unit.
    """
    length = 0.0 if announced is None else announced / av.time_base
    if shown < _WHOLE * length:
        notes.append(f"{path}: the picture ends after {shown:.1f} of {length:.1f} s; the file may have been cut off")


def _decode(path: Path, max_pixels: int | None, notes: list[str]) -> Iterator[tuple[float, Tensor]]:
    """Frames by FFmpeg. Damage after the first frame ends the video with a note."""
    count, first, time = 0, 0.0, 0.0
    try:
        with av.open(str(path), **_ANY_TITLE) as container:
            require(
                len(container.streams.video) > 0,
                f"{path}: holds no picture ({'sound only' if container.streams.audio else 'no video stream'})",
            )
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            aspect = float(stream.sample_aspect_ratio or 1)  # pixels that are not square are made so
            rate = float(stream.average_rate or stream.guessed_rate or 24)
            for frame in container.decode(stream):
                time = count / rate if frame.pts is None else float(frame.pts * frame.time_base)
                square = frame.height, max(1, round(frame.width * aspect))
                size = _target(*square, max_pixels)
                _note_size(path, square, size, notes)
                shown = frame.reformat(
                    width=size[1], height=size[0], format="rgb24",
                    interpolation=_EXACT if size == (frame.height, frame.width) else _EXACT_SMALLER,
                )  # fmt: skip
                array = np.rot90(shown.to_ndarray(), k=round(frame.rotation / 90) % 4)
                first = time if count == 0 else first
                yield time, torch.from_numpy(array.copy()).movedim(-1, 0)
                count += 1
            if count > 0:
                _note_end(path, time - first + 1 / rate, container.duration, notes)
    except av.FFmpegError as error:
        require(count > 0, f"{path}: is not a video that can be decoded ({error.strerror})")
        notes.append(f"{path}: the video is damaged after frame {count}; what comes before it was kept")


def _animation(path: Path, max_pixels: int | None, notes: list[str]) -> Iterator[tuple[float, Tensor]]:
    """Frames of GIF, WebP and APNG by Pillow, transparency over white."""
    time, count = 0.0, 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                require(
                    picture.width * picture.height <= 1e8,
                    f"{path}: has frames of {picture.width}x{picture.height} pixels, more than 100 megapixels",
                )
                for index in range(getattr(picture, "n_frames", 1)):
                    picture.seek(index)
                    rgba = picture.convert("RGBA")
                    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
                    size = _target(flat.height, flat.width, max_pixels)
                    _note_size(path, (flat.height, flat.width), size, notes)
                    flat = flat if size == (flat.height, flat.width) else flat.resize(size[::-1], Image.Resampling.BOX)
                    yield time, torch.from_numpy(np.array(flat)).movedim(-1, 0)
                    # Browsers play frames without a duration at 10 a second.
                    time += (picture.info.get("duration") or 100) / 1000
                    count += 1
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError, RuntimeError,
            Image.DecompressionBombError) as error:  # fmt: skip
        require(count > 0, f"{path}: is not an animation that can be read ({error})")
        notes.append(f"{path}: the animation is damaged after frame {count}; what comes before it was kept")


def _folder(path: Path, max_pixels: int | None, fps: float, notes: list[str]) -> Iterator[tuple[float, Tensor]]:
    """Numbered images in natural order (frame_9 before frame_10)."""
    require(fps > 0, f"the frame rate must be positive, got {fps}")
    files = [f for f in path.iterdir() if f.suffix.lower() in _PICTURES and not f.name.startswith(".")]
    require(len(files) > 0, f"{path}: the folder holds no images ({', '.join(sorted(_PICTURES))})")
    files.sort(key=lambda f: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", f.name)])
    for index, file in enumerate(files):
        image = load_image(file)
        size = _target(image.shape[1], image.shape[2], max_pixels)
        _note_size(path, tuple(image.shape[1:]), size, notes)
        if size != tuple(image.shape[1:]):
            image = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        yield index / fps, to_uint8(image)


def _ordinal(n: int) -> str:
    return f"{n}{'nd' if n == 2 else 'th'}"
