"""Self-distillation: teacher samples, deferred gradients, training, resuming, and several processes."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from lyra.decoder import DecoderConfig, SplatDecoder
from lyra.render import render
from lyra.scene import Cameras, InputError
from lyra.teacher.codec import LatentSpec
from lyra.train.deferred import backward_through_views
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer, read
from lyra.train.student_data import TeacherPool, draw_frames, draw_lesson, draw_paths, window
from lyra.train.student_fit import Clock, Journal, advance, fit
from lyra.train.student_loss import StudentLoss
from lyra.train.student_recipe import PRESETS, Stage, StudentTraining
from lyra.train.student_scenes import FirstView
from lyra.train.synthesis import SKY, Draft, SynthesisOptions, TeacherSample, decode_frames, synthesize

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
OPTIONS = SynthesisOptions(frames=9, height=32, width=48)
DECODER = DecoderConfig(
    latent_channels=192, width=32, blocks=2, attention_every=2, heads=2, head_dim=16, d_state=8, rays="direct",
    times=False, depth="log", near=0.05, far=100.0, scales="pixel", stride=4, time_stride=4,
)  # fmt: skip
RECIPE = StudentTraining(
    (
        Stage("a", 3, trajectories=(1, 2), loss=StudentLoss(lpips=0.0, log_depth=0.1)),
        Stage("b", 3, trajectories=(2, 2), views=1, keep=0.5, loss=StudentLoss(lpips=0.0, opacity=0.1)),
    ),
    learning_rate=2e-3, warmup_steps=2, batch=2, chunk=2, pool=2, renew_every=2, ema=0.9,
)  # fmt: skip


class PixelCodec:
    """A codec without weights: pixels of 8 x 8 cells as channels, averaged over the frames of a latent frame."""

    spec = LatentSpec(192, 8, 8)

    def encode_raw(self, video):
        parts = torch.cat([video[:, :, :1], video[:, :, 1:].unflatten(2, (-1, 8)).mean(3)], 2)
        return pixel_unshuffle(parts.transpose(1, 2), 8).transpose(1, 2)

    def decode_raw(self, raw):
        frames = pixel_shuffle(raw.transpose(1, 2), 8).transpose(1, 2)
        return torch.cat([frames[:, :, :1], frames[:, :, 1:].repeat_interleave(8, 2)], 2)


def first_view(index: int) -> FirstView:
    """A striped wall behind a nearer post, with sky above."""
    y, x = torch.meshgrid(torch.arange(32) / 32, torch.arange(48) / 48, indexing="ij")
    image = torch.stack([0.5 + 0.5 * torch.sin(20 * x + index), y, 1 - x])
    depth = 4 + x
    depth[:, 20:26] = 2.0
    depth[:4] = torch.inf
    K = torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]])
    return FirstView(f"view{index}", image, depth, K)


@cache
def sample(index: int) -> TeacherSample:
    """Number `index` of the series that the pools of these tests draw from."""
    return synthesize(first_view(index % 3), Draft(PixelCodec()), OPTIONS, index)


def make_pool() -> TeacherPool:
    return TeacherPool(sample, PixelCodec(), CPU)


def make_trainer(
    recipe: StudentTraining = RECIPE, processes: Processes | None = None, sharded: bool = False
) -> StudentTrainer:
    return StudentTrainer(recipe, DECODER, processes or Processes(0, 1, CPU), sharded=sharded)


def test_deferred_gradients_equal_direct_ones():
    """Worst relative difference of a parameter's gradient 2e-6 (order of sums)."""
    torch.manual_seed(0)
    sample = synthesize(first_view(0), Draft(PixelCodec()), OPTIONS, 1)
    decoder = SplatDecoder(DECODER)
    latents, cameras = sample.latents.float(), sample.cameras[:, ::4].flatten()
    target, sky = torch.rand(len(cameras), 3, 32, 48), torch.tensor([0.2, 0.4, 0.6])

    def gradients(backward) -> list[torch.Tensor]:
        decoder.zero_grad()
        backward(decoder(latents, sample.cameras, keep=0.7))
        return [parameter.grad.clone() for parameter in decoder.parameters()]

    def direct(scene):
        drawn = render(scene, cameras, sky)
        ((drawn.rgb - target).square().mean() + drawn.depth.mean() + 0.1 * scene.opacities.mean()).backward()

    def deferred(scene):
        def loss(drawn, views):
            share = len(views) / len(cameras)
            return share * ((drawn.rgb - target[views]).square().mean() + drawn.depth.mean())

        backward_through_views(scene, cameras, loss, sky, 5, lambda scene: 0.1 * scene.opacities.mean())

    for one, other in zip(gradients(direct), gradients(deferred), strict=True):
        assert (one - other).norm() <= 1e-4 * one.norm() + 1e-9


def test_a_sample_is_a_function_of_its_seed_in_units_of_the_median_depth():
    view, source = first_view(0), Draft(PixelCodec())
    one, again, other = (synthesize(view, source, OPTIONS, seed) for seed in (3, 3, 4))
    assert torch.equal(one.latents, again.latents) and not torch.equal(one.cameras.c2w, other.cameras.c2w)
    assert one.unit == view.unit and 4 < one.unit < 5
    assert one.cameras.shape == (6, 9) and one.depth.shape == (6, 9, 8, 12)
    assert torch.allclose(one.cameras.c2w[:, 0], torch.eye(4).expand(6, 4, 4), atol=1e-6)
    known = one.depth[:, 0] > 0  # away from edges the first frame shows the view's own depth
    expected = (view.depth / view.unit)[2::4, 2::4].clamp(max=SKY).expand(6, -1, -1)
    assert known[:, 1:].any() and ((one.depth[:, 0] - expected)[known].abs() < 0.02).all()
    frames = decode_frames(source.codec, one.latents)
    assert frames.shape == (6, 9, 3, 32, 48)
    assert (frames[:, 0].float() / 255 - view.image).abs().max() < 0.003


def test_recorded_paths_replace_the_drawn_ones():
    view = first_view(1)
    poses = torch.eye(4).repeat(6, 9, 1, 1)
    poses[..., 0, 3] = torch.linspace(0, 1, 9)
    recorded = replace(view, paths=Cameras(poses, view.K.expand(6, 9, 3, 3), 48, 32))
    sample = synthesize(recorded, Draft(PixelCodec()), replace(OPTIONS, recorded_paths=True), 1)
    assert torch.allclose(sample.cameras.c2w[..., 0, 3] * sample.unit, poses[..., 0, 3])
    with pytest.raises(InputError, match="needed are"):
        synthesize(recorded, Draft(PixelCodec()), replace(OPTIONS, recorded_paths=True, frames=17), 1)


def test_draws_of_paths_frames_and_windows():
    generator = torch.Generator().manual_seed(0)
    stage = Stage("x", 1, trajectories=(2, 5), views=4, far=3.0)
    draws = [draw_paths(stage, 6, generator) for _ in range(60)]
    assert {len(paths) for paths in draws} == {2, 3, 4, 5}
    rank = {path: place for place, path in enumerate((5, 0, 1, 2, 3, 4))}
    assert all(sorted(paths, key=rank.get) == paths for paths in draws)
    frames = [draw_frames(stage, 25, generator) for _ in range(60)]
    assert all(len(set(chosen)) == 4 and max(chosen) <= 23 for chosen in frames)
    assert torch.tensor(frames).float().mean() > 14  # the far end is preferred; 11.5 without
    kept = window(25, 7, generator).tolist()
    assert kept == sorted(set(kept)) and kept[0] == 0 and kept[-1] == 24 and len(kept) == 7


def test_stages_follow_the_progress_and_can_encode_anew():
    assert PRESETS["published"].steps == 83_000
    assert [PRESETS["published"].stage(step / 83_000).name for step in (0, 9_999, 12_000, 80_000, 82_500)] == [
        "176p 17", "176p 17", "176p 49", "six paths", "prune",
    ]  # fmt: skip
    pool = make_pool()
    pool.fill(1)
    stage = Stage("small", 1, trajectories=(1, 1), views=3, inputs=9, size=(16, 32))
    lesson = draw_lesson(pool.entries[0], stage, PixelCodec(), torch.Generator().manual_seed(0))
    assert lesson.latents.shape == (1, 192, 2, 2, 4) and lesson.images.shape == (4, 3, 16, 32)
    assert (lesson.cameras.height, lesson.target_cameras.width) == (16, 32) and lesson.depth.shape == (4, 4, 8)
    with pytest.raises(InputError, match="wants 96x64"):
        draw_lesson(pool.entries[0], replace(stage, size=(64, 96)), PixelCodec(), torch.Generator())


def steps(trainer: StudentTrainer, pool: TeacherPool, count: int) -> None:
    """`count` more steps of the schedule."""
    for _ in range(count):
        advance(trainer, pool, PixelCodec(), None, trainer.step / trainer.recipe.steps)


def test_training_lowers_the_loss_and_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """Bit for bit: weights, average, optimiser, pool and draws. One of the two runs is interrupted after step 3."""
    log = tmp_path / "log.jsonl"
    whole, pool = make_trainer(), make_pool()
    pool.fill(2)
    saves = []

    def save() -> None:
        saves.append(whole.step)

    fit(whole, pool, PixelCodec(), None, Clock(), save, Journal(log, 0.0, lambda _: None))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["a"] * 3 + ["b"] * 3 and saves[-1] == 6
    assert lines[-1]["mse"] < lines[0]["mse"]

    first, pool_1 = make_trainer(), make_pool()
    pool_1.fill(2)
    steps(first, pool_1, 3)
    first.save(tmp_path / "state.pt", (len(pool_1), pool_1.drawn))
    second, pool_2 = make_trainer(), make_pool()
    pool_2.restore(*second.restore(tmp_path / "state.pt"))
    assert second.step == 3 and pool_2.drawn == 3
    steps(second, pool_2, 3)
    for name in ("decoder", "average"):
        for mine, theirs in zip(getattr(second, name).parameters(), getattr(whole, name).parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_a_guided_student_starts_at_the_depth_of_the_cache():
    """With a head that says nothing, Gaussians lie where the cache is; worst relative difference 3e-7."""
    sample = synthesize(first_view(0), Draft(PixelCodec()), OPTIONS, 1)
    config = replace(DECODER, guide=True)
    torch.manual_seed(0)
    decoder = SplatDecoder(config)
    torch.nn.init.zeros_(decoder.deconv.weight)
    latents, depth = sample.latents.float(), sample.depth.float()
    scene = read(decoder, latents, sample.cameras, depth, None)
    grid = sample.cameras[:, ::4]
    means = scene.means.reshape(6, 3, -1, 3)
    found = torch.stack([grid[v].project(means[v])[1] for v in range(6)]).reshape(6, 3, 8, 12)
    known = (depth[:, ::4] > 0) & (depth[:, ::4] < 50)  # the sky is as far as the range of depths goes
    assert ((found - depth[:, ::4]).abs()[known] < 1e-4 * depth[:, ::4][known]).all()
    assert found.isfinite().all() and (found > 0).all()  # holes are filled from around
    with pytest.raises(InputError, match="needs the depth"):
        decoder(latents, sample.cameras)
    with pytest.raises(InputError, match="takes no guide"):
        SplatDecoder(DECODER)(latents, sample.cameras, guide=depth[:, ::4])
