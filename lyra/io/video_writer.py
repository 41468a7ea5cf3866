"""Frames -> video files: mp4 and mov (H.264), webm (VP9), gif and animated webp, or a folder of PNG images.

H.264 is written so that browsers, phones and editors agree on it: yuv420p, BT.709 limited range with tags, index first
(faststart). Odd sizes are made even by repeating the last row or column.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import torch
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lyra.io.atomic import replacing_file, replacing_folder
from lyra.io.images import to_uint8
from lyra.scene import InputError, require

_FFMPEG = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
_PILLOW = {".gif": "GIF", ".webp": "WEBP"}
SUFFIXES = (*_FFMPEG, *_PILLOW)
_MARKER = "frame_00000.png"


class VideoWriter:
    """Write frames one by one inside a `with` block; the file appears whole when the block ends well.

    The suffix chooses the format; a path without suffix becomes a folder of PNG images. `quality` is the x264/VP9
    constant rate factor (lower is better; 16 is hard to tell from the source). gif and webp are held in memory until
    the end. Raises InputError on other suffixes, frames of changing size and empty videos.
    """

    def __init__(self, path: str | os.PathLike, fps: float = 24.0, *, quality: int = 16) -> None:
        self.path, self.fps, self.quality = Path(path), fps, quality
        suffix = self.path.suffix.lower()
        require(
            suffix in SUFFIXES or suffix == "",
            f"{path}: videos are written as {', '.join(SUFFIXES)} or as a folder (no suffix), not {suffix}",
        )
        require(0 < fps <= 1000, f"the frame rate must lie between 0 and 1000 a second, got {fps}")
        self.count = 0
        self._suffix = suffix
        self._shape: tuple[int, ...] | None = None

    def __enter__(self) -> "VideoWriter":
        with contextlib.ExitStack() as stack:
            if self._suffix == "":
                self._temporary = stack.enter_context(replacing_folder(self.path, _MARKER))
                self._sink = _Folder(self._temporary)
            else:
                self._temporary = stack.enter_context(replacing_file(self.path))
                make = _Animation if self._suffix in _PILLOW else _Stream
                self._sink = make(self._temporary, self._suffix, self.fps, self.quality)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: Float[Tensor, "3 h w"] | UInt8[Tensor, "3 h w"]) -> None:
        """Add a frame in [0, 1], or in bytes."""
        require(frame.ndim == 3 and frame.shape[0] == 3, f"a frame must be [3, h, w], got {list(frame.shape)}")
        require(
            self._shape in (None, tuple(frame.shape)),
            f"all frames of a video must have one size, got {list(frame.shape)} after {list(self._shape or ())}",
        )
        self._shape = tuple(frame.shape)
        data = frame if frame.dtype == torch.uint8 else to_uint8(frame)
        with self._encoding():
            self._sink.add(np.ascontiguousarray(data.movedim(0, -1).cpu().numpy()))
        self.count += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._stack:  # leaving it by an exception removes the temporary file instead of renaming it
            if error is not None or self.count == 0:
                self._sink.abandon()
            if error is not None:
                raise error
            require(self.count > 0, f"{self.path}: a video needs at least 1 frame, got none")
            with self._encoding():
                self._sink.close()

    @contextlib.contextmanager
    def _encoding(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            size = f"{self._shape[2]}x{self._shape[1]}"
            raise InputError(f"{self.path}: frames of {size} pixels cannot be encoded ({error.strerror})") from error


def save_video(
    frames: Float[Tensor, "t 3 h w"] | UInt8[Tensor, "t 3 h w"] | Iterable[Tensor],
    path: str | os.PathLike,
    fps: float = 24.0,
    *,
    quality: int = 16,
) -> None:
    """Write frames (a tensor, or any iterable of [3, h, w]) as a video; see `VideoWriter`."""
    with VideoWriter(path, fps, quality=quality) as writer:
        for frame in frames:
            writer.write(frame)


class _Stream:
    """H.264 or VP9 by FFmpeg."""

    def __init__(self, path: Path, suffix: str, fps: float, quality: int) -> None:
        options = {"movflags": "+faststart"} if suffix in (".mp4", ".mov") else {}
        self._container = av.open(str(path), "w", options=options)
        self._rate = Fraction(fps).limit_denominator(100_000)
        self._stream = self._container.add_stream(_FFMPEG[suffix], rate=self._rate)
        self._stream.options = {"crf": str(quality)} | (
            {"preset": "medium"} if suffix != ".webm" else {"b": "0", "cpu-used": "4", "row-mt": "1"}
        )
        # Where decoders take a chroma sample to be if the file does not say: H.264 left, VP9 in the centre. A wrong
        # place costs 13 dB at edges of colour.
        self._siting = "center" if suffix == ".webm" else "left"
        self._graph: Graph | None = None
        self._count = 0

    def add(self, frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._graph is None:
            self._start(*frame.shape[:2])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self._count, 1 / self._rate
        self._count += 1
        self._graph.push(picture)
        self._container.mux(self._stream.encode(self._graph.pull()))

    def _start(self, height: int, width: int) -> None:
        context = self._stream.codec_context
        context.height, context.width, context.pix_fmt = height, width, "yuv420p"
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._graph = Graph()
        self._graph.link_nodes(
            self._graph.add_buffer(width=width, height=height, format="rgb24", time_base=1 / self._rate),
            self._graph.add(
                "scale",
                f"out_color_matrix=bt709:out_range=limited:out_chroma_loc={self._siting}:"
                "flags=bicubic+accurate_rnd+full_chroma_inp",
            ),
            self._graph.add("format", "yuv420p"),
            self._graph.add("buffersink"),
        ).configure()

    def close(self) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        with contextlib.suppress(av.FFmpegError, ValueError):
            self._container.close()


class _Animation:
    """GIF or animated WebP by Pillow. GIF counts time in hundredths of a second; errors do not add up."""

    def __init__(self, path: Path, suffix: str, fps: float, quality: int) -> None:
        self._path, self._format, self._fps = path, _PILLOW[suffix], fps
        self._frames: list[Image.Image] = []

    def add(self, frame: np.ndarray) -> None:
        self._frames.append(Image.fromarray(frame))

    def close(self) -> None:
        tick = 10 if self._format == "GIF" else 1
        ends = [round(1000 * (i + 1) / self._fps / tick) * tick for i in range(len(self._frames))]
        durations = [max(tick, end - start) for start, end in zip([0, *ends], ends, strict=False)]
        extra = {"quality": 90, "method": 4} if self._format == "WEBP" else {}
        first, *rest = self._frames
        first.save(
            self._path, format=self._format, save_all=True, append_images=rest, duration=durations, loop=0, **extra
        )

    def abandon(self) -> None:
        self._frames.clear()


class _Folder:
    """Numbered PNG images."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, 0

    def add(self, frame: np.ndarray) -> None:
        Image.fromarray(frame).save(self._path / f"frame_{self._count:05d}.png", compress_level=4)
        self._count += 1

    def close(self) -> None:
        """Every frame is on disk already."""

    def abandon(self) -> None:
        """The caller removes the folder."""
