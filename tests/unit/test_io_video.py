"""Videos: what is written is what is read, and what cameras and editors make of time, size and colour."""

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from unit.strategies import generator

from lyra.io.images import save_image
from lyra.io.video import Video, load_video, stream_video
from lyra.io.video_writer import VideoWriter, save_video
from lyra.scene import InputError


def clip(frames: int = 8, height: int = 48, width: int = 64) -> torch.Tensor:
    """A smooth picture without a seam that slides and darkens."""
    small = torch.rand(1, 3, 4, 3, generator=generator(0))
    small = torch.cat([small, small.flip(-1)], -1)
    picture = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
    shades = torch.linspace(1, 0.3, frames)
    return torch.stack([picture.roll(2 * i, -1) * shade for i, shade in enumerate(shades)])


def as_frame(image: torch.Tensor) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray((image * 255).byte().movedim(0, -1).contiguous().numpy(), format="rgb24")


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


# Measured: 40.5 dB for H.264, 41.7 for VP9, 36.3 for GIF (256 colours), 40.3 for WebP, 58.9 for bytes.
@pytest.mark.parametrize(
    "name, least",
    [("a.mp4", 40), ("a.mov", 40), ("a.mkv", 40), ("a.webm", 40), ("a.gif", 34), ("a.webp", 39), ("frames", 55)],
)
def test_every_format_gives_back_frames_and_times(tmp_path, name, least):
    save_video(clip(), tmp_path / name, 25.0)
    video = load_video(tmp_path / name, fps=25.0)
    assert psnr(video.images(), clip()) > least
    assert video.frames.dtype == torch.uint8
    assert video.times.tolist() == pytest.approx([i / 25 for i in range(8)], abs=1e-3)
    assert video.fps == pytest.approx(25, abs=0.2)
    assert video.notes == ()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_h264_is_what_players_agree_on(tmp_path):
    """yuv420p, BT.709 limited range with tags, the index before the data."""
    save_video(clip(), tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    "colour", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0), (0.5, 0.5, 0.5), (0.9, 0.5, 0.1)]
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_plain_colours_survive(tmp_path, colour, suffix):
    """Worst difference 2 / 255: what 8-bit YUV can hold."""
    frames = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    save_video(frames, tmp_path / f"a{suffix}")
    assert float((load_video(tmp_path / f"a{suffix}").images() - frames).abs().max()) <= 2.5 / 255


@pytest.mark.parametrize("height, width", [(47, 64), (48, 63), (1, 1), (3, 2)])
def test_odd_sizes_are_made_even_by_repeating_the_border(tmp_path, height, width):
    frames = clip(3, max(height, 8), max(width, 8))[:, :, :height, :width]
    save_video(frames, tmp_path / "a.mp4", quality=4)
    video = load_video(tmp_path / "a.mp4")
    assert video.frames.shape == (3, 3, height + height % 2, width + width % 2)
    if height > 8:  # smaller pictures lose their colours to 4:2:0
        assert psnr(video.images()[..., :height, :width], frames) > 40


def test_bytes_floats_and_generators_write_the_same(tmp_path):
    frames = (clip() * 255).round().to(torch.uint8)
    save_video(frames, tmp_path / "bytes.mp4")
    save_video((frame.float() / 255 for frame in frames), tmp_path / "floats.mp4")
    assert (tmp_path / "bytes.mp4").read_bytes() == (tmp_path / "floats.mp4").read_bytes()


@pytest.mark.parametrize("fps", [1.0, 12.5, 23.976, 29.97, 60.0])
def test_rates_do_not_drift(tmp_path, fps):
    for name, slack in (("a.mp4", 1e-4), ("a.gif", 0.0051)):
        if name == "a.gif" and fps > 50:
            continue  # GIF players slow down anything faster
        save_video(clip(12, 16, 16), tmp_path / name, fps)
        times = load_video(tmp_path / name).times
        assert float((times - torch.arange(12) / fps).abs().max()) <= slack


def test_variable_frame_rates_keep_their_times(tmp_path):
    stamps = [0, 40, 90, 400, 420]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for stamp, frame in zip(stamps, clip(5), strict=True):
            picture = av.VideoFrame.from_ndarray(
                (frame * 255).byte().movedim(0, -1).contiguous().numpy(), format="rgb24"
            )
            picture.pts, picture.time_base = stamp, stream.codec_context.time_base
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    video = load_video(tmp_path / "a.mkv")
    assert (video.times * 1000).round().tolist() == stamps
    assert video.fps == pytest.approx(4 / 0.42, rel=1e-3)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_metadata_is_applied(tmp_path, turns):
    """Phones store frames as the sensor sees them and a matrix that says how to hold them."""
    save_video(clip(2), tmp_path / "a.mp4", quality=4)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of times, ids and layers
    c, s = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", c * one, s * one, 0, -s * one, c * one, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    video = load_video(tmp_path / "turned.mp4")
    # A quarter turn of the matrix is one to the right, clockwise.
    expected = torch.rot90(clip(2), -turns, (-2, -1))
    assert video.frames.shape == expected.shape
    assert psnr(video.images(), expected) > 42


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        frame = av.VideoFrame.from_ndarray(
            (clip(1)[0] * 255).byte().movedim(0, -1).contiguous().numpy(), format="rgb24"
        )
        container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    assert load_video(tmp_path / "a.mkv").frames.shape == (1, 3, 48, 128)


def test_long_and_large_videos_are_thinned_with_a_sentence(tmp_path):
    frames = clip(50, 40, 60)
    save_video(frames, tmp_path / "a.mp4", 10.0)
    video = load_video(tmp_path / "a.mp4", max_frames=20, max_pixels=600)
    assert video.times.tolist() == pytest.approx([0.4 * i for i in range(13)])
    assert video.fps == pytest.approx(2.5)
    assert video.frames.shape == (13, 3, 20, 30)
    assert len(video.notes) == 2
    assert "made smaller, to 30x20" in video.notes[0]
    assert "every 4th of 50 frames (the limit is 20)" in video.notes[1]
    small = torch.nn.functional.interpolate(frames[::4], (20, 30), mode="area")
    assert psnr(video.images(), small) > 40
    assert len(load_video(tmp_path / "a.mp4", max_frames=50)) == 50
    assert len(load_video(tmp_path / "a.mp4", max_frames=1)) == 1


def test_streaming_gives_the_same_frames(tmp_path):
    save_video(clip(), tmp_path / "a.mp4")
    video = load_video(tmp_path / "a.mp4")
    for index, (time, frame) in enumerate(stream_video(tmp_path / "a.mp4")):
        assert frame.equal(video.frames[index])
        assert time == pytest.approx(float(video.times[index]), abs=1e-6)
    assert index == 7


def test_folders_are_read_in_natural_order(tmp_path):
    for index in (10, 9, 1, 100):
        save_image(torch.full((3, 4, 4), index / 100), tmp_path / f"frame_{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    video = load_video(tmp_path, fps=2.0)
    assert [round(x * 100) for x in video.images()[:, 0, 0, 0].tolist()] == [1, 9, 10, 100]
    assert video.times.tolist() == [0, 0.5, 1, 1.5]
    save_image(torch.zeros(3, 4, 5), tmp_path / "frame_2.png")
    with pytest.raises(InputError, match="2 different sizes"):
        load_video(tmp_path)


def test_transparent_animations_lie_over_white(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, alpha)) for alpha in (0, 255)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    video = load_video(tmp_path / "a.webp")
    assert video.frames[0].unique().tolist() == [255]
    assert video.frames[1, :, 0, 0].tolist() == [255, 0, 0]


def test_one_frame_is_a_video(tmp_path):
    for name in ("a.mp4", "a.gif", "a.webp", "a.webm"):
        save_video(clip(1), tmp_path / name, 30.0)
        video = load_video(tmp_path / name)
        assert len(video) == 1
        assert video.times.tolist() == [0]


def test_damaged_tails_keep_what_decodes(tmp_path):
    save_video(clip(60), tmp_path / "a.mkv")
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    video = load_video(tmp_path / "cut.mkv")
    assert 5 < len(video) < 60
    assert psnr(video.images(), clip(60)[: len(video)]) > 30
    save_video(clip(8), tmp_path / "a.gif")
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) * 2 // 3])
    video = load_video(tmp_path / "cut.gif")
    assert 1 < len(video) < 8
    assert "damaged after frame" in video.notes[0]


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 44100, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="sound only"):
        load_video(tmp_path / "a.m4a")


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.webm", "frames"])
def test_failing_writers_leave_the_old_file_whole(tmp_path, name):
    path = tmp_path / name
    save_video(clip(3), path)
    before = sorted((p.name, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(KeyError), VideoWriter(path) as writer:
        writer.write(clip(1)[0])
        raise KeyError("the renderer failed")
    with pytest.raises(InputError, match="one size"), VideoWriter(path) as writer:
        writer.write(clip(1)[0])
        writer.write(clip(1)[0, :, 1:])
    with pytest.raises(InputError, match="at least 1 frame"), VideoWriter(path):
        pass
    assert sorted((p.name, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()) == before


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    save_video(clip(3), tmp_path / "a.mp4")
    before = (tmp_path / "a.mp4").read_bytes()
    program = (
        "import os, sys, torch; from lyra.io.video_writer import VideoWriter\n"
        "writer = VideoWriter(sys.argv[1]).__enter__()\n"
        "for _ in range(5): writer.write(torch.rand(3, 48, 64))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.mp4")], cwd=root, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert (tmp_path / "a.mp4").read_bytes() == before


BAD = {
    "suffix": (lambda d: save_video(clip(1), d / "a.avi"), "written as"),
    "no folder": (lambda d: save_video(clip(1), d / "none" / "a.mp4"), "does not exist"),
    "rate": (lambda d: save_video(clip(1), d / "a.mp4", 0.0), "frame rate"),
    "too wide": (lambda d: save_video(torch.zeros(1, 3, 2, 20000), d / "a.mp4"), "cannot be encoded"),
    "no limit": (lambda d: load_video(d, max_frames=0), "at least 1 frame"),
    "still": (lambda d: (save_image(clip(1)[0], d / "a.png"), load_video(d / "a.png")), "still image"),
}


@pytest.mark.parametrize("call, sentence", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_is_refused(tmp_path, call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] in ([], ["a.png"])


def test_a_video_counts_and_slices():
    video = Video(torch.zeros(3, 3, 2, 2, dtype=torch.uint8), torch.arange(3) / 2, 2.0)
    assert len(video) == 3
    assert video.images(1).shape == (3, 2, 2)
    assert video.images(slice(0, 2)).shape == (2, 3, 2, 2)
