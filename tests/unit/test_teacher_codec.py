"""The video codec: causality, statistics, files, and clear refusals."""

import pytest
import torch

from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec, to_uint8
from lyra.vae.causal_vae import Haar, InverseHaar, VaeConfig

SMALL = VaeConfig(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 16, 16, 16), layers=1)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    torch.manual_seed(0)
    return VideoCodec(SMALL, torch.randn(16, 3), 0.5 + torch.rand(16, 3)).eval()


@torch.no_grad()
def test_codec_is_causal_and_the_first_frame_stands_alone(codec):
    """Worst difference 1e-6 (other sums, same values)."""
    video = torch.rand(1, 3, 17, 32, 48) * 2 - 1
    changed = video.clone()
    changed[:, :, 9:] = 0
    latents, other = codec.encode(video), codec.encode(changed)
    assert latents.shape == (1, 16, 3, 4, 6)
    assert (latents[:, :, :2] - other[:, :, :2]).abs().max() < 1e-5
    assert (latents[:, :, 2] - other[:, :, 2]).abs().max() > 1e-3
    assert (codec.encode(video[:, :, :1]) - latents[:, :, :1]).abs().max() < 1e-5
    assert (codec.decode(latents[:, :, :2]) - codec.decode(latents)[:, :, :9]).abs().max() < 1e-5


@torch.no_grad()
def test_normalisation_and_its_inverse(codec):
    """Worst difference 2e-7."""
    video = torch.rand(2, 3, 9, 32, 32) * 2 - 1
    raw = codec.encode_raw(video)
    assert (codec.to_raw(codec.encode(video)) - raw).abs().max() < 1e-5
    expected = 0.5 * (raw - codec.mean[None, :, :2, None, None]) / codec.std[None, :, :2, None, None]
    assert (codec.encode(video) - expected).abs().max() < 1e-6


def test_haar_keeps_constants_and_inverts():
    """Worst difference 5e-7."""
    video = torch.rand(1, 3, 9, 16, 24)
    bands = Haar(4)(video)
    assert bands.shape == (1, 192, 3, 4, 6)
    assert (InverseHaar(4)(bands) - video).abs().max() < 5e-6
    flat = Haar(4)(torch.full((1, 3, 5, 8, 8), 0.3))
    assert flat[:, :3].sub(0.3).abs().max() < 1e-6 and flat[:, 3:].abs().max() < 1e-6


@torch.no_grad()
def test_files_keep_the_codec(codec, tmp_path):
    """Kernels are rounded to float16 (worst relative change 5e-4), statistics are not."""
    codec.save(tmp_path)
    again = VideoCodec.load(tmp_path)
    assert torch.equal(again.mean, codec.mean) and torch.equal(again.std, codec.std) and again.config == SMALL
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    assert (again.encode(video) - codec.encode(video)).abs().max() < 2e-2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 8, 32, 32), "1 \\+ 8 n frames"),
        ((1, 3, 9, 30, 32), "multiples of 8"),
        ((1, 3, 25, 32, 32), "statistics"),
    ],
)
def test_wrong_clips_are_named(codec, shape, words):
    with pytest.raises(InputError, match=words), torch.no_grad():
        codec.encode(torch.zeros(shape))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        VideoCodec.load(tmp_path)


def test_uint8_truncates():
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0])).tolist() == [0, 0, 127, 254, 255, 255]
