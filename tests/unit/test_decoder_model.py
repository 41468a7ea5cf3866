"""The decoder as its users call it: shapes, worlds, units, first state, storage, bad input."""

import copy
from dataclasses import replace

import pytest
import torch

from lyra.decoder import MINI, RELEASED, DecoderConfig, SplatDecoder, Times
from lyra.scene import Cameras, InputError, rotations
from lyra.scene.lyra_paths import lyra_set

TINY = replace(MINI, width=32, blocks=4, attention_every=4, heads=2, head_dim=16, d_state=8)


def scene(frames: int = 9, width: int = 64, height: int = 32, views: int = 2, channels: int = 16):
    """Random latents and cameras on the published paths."""
    generator = torch.Generator().manual_seed(0)
    c2w = torch.stack([path.poses(frames) for path in lyra_set()[:views]]).float()
    cameras = Cameras.from_fov(c2w, 60.0, width, height)
    latents = torch.randn(views, channels, (frames - 1) // 8 + 1, height // 8, width // 8, generator=generator)
    return latents, cameras


def decoder(config: DecoderConfig = TINY, **options) -> SplatDecoder:
    torch.manual_seed(0)
    return SplatDecoder(config, **options).eval()


def codec(clip: torch.Tensor) -> torch.Tensor:
    """Stands for `VideoCodec.encode_raw`: 16 channels, 8x in time and space, the first frame alone."""
    first = clip[:, :, :1].expand(-1, -1, 7, -1, -1)
    pooled = torch.nn.functional.avg_pool3d(torch.cat([first, clip], 2), 8)
    return pooled.repeat(1, 6, 1, 1, 1)[:, :16]


@pytest.mark.parametrize(
    ("change", "frames", "size", "views", "count"),
    [
        ({}, 9, (64, 32), 2, 2 * 3 * 8 * 16),
        ({"stride": 8, "time_stride": 1, "offsets": 0.0}, 17, (48, 80), 3, 3 * 17 * 10 * 6),
        ({"stride": 2, "time_stride": 8}, 1, (32, 32), 1, 16 * 16),
        ({"stride": 16, "time_stride": 2, "latent_channels": 32}, 9, (32, 32), 1, 5 * 2 * 2),
    ],
)
@torch.no_grad()
def test_any_size_length_and_number_of_paths(change, frames, size, views, count):
    config = replace(TINY, **change)
    g = decoder(config)(*scene(frames, *size, views, config.latent_channels))
    assert len(g) == count and g.finite().all()


@torch.no_grad()
def test_a_fresh_mini_decoder_starts_sensibly():
    """Depth at the scene's scale, half a pixel wide, translucent, grey, upright."""
    latents, cameras = scene()
    g = decoder()(latents, cameras, scale=3.0)
    depth = (g.means - cameras.centers[0, 0]).norm(dim=-1)
    assert 2.0 < depth.median() < 4.5
    footprint = 4 * depth / cameras.K[0, 0, 0, 0]
    assert 0.3 < (g.scales / footprint[:, None]).median() < 0.8
    assert 0.1 < g.opacities.median() < 0.5 and (g.rgb - 0.5).abs().mean() < 0.1
    assert g.quats[:, 0].abs().mean() > 0.9


@torch.no_grad()
def test_the_world_moves_with_its_cameras():
    """A rigid motion of all cameras moves the Gaussians by it; `scale` only sets the unit. Worst difference 3e-6."""
    latents, cameras = scene()
    model = decoder()
    g = model(latents, cameras, scale=1.0)
    quat = rotations.normalize(torch.tensor([0.9, 0.2, -0.3, 0.1]))
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = rotations.quat_to_matrix(quat), torch.tensor([1.0, -2.0, 0.5])
    grown = motion.clone()
    grown[:3, :3] *= 2.5
    for matrix, scale in ((motion, 1.0), (grown, 2.5)):
        moved, expected = model(latents, cameras.transform(matrix), scale=scale), g.transform(matrix)
        torch.testing.assert_close(moved.means, expected.means, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(moved.scales, expected.scales, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(moved.covariances(), expected.covariances(), rtol=1e-2, atol=1e-6)


@torch.no_grad()
def test_every_gaussian_lies_on_its_pixel():
    """Without offsets, the Gaussian of a frame and cell projects to the middle of that cell. Worst 2e-6 pixels."""
    latents, cameras = scene(frames=17)
    model = decoder(replace(TINY, offsets=0.0))
    means = model(latents, cameras, scale=2.0).means.reshape(2, 5, -1, 3)  # trajectory, every 4th frame, row x column
    cells = cameras[:, ::4].resize(8, 16)
    for view in range(2):
        pixels, depth = cells[view].project(means[view])
        assert (depth > 0).all()
        torch.testing.assert_close(pixels, cells.pixel_grid().reshape(1, -1, 2).expand_as(pixels), atol=1e-3, rtol=0)


@torch.no_grad()
def test_keep_takes_the_most_opaque():
    latents, cameras = scene()
    model = decoder()
    every, kept = model(latents, cameras), model(latents, cameras, keep=0.2)
    assert len(kept) == int(len(every) * (1 - 0.8))
    torch.testing.assert_close(kept.opacities, every.opacities.sort(descending=True).values[: len(kept)])


@torch.no_grad()
def test_scenes_in_a_batch_do_not_meet():
    latents, cameras = scene()
    model = decoder()
    both = model.batch(torch.stack([latents, -latents]), [cameras, cameras], scales=[1.0, 2.0])
    for value, expected in zip(both, (model(latents, cameras), model(-latents, cameras, scale=2.0)), strict=True):
        torch.testing.assert_close(value.means, expected.means, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_trajectories_see_each_other():
    """The joint sequence is the fusion of views: changing one path changes the Gaussians of the other."""
    latents, cameras = scene()
    model = decoder()
    changed = latents.clone()
    changed[1] += 1
    half = len(model(latents, cameras)) // 2
    assert not torch.allclose(model(changed, cameras).rgb[:half], model(latents, cameras).rgb[:half])


@torch.no_grad()
def test_encoded_rays_are_remembered():
    latents, cameras = scene()
    calls = []
    model = decoder(replace(TINY, rays="vae"), encode=lambda clip: (calls.append(1), codec(clip))[1])
    first, second = model(latents, cameras), model(latents, cameras)
    assert len(calls) == 4 and first.means.equal(second.means)
    model(latents, Cameras.from_fov(cameras.c2w, 50.0, 64, 32))
    assert len(calls) == 8


@pytest.mark.parametrize("rays", ["vae", "direct"])
@torch.no_grad()
def test_times_change_the_result_only_after_training(rays):
    latents, cameras = scene()
    model = decoder(replace(TINY, rays=rays, times=True), encode=codec)
    times = [Times(torch.arange(9) / 24, target) for target in (0.0, 0.25)]
    still, *fresh = [model(latents, cameras, t).rgb for t in (None, *times)]
    assert all(rgb.equal(still) for rgb in fresh)
    torch.nn.init.ones_(model.patch_time_embed_tgt.norm.weight)
    early, late = (model(latents, cameras, t).rgb for t in times)
    assert not torch.allclose(early, late)


@torch.no_grad()
def test_a_moving_scene_is_a_set_for_every_moment():
    latents, cameras = scene()
    model = decoder(replace(TINY, times=True))
    torch.nn.init.ones_(model.patch_time_embed_tgt.norm.weight)
    film = model.moving(latents, cameras, fps=8.0, every=4)
    assert film.fps == 2.0 and film.duration == 1.5
    expected = model(latents, cameras, Times(torch.arange(9) / 8, 0.5))
    assert film.at(0.6).means.equal(expected.means)


def test_a_copy_shares_the_codec():
    encode = torch.nn.Identity()
    model = decoder(replace(TINY, rays="vae"), encode=encode.forward)
    assert copy.deepcopy(model).maps.encode.__self__ is encode


@torch.no_grad()
def test_save_and_load(tmp_path):
    latents, cameras = scene()
    model = decoder()
    model.save(tmp_path, "float32")
    loaded = SplatDecoder.load(tmp_path)
    assert loaded.config == model.config
    assert loaded(latents, cameras).means.equal(model(latents, cameras).means)


def test_released_size():
    with torch.device("meta"):
        model = SplatDecoder(RELEASED)
    assert sum(p.numel() for p in model.parameters()) == 32_753_996
    assert len(model.state_dict()) == 254


def test_mini_size():
    with torch.device("meta"):
        assert 4e6 < sum(p.numel() for p in SplatDecoder(MINI).parameters()) < 6e6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x, c: m(x, c[:1]), "cameras"),
        (lambda m, x, c: m(x[:, :8], c), "channels"),
        (lambda m, x, c: m(x, c, scale=0.0), "scale"),
        (lambda m, x, c: m(x, c, keep=0.0), "keep"),
        (lambda m, x, c: m(x, c, Times(torch.arange(9.0), 0.0)), "time conditioning"),
        (lambda m, x, c: replace(TINY, stride=3), "stride"),
        (lambda m, x, c: replace(TINY, near=2.0), "scale 1"),
        (lambda m, x, c: DecoderConfig.from_dict({"colour": 1}), "colour"),
        (lambda m, x, c: SplatDecoder(replace(TINY, rays="vae"))(x, c), "encode"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words):
        call(decoder(), *scene())
