"""The photographic look: neutral changes nothing, one look a clip, warm is warm, ranges as promised."""

import numpy as np
import pytest

from worlds.camera_look import Look, apply, draw_look, white_gains
from worlds.errors import WorldsError

CLIP = np.random.default_rng(0).integers(0, 256, (1, 40, 60, 3), dtype=np.uint8).repeat(3, axis=0)
CALM = np.full((4, 48, 64, 3), 120, np.uint8)


def test_a_neutral_look_keeps_every_byte():
    assert (apply(CLIP, Look()) == CLIP).all()


def test_the_look_is_constant_in_a_clip_except_for_noise():
    look = draw_look(np.random.default_rng(5))
    noisy = apply(CALM, look)
    assert (noisy == apply(CALM, look)).all()
    still = apply(CALM, Look(white=look.white, contrast=look.contrast, vignette=0.3, quality=80))
    assert (still == still[:1]).all()
    assert not (noisy[0] == noisy[1]).all()
    assert abs(noisy[0].mean() - noisy[1].mean()) < 0.5


def test_drawn_looks_stay_in_range_and_leave_the_picture_recognisable():
    for seed in range(20):
        look = draw_look(np.random.default_rng(seed))
        assert 0.36 <= look.mean_luma <= 0.54 and 60 <= look.quality <= 95
        assert min(look.white) > 0.6 and max(look.white) < 1.7
        assert 60 < apply(CALM, look).mean() < 180


def test_low_colour_temperature_is_warm():
    warm, cold = white_gains(2800, 0.5, 0.0), white_gains(9000, 0.5, 0.0)
    assert warm[0] > 1.1 > 0.8 > warm[2] and cold[2] > 1.05 > cold[0]
    assert np.allclose(white_gains(6500, 0.0, 0.0), 1)


def test_vignette_darkens_corners_and_blur_keeps_the_mean():
    dark = apply(CALM, Look(vignette=0.3))[0].astype(float)
    assert dark[0, 0, 0] < 0.9 * dark[24, 32, 0]
    soft = apply(CLIP, Look(blur=0.6)).astype(float)
    assert soft.std() < 0.8 * CLIP.std()


def test_linear_light_is_accepted_and_other_shapes_are_refused():
    assert np.abs(apply(np.full((1, 4, 4, 3), 0.2140, np.float32), Look()).astype(int) - 127).max() <= 1
    with pytest.raises(WorldsError, match="clip"):
        apply(CLIP[0], Look())
