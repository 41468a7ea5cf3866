"""Training on scenes that move: both directions of time with the right poses, a student that learns, and its judges."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from e2e.tiny_model import CHANNELS, write_tiny_model
from unit.video_world import HEIGHT, WIDTH, camera_path, film

from lyra.decoder import MINI, SplatDecoder
from lyra.decoder.maps import Times
from lyra.evaluate import motion, motion_ablation
from lyra.evaluate.motion import MotionEvaluation, moving_case
from lyra.evaluate.motion_ablation import VARIANTS, judge, table, train
from lyra.scene import Cameras, InputError
from lyra.scene.lyra_paths import LyraPath
from lyra.scene.trajectories import follow
from lyra.teacher.codec import VideoCodec
from lyra.train.denoiser import DenoiserTraining
from lyra.train.denoiser_supply import OF_A_SCENE, Maker
from lyra.train.latents import SceneFeed, Source, encode
from lyra.train.moving_lessons import MixedSeries, MovingEntry, MovingSeries, moving_entry
from lyra.train.moving_scenes import KINDS, is_moving, moving_clips, read_both, read_recording
from lyra.train.processes import Processes
from lyra.train.student import StudentTrainer
from lyra.train.student_data import Entry, TeacherPool
from lyra.train.student_eval import reconstruct
from lyra.train.student_loss import StudentLoss
from lyra.train.student_recipe import Stage, StudentTraining
from lyra.train.synthesis import Draft, TeacherSample

FRAMES = 9
STAGE = Stage("moving", 10, trajectories=(2, 2), loss=StudentLoss(lpips=0.0))
CPU = torch.device("cpu")
STILL = replace(MINI, latent_channels=CHANNELS, width=32, blocks=2, heads=2, head_dim=16, d_state=8, guide=True)
RECIPE = StudentTraining(stages=(replace(STAGE, steps=2, keep=0.5),), batch=1, warmup_steps=1, chunk=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rendered scene in the engine's layout: the source, six paths, and the paths run from far to near."""
    place = tmp_path_factory.mktemp("scene")
    source = camera_path(FRAMES, 0.2)
    poses = {kind: LyraPath(kind, 0.2).poses(FRAMES, 3.0) for kind in KINDS}
    paths = {kind: follow(source, each) for kind, each in poses.items()}
    paths |= {f"{kind}_reversed": follow(source, each.flip(0)) for kind, each in poses.items()}
    clips = {"input": source} | {
        name: Cameras(path.c2w, path.K.contiguous(), WIDTH, HEIGHT) for name, path in paths.items()
    }
    films = [film(cameras) for cameras in clips.values()]
    rgb = torch.stack([pictures for pictures, _, _ in films]).permute(0, 1, 3, 4, 2)
    np.save(place / "rgb.npy", (255 * rgb).round().byte().numpy())
    depth = torch.stack([depth for _, depth, _ in films]).double().numpy()
    code = 1 + np.log(depth / 0.05) / (np.log(2000 / 0.05) / 65534)
    np.save(place / "depth.npy", code.round().astype(np.uint16))
    c2w = torch.stack([cameras.c2w for cameras in clips.values()]).double().numpy()
    np.savez(place / "cameras.npz", c2w=c2w, K=source.K[0].double().numpy(), times=np.zeros(c2w.shape[:2]))
    (place / "scene.json").write_text(json.dumps({"clips": list(clips), "dynamic": True, "caption": "a square"}))
    return place


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return VideoCodec.load(write_tiny_model(tmp_path_factory.mktemp("model")) / "codec")


@pytest.fixture(scope="module")
def entry(folder, codec):
    return moving_entry(*read_both(folder), Draft(codec), 0)


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(3)
    return SplatDecoder(STILL).eval()


@pytest.mark.parametrize("backwards", [False, True])
def test_each_frames_own_cache_shows_the_true_frame_in_both_directions(folder, backwards):
    """Where the cache of the same moment shows something, it shows the truth: so times and poses fit together.

    Mean error of colours in [-1, 1]: measured 0.018 both ways; with the poses of the other direction 0.22.
    """
    recording = read_recording(folder, backwards)
    clips = moving_clips(recording)
    assert len(clips) == len(KINDS)
    for clip in clips:
        assert torch.equal(clip.frames[:, 0], 2 * (recording.source[0] / 255) - 1) or clip.mask[0].float().mean() > 0.9
        assert float(clip.mask.float().mean()) > 0.8
        error = (clip.frames - clip.warp).abs().mean(0)[clip.mask]
        assert float(error.mean()) < 0.03


def test_both_directions_start_at_the_source_and_share_a_world(folder):
    forward, backward = read_recording(folder), read_recording(folder, True)
    assert torch.allclose(forward.paths.c2w[:, 0], torch.eye(4).expand(6, 4, 4), atol=1e-5)
    start = backward.paths.c2w[:, 0]
    assert torch.allclose(start, forward.cameras.c2w[-1].expand(6, 4, 4), atol=1e-5)
    assert torch.equal(backward.source.flip(0), forward.source)
    assert forward.unit == backward.unit


def test_a_lesson_shows_one_moment_from_twelve_cameras(codec, entry):
    lesson = entry.lesson(STAGE, codec, torch.Generator().manual_seed(3))
    assert lesson.images.shape == (12, 3, HEIGHT, WIDTH) and len(lesson.latents) == 2
    moment = int(lesson.times.target)
    assert torch.equal(lesson.target_cameras.c2w, entry.cameras.c2w[:, moment])
    # At an early moment the forward cameras are near the source's, the reversed ones far along their paths.
    near = entry.cameras.centers[:6, 0].norm(dim=-1)
    far = entry.cameras.centers[6:, 0].norm(dim=-1)
    assert float(near.max()) < 1e-5 < 0.05 < float(far[:5].min())


def test_a_student_with_times_learns_a_moving_scene(codec, entry):
    """Eight steps on two moments of one entry: the error of both falls, and the modules of time take part."""
    torch.manual_seed(0)
    config = replace(STILL, times=True)
    recipe = StudentTraining(stages=(STAGE,), batch=1, warmup_steps=1, chunk=12)
    trainer = StudentTrainer(recipe, config, Processes.start("cpu"))
    losses = []
    for step in range(8):
        lesson = entry.lesson(STAGE, codec, torch.Generator().manual_seed(step % 2))
        losses.append(float(trainer.train_step([lesson], None, STAGE, 3e-3)["mse"]))
    assert losses[-1] < losses[1] and losses[-2] < losses[0]
    moved = [name for name, p in trainer.decoder.named_parameters() if "patch_time_embed" in name and bool(p.any())]
    assert moved  # the modules of time have learnt something


def test_scenes_that_stand_still_are_refused(tmp_path):
    (tmp_path / "scene.json").write_text(json.dumps({"clips": list(KINDS), "dynamic": False}))
    assert not is_moving(tmp_path)
    with pytest.raises(InputError, match="not a rendered scene that moves"):
        read_recording(tmp_path)


def test_the_denoiser_learns_from_moving_scenes_too(folder, codec):
    """Three clips of the recording, each of them what `moving_clips` makes of one path, as latents."""
    feed = SceneFeed(Source(folder.parent, FRAMES, rescan=0.1), np.zeros(65536, np.float32), readers=1)
    maker = Maker(codec, DenoiserTraining(), feed, [], (HEIGHT, WIDTH))
    made = maker.make(wait=60.0)
    assert len(made.clips) in (OF_A_SCENE, 2 * OF_A_SCENE) and not made.clips.caption.any() and not made.pans
    both = [clip for way in (False, True) for clip in moving_clips(read_recording(folder, way))]
    known = encode(both, codec, DenoiserTraining().network)
    for target, warp in zip(made.clips.target, made.clips.warp, strict=True):
        same = (known.target - target).abs().amax((1, 2, 3, 4)) + (known.warp - warp).abs().amax((1, 2, 3, 4))
        assert same.min() < 0.02


@pytest.fixture
def two_moments(monkeypatch):
    """Judge the first and the last moment alone."""
    monkeypatch.setattr(motion, "MOMENTS", {"early": (0,), "late": (1,)})
    monkeypatch.setattr(motion_ablation, "MOMENTS", motion.MOMENTS)


def test_a_pool_mixes_still_and_moving_samples_and_is_made_again(folder, codec, entry):
    """Three of ten numbers move, in any stretch; a pool that was renewed is restored with the same frames."""

    def named(index: int) -> TeacherSample:
        return replace(entry.sample, name=str(index))

    numbers = MixedSeries(named, lambda i: replace(entry, sample=named(i)), 0.3)
    drawn = [numbers(index) for index in range(100)]
    moves = [isinstance(made, MovingEntry) for made in drawn]
    assert all(2 <= sum(moves[i : i + 10]) <= 4 for i in range(90))
    for found in (
        [made.sample.name for made in drawn if isinstance(made, MovingEntry)],
        [made.name for made in drawn if isinstance(made, TeacherSample)],
    ):
        assert found == [str(index) for index in range(len(found))]

    films = MovingSeries(Draft(codec), (9, HEIGHT, WIDTH), CPU, [folder])
    pool, again = (TeacherPool(MixedSeries(lambda i: entry.sample, films, 0.5), codec, CPU) for _ in range(2))
    pool.fill(2)
    pool.renew()
    again.restore(len(pool), pool.drawn)
    assert {type(held) for held in pool.entries} == {Entry, MovingEntry}
    for one, other in zip(pool.entries, again.entries, strict=True):
        assert type(one) is type(other) and torch.equal(one.frames, other.frames)
    lessons = [held.lesson(STAGE, codec, torch.Generator().manual_seed(0)) for held in pool.entries]
    assert {lesson.times is None for lesson in lessons} == {True, False}
    with pytest.raises(InputError, match="9 frames of 128x96, the training 25 of 448x256"):
        MovingSeries(Draft(codec), (25, 256, 448), CPU, [folder])(0)
    with pytest.raises(InputError, match="no scene that moves"):
        MovingSeries(Draft(codec), (9, HEIGHT, WIDTH), CPU, [])


def test_weights_without_times_go_on_with_times_and_no_other_difference_is_allowed(start, entry):
    """At first the time that is asked for changes nothing: difference 0."""
    trainer = StudentTrainer(RECIPE, replace(STILL, times=True), Processes(0, 1, CPU))
    trainer.begin_with(start)
    with torch.no_grad():
        still = reconstruct(start, entry.sample, None)
        for decoder in (trainer.decoder, trainer.average):
            for times in (None, Times(torch.arange(9.0), 3.0)):
                assert torch.equal(reconstruct(decoder, entry.sample, None, times).means, still.means)
    for config in (replace(STILL, times=True, guide=False), replace(STILL, times=True, offsets=2.0)):
        with pytest.raises(InputError, match="another configuration"):
            StudentTrainer(RECIPE, config, Processes(0, 1, CPU)).begin_with(start)
    with pytest.raises(InputError, match="another configuration"):
        StudentTrainer(RECIPE, STILL, Processes(0, 1, CPU)).begin_with(trainer.average)


def test_true_pixels_at_true_depth_show_the_truth_of_every_moment_from_near_and_far(folder, entry, start, two_moments):
    """So units, cameras and times of both directions fit together. Worst PSNR near 20.9, far 19.8; swapped 12.7."""
    trainer = StudentTrainer(RECIPE, replace(STILL, times=True), Processes(0, 1, CPU))
    trainer.begin_with(start)
    case = moving_case(*read_both(folder), entry)
    squares = film(case.source.cameras)[2]
    assert all(torch.equal(case.moved(moment), squares[moment]) for moment in (0, FRAMES - 1))
    evaluation = MotionEvaluation(None, CPU, 0.5)
    evaluation.add(case, trainer.average)
    sets = evaluation.results()["sets"]
    assert len(sets) == 12 and "true, reversed paths, early, moving" in sets
    near, far = ("paths, early", "reversed paths, late"), ("paths, late", "reversed paths, early")
    for places, least in ((near, 20.0), (far, 19.0)):
        for place in places:
            scores = sets[f"true, {place}"]
            assert scores["unprojected"]["psnr"] > least
            assert 0 < scores["student"]["alpha"] <= 1
            assert scores["student"]["psnr"] == pytest.approx(scores["without times"]["psnr"], abs=1e-3)
    assert len(evaluation.rows) == 2 and len(evaluation.rows[0]) == len(evaluation.columns) == 5


def test_variants_differ_in_the_reversed_cameras_alone(folder, codec, entry, start, two_moments):
    """Equal draws: the six forward targets are the same ones; the trained weights are not."""
    both, forward = (
        held.lesson(STAGE, codec, torch.Generator().manual_seed(5)) for held in (entry, entry.forward_only)
    )
    assert len(both.images) == 12 and torch.equal(both.images[:6], forward.images)
    assert both.times.target == forward.times.target and torch.equal(both.latents, forward.latents)
    case, results = moving_case(*read_both(folder), entry), {}
    for name, reversal in VARIANTS.items():
        trainer = train([entry], reversal, start, RECIPE, codec, None)
        assert trainer.step == 2 and trainer.average.config == replace(STILL, times=True)
        results[name] = judge(name, trainer, [case], None).results()
    lines = table(results).splitlines()
    assert len(lines) == 2 + 12 * 5 and lines[2].startswith("| true, reversed paths, early | with_reversal | ")
    scores = [results[name]["sets"]["true, reversed paths, early"][name]["psnr"] for name in VARIANTS]
    assert scores[0] != scores[1]
