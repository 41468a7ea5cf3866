"""Putting what the photograph shows back into decoded frames: exact where known, alone where not, no seam between."""

import torch

from lyra.teacher.known import with_known

SIZE = (2, 3, 128, 192)


def pictures(seed: int):
    """Smooth frames and a sharp warp."""
    generator = torch.Generator().manual_seed(seed)
    return torch.full(SIZE, 0.5), torch.rand(SIZE, generator=generator)


def test_what_is_known_everywhere_is_the_warp_and_what_is_nowhere_the_frames():
    frames, warp = pictures(0)
    assert torch.allclose(with_known(frames, warp, torch.ones(2, 128, 192, dtype=torch.bool)), warp, atol=1e-6)
    assert torch.equal(with_known(frames, warp, torch.zeros(2, 128, 192, dtype=torch.bool)), frames)


def test_known_pixels_are_exact_and_holes_never_show_the_warp():
    frames, warp = pictures(1)
    mask = torch.ones(2, 128, 192, dtype=torch.bool)
    mask[:, 20:40, 30:60] = False
    made = with_known(frames, warp, mask)
    assert torch.allclose(made.movedim(1, -1)[mask], warp.movedim(1, -1)[mask], atol=1e-6)
    blackened = torch.where(mask[:, None], warp, 0.0)
    assert torch.equal(made, with_known(frames, blackened, mask))


def test_a_shade_between_frames_and_warp_leaves_no_seam_and_ends_far_away():
    frames = torch.full(SIZE, 0.4)
    mask = torch.zeros(2, 128, 192, dtype=torch.bool)
    mask[..., :64] = True
    row = with_known(frames, frames + 0.2, mask)[0, 0, 64]
    assert torch.allclose(row[:64], torch.tensor(0.6), atol=1e-5)
    assert torch.allclose(row[90:], torch.tensor(0.4), atol=1e-5)
    assert float(row.diff().abs().max()) < 0.05  # the bare edge would be 0.2; measured 0.037
    assert bool((row.diff() <= 1e-6).all())
