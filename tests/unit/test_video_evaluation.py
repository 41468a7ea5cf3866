"""Scenes of videos against truth: recorded scenes, frozen videos, bare pixels, flicker, where something moves."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lyra.evaluate.video import flicker, frozen, moving_truths, shows_motion, unprojected
from lyra.metrics import psnr
from lyra.pipeline.video_source import Filmed
from lyra.render import render
from lyra.scene import InputError
from lyra.video.survey import Survey


@pytest.fixture(scope="module")
def truth():
    return next(moving_truths(Path("tests/assets/eval_worlds")))


@pytest.fixture(scope="module")
def filmed(truth):
    """The first frame's true depth throughout; a block of pixels is said to move."""
    count = len(truth.footage)
    moving = torch.zeros(count, *truth.first_depth.shape, dtype=torch.bool)
    moving[:, 100:160, 200:280] = True
    depth = truth.first_depth.expand(count, -1, -1).contiguous()
    return Filmed(truth.footage, Survey(truth.source, depth, moving, "metric", True))


def test_pixels_at_true_depth_are_the_picture_again(truth, filmed):
    """Measured: 25.2 dB, 96 % of the picture covered."""
    drawn = render(unprojected(filmed, 0), truth.source[0])
    covered = drawn.alpha > 0.9
    assert float(covered.float().mean()) > 0.85
    frame = filmed.footage.frames[0]
    assert float(psnr(torch.where(covered, drawn.rgb, frame), frame)) > 24


def test_true_views_are_put_into_the_scale_of_the_survey(truth, filmed):
    other = Filmed(filmed.footage, replace(filmed.survey, depth=3 * filmed.survey.depth))
    scaled = truth.in_world_of(other)
    assert torch.allclose(scaled.views.centers, 3 * truth.views.centers, rtol=1e-4)
    moves = Filmed(filmed.footage, replace(other.survey, still=False))  # then its cameras have the scale
    assert truth.in_world_of(moves) is truth


def test_a_frozen_video_neither_moves_nor_flickers(filmed):
    still = frozen(filmed, 7)
    assert bool((still.footage.frames == filmed.footage.frames[7]).all()) and not still.survey.moving.any()
    made = unprojected(still, 0)
    assert flicker(lambda _: made, still, lambda *seen: render(*seen).rgb, frames=3) == 0


def test_what_moves_is_found_from_the_video_camera_itself(truth, filmed):
    found = shows_motion(truth.source[0], truth.first_depth, filmed, 0)
    assert float((found == filmed.survey.moving[0]).float().mean()) > 0.99


def test_scenes_are_chosen_by_their_order(truth):
    place = Path("tests/assets/eval_worlds")
    names = sorted(path.name for path in place.glob("*_moving_*"))
    assert truth.footage.name == names[0] and len(names) == 4
    assert [each.footage.name for each in moving_truths(place, 1, skip=2)] == names[2:3]
    assert [each.footage.name for each in moving_truths(place, 5, skip=3)] == names[3:]
    with pytest.raises(InputError, match="4 moving scenes, and 4 are to be left out"):
        next(moving_truths(place, skip=4))


def test_folders_without_moving_scenes_are_refused(tmp_path):
    with pytest.raises(InputError, match="0 moving scenes"):
        next(moving_truths(tmp_path))
