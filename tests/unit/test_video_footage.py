"""Any video becomes so many frames, evenly spaced; what cannot is refused in one sentence."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lyra.io.video_writer import save_video
from lyra.scene import InputError
from lyra.video.footage import read_footage


def ramp(frames: int, height: int = 72, width: int = 96) -> torch.Tensor:
    """Frames whose brightness tells their number."""
    shade = torch.linspace(0.1, 0.9, frames)
    return shade[:, None, None, None].expand(frames, 3, height, width).contiguous()


def shades(footage) -> torch.Tensor:
    return footage.frames.mean((1, 2, 3))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.gif", "clip"])
def test_every_kind_is_spread_evenly(tmp_path, name):
    save_video(ramp(21), tmp_path / name, 20.0)
    got = read_footage(tmp_path / name, 64, 48, 5, fps=20.0)
    assert got.frames.shape == (5, 3, 48, 64) and got.fps == pytest.approx(4.0, abs=0.05)
    assert got.index.tolist() == [0, 5, 10, 15, 20]
    assert torch.allclose(shades(got), torch.linspace(0.1, 0.9, 5), atol=0.03)  # codecs: worst 0.012


def test_a_variable_frame_rate_becomes_constant(tmp_path):
    """Ten frames in the first tenth of the time, ten in the rest: half of what is taken comes from the last frames."""
    times = [*range(10), *range(10, 110, 10)]
    with av.open(str(tmp_path / "vfr.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=100)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 96, 72, "yuv420p", Fraction(1, 100)
        stream.codec_context.time_base = Fraction(1, 100)
        for time in times:
            picture = np.full((72, 96, 3), 30 + 2 * time, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    got = read_footage(tmp_path / "vfr.mp4", 64, 48, 11)
    assert torch.allclose(255 * shades(got), 30 + 20 * torch.arange(11.0), atol=5)


def test_a_stretch_is_cut_out_and_long_videos_are_not_read_to_the_end(tmp_path):
    save_video(ramp(100), tmp_path / "long.mp4", 10.0)
    whole = read_footage(tmp_path / "long.mp4", 64, 48, 9)
    assert whole.index.tolist() == list(range(0, 81, 10))
    assert any("longer than 8 s" in note for note in whole.notes)
    part = read_footage(tmp_path / "long.mp4", 64, 48, 3, start=2.0, seconds=1.0)
    assert part.index.tolist() == [20, 25, 30] and part.notes == ()


def test_few_frames_are_repeated_and_said(tmp_path):
    save_video(ramp(3), tmp_path / "short.mp4", 3.0)
    got = read_footage(tmp_path / "short.mp4", 64, 48, 9)
    assert len(got) == 9 and any("3 frames" in note and "repeated" in note for note in got.notes)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_a_broken_tail_is_left_out_and_said(tmp_path, suffix):
    noise = torch.rand(40, 3, 72, 96, generator=torch.Generator().manual_seed(0))
    save_video(noise, tmp_path / f"whole{suffix}", 20.0)
    data = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    got = read_footage(tmp_path / f"cut{suffix}", 64, 48, 5)
    assert 5 < int(got.index[-1]) < 39
    assert any("damaged after" in note or "of 2.0 s; the file may have been cut off" in note for note in got.notes)
    assert read_footage(tmp_path / f"whole{suffix}", 64, 48, 5).notes == ()


def test_a_phone_held_upright_gives_an_upright_picture(tmp_path):
    """The file stores a wide picture and a quarter turn; the top of what was seen stays the top."""
    lying = torch.zeros(4, 3, 96, 128)
    lying[..., :64] = 0.9  # after a quarter turn to the right the left half is the upper one
    save_video(lying, tmp_path / "lying.mp4", 10.0)
    data = bytearray((tmp_path / "lying.mp4").read_bytes())
    at, one = data.index(b"tkhd") + 44, 1 << 16
    data[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    got = read_footage(tmp_path / "phone.mp4", 96, 64, 3)
    assert got.full_size == (96, 128)
    assert float(got.frames[..., :24, :].mean()) > 0.85 and float(got.frames[..., 40:, :].mean()) < 0.05
    assert any("50% of the picture" in note for note in got.notes)


def test_a_long_large_video_is_cut_and_made_smaller_with_a_sentence(tmp_path):
    save_video(ramp(12, 360, 640), tmp_path / "large.mp4", 1.0)
    got = read_footage(tmp_path / "large.mp4", 64, 48, 9)
    assert got.index.tolist() == list(range(9)) and got.frames.shape == (9, 3, 48, 64)
    assert any("longer than 8 s" in note for note in got.notes)
    assert any("of 640x360 pixels were made smaller" in note for note in got.notes)


def test_what_is_no_moving_picture_is_refused(tmp_path):
    save_video(ramp(1), tmp_path / "one.mp4", 10.0)
    with pytest.raises(InputError, match=r"only 1 frame.*photograph"):
        read_footage(tmp_path / "one.mp4", 64, 48)
    save_video(ramp(20), tmp_path / "ok.mp4", 10.0)
    with pytest.raises(InputError, match="no picture after 9 s"):
        read_footage(tmp_path / "ok.mp4", 64, 48, start=9.0)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="flt", layout="mono")
        sound.rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="sound only"):
        read_footage(tmp_path / "sound.mp4", 64, 48)
    Image.new("RGB", (32, 32)).save(tmp_path / "tiny.png")
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.new("RGB", (32, 32), (50 * index, 0, 0)).save(tmp_path / "frames" / f"{index}.png")
    with pytest.raises(InputError, match="32x32 pixels, but 64"):
        read_footage(tmp_path / "frames", 64, 48)
