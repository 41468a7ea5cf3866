"""The mini teacher: pooled masks, folders, text that is not there, and sampling saved with the weights."""

from dataclasses import replace

import pytest
import torch

from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import MINI, CameraRequest, CosmosTeacher, build, forward, pool_masks
from lyra.teacher.sampler import KarrasSchedule, Levels, MiniSampling
from lyra.vae.causal_vae import VaeConfig

SMALL = replace(MINI, heads=2, head_dim=24, blocks=2, adaln_rank=4, latent_channels=8, text_tokens=3)
VAE = VaeConfig(encoder_channels=(8, 8, 8, 8), decoder_channels=(8, 8, 8, 8), layers=1, latent_channels=8)


@pytest.fixture(scope="module")
def teacher() -> CosmosTeacher:
    torch.manual_seed(0)
    return CosmosTeacher(VideoCodec(VAE).eval(), build(SMALL).eval(), SMALL, MiniSampling((5.0, 0.5)))


def request(seed: int = 0) -> CameraRequest:
    """Random frames and masks, 9 frames of 48x32."""
    g = torch.Generator().manual_seed(seed)
    warp, mask = torch.rand(1, 9, 1, 3, 32, 48, generator=g), torch.rand(1, 9, 1, 1, 32, 48, generator=g)
    return CameraRequest(2 * torch.rand(1, 3, 32, 48, generator=g) - 1, 2 * warp - 1, (mask > 0.5).float())


def test_pooled_masks_are_shares_of_the_parts_of_a_latent_cell(teacher):
    """Against a count pixel by pixel; the first frame fills its cell in time. Worst difference 3e-8."""
    spec, cells = teacher.codec.spec, (4, 2, 2)
    mask = (torch.rand(1, 9, 16, 24, generator=torch.Generator().manual_seed(1)) > 0.4).float()
    pooled = pool_masks(mask, spec, cells)
    assert pooled.shape == (1, 16, 2, 2, 3)
    for channel, (t, y, x) in enumerate((t, y, x) for t in range(4) for y in range(2) for x in range(2)):
        first = mask[0, 0, 8 + 4 * y : 12 + 4 * y, 16 + 4 * x : 20 + 4 * x].mean() - 0.5
        later = mask[0, 1 + 2 * t : 3 + 2 * t, 4 * y : 4 + 4 * y, 4 * x : 4 + 4 * x].mean() - 0.5
        assert (pooled[0, channel, 0, 1, 2] - first).abs() < 1e-6
        assert (pooled[0, channel, 1, 0, 0] - later).abs() < 1e-6


@torch.no_grad()
def test_a_saved_teacher_samples_the_same(teacher, tmp_path):
    """Latents of a float32 folder are equal; int8 rows move them a little. The saved sampling is what is used."""
    cond = teacher.condition(request())
    assert cond.buffers.shape[1] == SMALL.buffer_channels == 8 + 16
    noise, steps = teacher.noise(cond, [3]), []
    expected = teacher.sample(cond, noise, on_step=steps.append)
    assert [round(step.sigma, 4) for step in steps] == [5.0, 0.5]
    assert torch.equal(expected, teacher.sample(cond, noise, schedule=Levels((5.0, 0.5)), guidance=0.0))
    teacher.codec.save(tmp_path / "codec", "float32")
    teacher.save(tmp_path / "denoiser", "float32")
    loaded = CosmosTeacher.load(tmp_path / "denoiser")
    assert loaded.config == SMALL and loaded.sampling == teacher.sampling
    assert torch.equal(loaded.sample(loaded.condition(request()), noise), expected)
    assert MiniSampling.from_dict(teacher.sampling.as_dict() | {"text": True}) == teacher.sampling  # of older folders
    teacher.save(tmp_path / "denoiser")
    small = CosmosTeacher.load(tmp_path / "denoiser", teacher.codec).sample(cond, noise)
    assert 0 < (small - expected).abs().max() < 0.05 * expected.std()
    with pytest.raises(InputError, match="channels"):
        CosmosTeacher.load(tmp_path / "denoiser", VideoCodec(replace(VAE, latent_channels=4)))


def test_no_text_is_the_same_as_a_text_of_zeros(teacher):
    """Worst difference 0."""
    x, known, buffers = torch.randn(1, 8, 2, 4, 6), torch.zeros(1, 1, 2, 4, 6), torch.randn(1, 24, 2, 4, 6)
    zeros = torch.zeros(1, 3, 64)
    with torch.enable_grad():
        with_zeros = forward(teacher.network, x, known, buffers, zeros, 1.0, 24)
    without = forward(teacher.network, x, known, buffers, zeros[:, :0], 1.0, 24)
    assert (with_zeros - without).abs().max() < 1e-5


@torch.no_grad()
def test_sampling_can_start_from_the_warp(teacher):
    cond = teacher.condition(request())
    noise, steps = teacher.noise(cond, [3]), []
    warm = CosmosTeacher(teacher.codec, teacher.network, SMALL, replace(teacher.sampling, start="warp"))
    warm.sample(cond, noise, on_step=steps.append)
    assert torch.allclose(steps[0].x[:, :, 1:], (cond.buffers[:, :8] + 5 * noise)[:, :, 1:])


def test_wrong_schedules_are_refused():
    with pytest.raises(InputError, match="fall"):
        Levels((0.5, 1.0))
    with pytest.raises(InputError, match="'noise' or 'warp'"):
        MiniSampling((1.0,), start="image")
    assert Levels((3.0,)).sigmas().tolist() == [3.0, 0.0] == KarrasSchedule(1, 0.1, 3.0).sigmas().tolist()
