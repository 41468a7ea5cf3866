"""A codec's RGB decoder as the body of the splat decoder: what it begins with, what it reads, storage, bad input."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from test_decoder_model import TINY, scene
from test_student import CPU, OPTIONS, RECIPE, first_view
from torch.nn.functional import avg_pool2d

from lyra.decoder import SplatDecoder
from lyra.evaluate.ablation import VARIANTS, train
from lyra.scene import InputError
from lyra.teacher.codec import VideoCodec
from lyra.train.student_data import TeacherPool
from lyra.train.student_loss import StudentLoss
from lyra.train.synthesis import Draft, synthesize
from lyra.vae.causal_vae import VaeConfig

VAE = VaeConfig(encoder_channels=(8, 8, 8, 8), decoder_channels=(8, 8, 8, 8), latent_channels=16, layers=1)
CONFIG = replace(TINY, trunk=VAE, guide=True, offsets=0.0)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    torch.manual_seed(0)
    return VideoCodec(VAE).eval()


@pytest.fixture
def decoder(codec) -> SplatDecoder:
    torch.manual_seed(1)
    decoder = SplatDecoder(CONFIG).eval()
    decoder.trunk.adopt(codec.vae)
    return decoder


def guide(views: int = 2) -> torch.Tensor:
    return 1 + torch.rand(views, 3, 8, 16, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_colours_begin_as_the_codec_shows_them(codec, decoder):
    """Every Gaussian: the mean of its 4 x 4 pixels in its frame. Worst difference 3e-7."""
    latents, cameras = scene()
    seen = codec.decode_raw(latents)[:, :, ::4].transpose(1, 2)
    expected = avg_pool2d(seen.flatten(0, 1), 4).unflatten(0, seen.shape[:2])
    raw = decoder.trunk(
        latents[None], [decoder.maps(cameras, None)._replace(guide=torch.zeros(2, 16, 2, 4, 8))], nullcontext(), False
    )
    assert (raw[0, :, 1:4].transpose(1, 2) - 1.2 * expected).abs().max() < 1e-5
    scale = float(expected.abs().max())  # colours of random weights are small, where tanh(x) is x
    gaussians = decoder(latents, cameras, guide=guide())
    colours = gaussians.rgb.reshape(2, 3, 8, 16, 3).permute(0, 1, 4, 2, 3)
    assert (colours - 0.5 - 0.6 * expected).abs().max() < 0.6 * scale**3 + 1e-5


def test_rays_and_depth_are_learnt_from_nothing(decoder):
    """At the start neither says anything; the first step changes that."""
    latents, cameras = scene()
    decoder.requires_grad_(True)
    turned = cameras[:, torch.tensor([0, 2, 1, 3, 4, 5, 6, 7, 8])]
    maps, other = (
        [decoder.maps(c.relative_to_first(), None)._replace(guide=torch.ones(2, 16, 2, 4, 8))]
        for c in (cameras, turned)
    )
    first = decoder.network(latents[None], maps)
    assert torch.equal(first, decoder.network(latents[None], other))
    first.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    with torch.no_grad():
        for p in decoder.parameters():
            p -= 0.1 * p.grad
    assert not torch.equal(decoder.network(latents[None], maps), decoder.network(latents[None], other))


@torch.no_grad()
def test_paths_are_read_alone(decoder):
    latents, cameras = scene()
    together = decoder(latents, cameras, guide=guide())
    first = decoder(latents[:1], cameras[:1], guide=guide()[:1])
    assert torch.allclose(together.means[: len(first)], first.means, atol=1e-5)
    assert torch.allclose(together.opacities[: len(first)], first.opacities, atol=1e-5)


@torch.no_grad()
def test_half_of_a_flat_wall_is_everywhere_half(decoder):
    """Else pruning by opacity tears holes: of every 2 x 2 x 2 cells four are kept."""
    decoder.trunk.conv_t.weight[11] = 0  # what the weights say of opacity is the same in all cells
    maps = decoder.maps(scene(25, 128, 128)[1], None)._replace(guide=torch.zeros(2, 16, 4, 16, 16))
    opacity = decoder.network(torch.zeros(1, 2, 16, 4, 16, 16), [maps])[0, :, 11]
    kept = (opacity >= opacity.flatten().topk(opacity.numel() // 2).values[-1]).float()
    assert (torch.nn.functional.avg_pool3d(kept[:, None], 2, 1) == 0.5).all()


@torch.no_grad()
def test_files_keep_it(decoder, tmp_path):
    decoder.save(tmp_path, "float32")
    again = SplatDecoder.load(tmp_path)
    latents, cameras = scene()
    assert again.config == CONFIG
    assert torch.equal(again(latents, cameras, guide=guide()).means, decoder(latents, cameras, guide=guide()).means)


@pytest.mark.parametrize("change", [{"times": True}, {"stride": 8}, {"time_stride": 2}, {"latent_channels": 8}])
def test_sizes_that_do_not_fit_are_named(change):
    with pytest.raises(InputError, match="codec as trunk"):
        replace(CONFIG, guide=False, **change)


def test_the_ablation_trains_it(codec):
    """From the codec's weights, which one step hardly changes."""
    pool = TeacherPool(lambda i: synthesize(first_view(i), Draft(codec), OPTIONS, i), codec, CPU)
    pool.fill(1)
    steps = (replace(RECIPE.stages[1], steps=1, loss=StudentLoss(log_depth=0.1, opacity=0.1)),)
    base = replace(CONFIG, trunk=None), replace(RECIPE, stages=steps)
    trainer = train(VARIANTS["codec_trunk"], base, pool, codec, None, CPU)
    assert trainer.step == 1 and trainer.decoder.config.trunk == VAE
    moved = trainer.decoder.trunk.conv_in.conv_s.weight - codec.vae.decoder.conv_in.conv_s.weight
    assert 0 < moved.abs().max() < 0.01
