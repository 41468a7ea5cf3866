"""Scenes that move: who is there when, and where."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import construct, generator, random_gaussians, seeds, similarity

from lyra.scene import DynamicGaussians, Gaussians, InputError

rates = st.sampled_from([1.0, 7.0, 10.0, 23.976, 24.0, 30.0, 60.0])


def random_motion(n: int, seed: int, duration: float = 2.0) -> DynamicGaussians:
    """Lifetimes within, before and beyond the loop; half of the Gaussians move."""
    g = generator(seed)
    start = (4 * torch.rand(n, generator=g, dtype=torch.float64) - 1) * duration / 2
    end = start + 0.1 + torch.rand(n, generator=g, dtype=torch.float64) * duration
    velocities = torch.randn(n, 3, generator=g, dtype=torch.float64) * (torch.rand(n, 1, generator=g) > 0.5)
    return DynamicGaussians(random_gaussians(n, seed), start, end, velocities, duration, 24.0)


@given(seeds, st.integers(1, 6), rates)
def test_a_flip_book_shows_each_frame_at_its_times(seed, count, fps):
    """Also in the middle of frames, at their float32 starts, after the end and before the beginning."""
    frames = [random_gaussians(1 + i, seed + i, 0, torch.float32) for i in range(count)]
    static = random_gaussians(3, seed, 0, torch.float32)
    scene = DynamicGaussians.from_frames(frames, fps, static)
    assert scene.duration == pytest.approx(count / fps)
    times = scene.frame_times()
    assert len(times) == count
    for i, time in enumerate(times.tolist()):
        for moment in (time, time + 0.5 / fps, float(times.float()[i])):
            shown = scene.at(moment)
            assert shown.means.equal(torch.cat([static.means, frames[i].means]))
    assert scene.at(scene.duration).means.equal(scene.at(1e9).means)
    assert scene.at(scene.duration).means.equal(torch.cat([static.means, frames[-1].means]))
    assert scene.at(-5.0).means.equal(scene.at(0.0).means)


@given(seeds, st.floats(-1, 3))
def test_what_is_there_has_moved_by_velocity_times_age(seed, time):
    scene = random_motion(12, seed)
    shown = scene.at(time)
    now = min(max(time, 0.0), scene.duration)
    expected = []
    for i in range(12):
        start, end = float(scene.start[i]), float(scene.end[i])
        if start <= now and (now < end or (now == scene.duration and end >= now)):
            expected.append(scene.gaussians.means[i] + scene.velocities[i] * (now - start))
    assert len(shown) == len(expected)
    if expected:
        torch.testing.assert_close(shown.means, torch.stack(expected))


@given(seeds)
def test_static_and_moving_parts_make_up_the_scene(seed):
    scene = random_motion(12, seed)
    static, moving = scene.static, scene.moving
    assert len(static) + len(moving) == len(scene)
    for time in (0.0, 0.7, scene.duration):
        shown = scene.at(time)
        assert len(shown) == len(static) + len(moving.at(time))
        rows = {tuple(row) for row in shown.means.tolist()}
        assert all(tuple(row) in rows for row in static.means.tolist())


def test_what_lasts_exactly_until_the_end_is_shown_at_the_end():
    start = torch.zeros(2)
    scene = DynamicGaussians(
        random_gaussians(2, 0, 0, torch.float32), start, start + torch.tensor([0.7, 0.3]), torch.zeros(2, 3), 0.7, 10.0
    )
    assert len(scene.at(0.7)) == 1
    assert len(scene.static) == 1


@given(seeds)
def test_moving_the_world_and_time_do_not_interfere(seed):
    scene = random_motion(6, seed)
    matrix, _ = similarity(seed)
    for time in (0.0, 1.1):
        torch.testing.assert_close(scene.transform(matrix).at(time).means, scene.at(time).transform(matrix).means)


def test_a_still_scene_is_all_static():
    scene = DynamicGaussians.from_static(random_gaussians(4, 0), 3.0, 24.0)
    assert len(scene.static) == 4
    assert len(scene.moving) == 0
    assert scene.at(1.5).means.equal(scene.gaussians.means)
    assert len(scene.frame_times()) == 72


def test_subsets_pruning_and_types():
    scene = random_motion(8, 3)
    chosen = scene[scene.gaussians.opacities > 0.5]
    assert len(chosen) == int((scene.gaussians.opacities > 0.5).sum())
    kept = scene.prune(max_count=3)
    assert len(kept) == 3
    assert kept.gaussians.opacities.min() >= scene.gaussians.opacities.sort().values[4]
    single = scene.to(torch.float32)
    assert single.start.dtype == single.gaussians.means.dtype == torch.float32


GOOD = DynamicGaussians.from_static(random_gaussians(3, 0), 1.0, 24.0)
ZEROS = torch.zeros(3, dtype=torch.float64)
MOVING = torch.ones(3, 3, dtype=torch.float64)
BAD = {
    "start shape": ({"start": torch.zeros(2)}, "start must be"),
    "velocity shape": ({"velocities": torch.zeros(3, 2)}, "velocities must be"),
    "duration": ({"duration": 0.0}, "must be positive"),
    "endless": ({"duration": math.inf}, "must be positive"),
    "NaN rate": ({"fps": math.nan}, "must be positive"),
    "no lifetime": ({"start": ZEROS, "end": ZEROS}, "start < end"),
    "NaN start": ({"start": ZEROS * math.nan}, "start < end"),
    "moves for ever": ({"velocities": MOVING}, "without a start"),
    "NaN velocity": ({"start": ZEROS, "velocities": MOVING * math.nan}, "NaN"),
}


@pytest.mark.parametrize("change, sentence", BAD.values(), ids=BAD.keys())
def test_bad_motion_is_refused_with_a_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        construct(DynamicGaussians, **{**GOOD.__dict__, **change})


def test_no_frames_and_no_time_are_refused():
    with pytest.raises(InputError, match="at least one frame"):
        DynamicGaussians.from_frames([], 24.0)
    with pytest.raises(InputError, match="NaN"):
        GOOD.at(math.nan)
    assert len(DynamicGaussians.from_frames([Gaussians.empty(), Gaussians.empty()], 24.0)) == 0
