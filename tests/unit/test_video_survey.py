"""Cameras, depth and moving parts of videos whose truth is known; files of other programs."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.video_world import FOCAL, HEIGHT, WIDTH, TrueDepth, camera_path, film

from lyra.depth.depth_map import centred_K
from lyra.io.cameras import save_cameras
from lyra.scene import Cameras, InputError
from lyra.video.depths import moving_parts, upright
from lyra.video.footage import Footage
from lyra.video.given import read_given
from lyra.video.survey import survey

FRAMES = 9
K = centred_K(FOCAL, HEIGHT, WIDTH)


def footage(frames: torch.Tensor) -> Footage:
    return Footage(frames, torch.arange(len(frames)), 12.0, "clip", (WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def moving():
    cameras = camera_path(FRAMES)
    return cameras, *film(cameras)


def relative(got: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return (got / true - 1).abs()


def test_a_moving_camera_is_found_and_depth_gets_one_scale(moving):
    """Depth scales wander by 15 %. Measured: centres within 1.0 % of the way, turns 0.06 degrees, depth 0.08 %."""
    cameras, frames, depth, square = moving
    model = TrueDepth(frames, depth, K, 0.15)
    found = survey(footage(frames), model)
    first = model.scales[0]  # the world has the scale of the first frame
    assert not found.still and found.lost == 0
    error = (found.cameras.centers / first - cameras.centers).norm(dim=-1)
    assert float(error.max()) < 0.02 * 0.5
    turn = found.cameras.c2w[:, :3, :3].mT @ cameras.c2w[:, :3, :3]
    assert float(((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(max=1).arccos().max()) < 0.002
    assert float(relative(found.depth / first, depth)[~square].median(dim=0).values) < 1e-3


def test_what_moves_is_told_from_what_stands_still(moving):
    """Measured: 60 % of the square found (it overlaps with itself), 0.2 % of the rest taken for moving."""
    _, frames, depth, square = moving
    found = survey(footage(frames), TrueDepth(frames, depth, K, 0.0))
    assert float(found.moving[square].float().mean()) > 0.55
    assert float(found.moving[~square].float().mean()) < 0.01


def test_what_comes_nearer_moves_though_its_colour_stays():
    """Measured in the last frame: all of it found, nothing without depth; 0.3 % of the rest taken for moving.

    In the first half of the frames nothing is found: what is there is later hidden by itself, and nobody contradicts.
    """
    cameras = camera_path(FRAMES, 0.05)
    frames, depth, _ = film(cameras, moves=False)
    block = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    block[30:60, 60:90] = True
    frames = torch.where(block, 0.5, frames)
    depth = torch.where(block, torch.linspace(2.6, 1.4, FRAMES)[:, None, None], depth)
    found = moving_parts(frames, depth, cameras)
    assert float(found[-1, block].float().mean()) > 0.95
    assert float(found[:, ~block].float().mean()) < 0.02


def test_a_still_camera_is_recognised_and_its_depth_does_not_flicker():
    """Measured: all of the square found, 1.4 % of the rest taken for moving (the mask is wider by design)."""
    cameras = camera_path(FRAMES, 0.0)
    cameras = Cameras(torch.eye(4).repeat(FRAMES, 1, 1), cameras.K.contiguous(), WIDTH, HEIGHT)
    frames, depth, square = film(cameras)
    found = survey(footage(frames), TrueDepth(frames, depth, K, 0.15))
    assert found.still and torch.equal(found.cameras.c2w, torch.eye(4).expand(FRAMES, 4, 4))
    rest = ~square.any(0) & ~found.moving.any(0)
    assert float(found.depth[:, rest].std(0).max()) == 0
    assert float(found.moving[:, ~square.any(0)].float().mean()) < 0.03
    assert float(found.moving[square].float().mean()) > 0.95


def test_given_cameras_set_the_scale_of_depth(moving, tmp_path):
    """Cameras three times as far apart as the depth has it. Measured: depth within 0.05 % (median)."""
    cameras, frames, depth, square = moving
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] *= 3
    save_cameras(Cameras(c2w, cameras.K.contiguous(), WIDTH, HEIGHT), tmp_path / "cameras.json")
    found = survey(footage(frames), TrueDepth(frames, depth, K, 0.1), read_given(tmp_path / "cameras.json"))
    assert torch.allclose(found.cameras.c2w, c2w, atol=1e-5)
    assert float(relative(found.depth, 3 * depth)[~square].median(dim=0).values) < 0.002


def test_given_cameras_that_stand_still_leave_depth_at_its_own_scale(moving, tmp_path):
    cameras, frames, depth, _ = moving
    place = tmp_path / "cameras.json"
    save_cameras(Cameras(torch.eye(4).repeat(FRAMES, 1, 1), cameras.K.contiguous(), WIDTH, HEIGHT), place)
    model = TrueDepth(frames[:1], depth[:1] / depth[:1].median(), K, 0.0)
    still = footage(frames[:1].repeat(FRAMES, 1, 1, 1))
    for scale in ("metric", "relative"):
        found = survey(still, lambda image, K, scale=scale: replace(model(image, K), scale=scale), read_given(place))
        assert found.still and found.scale == scale


def test_results_of_other_programs_are_read_as_they_are(moving, tmp_path):
    """The three layouts hold the same cameras and depth, so they give the same survey."""
    import OpenEXR

    cameras, frames, depth, _ = moving
    w2c, lens = cameras.w2c.numpy(), cameras.K.numpy()
    np.savez(tmp_path / "vggt.npz", extrinsic=w2c[:, :3], intrinsic=lens, depth=depth[..., None].numpy())
    np.savez(tmp_path / "da3.npz", extrinsics=w2c[:, :3], intrinsics=lens, depth=depth.numpy())
    for name in ("pose", "intrinsics", "depth"):
        (tmp_path / "vipe" / name).mkdir(parents=True)
    np.savez(tmp_path / "vipe/pose/clip.npz", data=cameras.c2w.numpy(), inds=np.arange(FRAMES))
    four = np.stack([lens[:, 0, 0], lens[:, 1, 1], lens[:, 0, 2], lens[:, 1, 2]], -1)
    np.savez(tmp_path / "vipe/intrinsics/clip.npz", data=four, inds=np.arange(FRAMES))
    with zipfile.ZipFile(tmp_path / "vipe/depth/clip.zip", "w") as archive:
        for index, each in enumerate(depth):
            head = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(head, {"Z": each.numpy().astype(np.float16)}).write(str(tmp_path / "one.exr"))
            archive.write(tmp_path / "one.exr", f"{index:05d}.exr")
    for source, worst in (("vggt.npz", 1e-6), ("da3.npz", 1e-6), ("vipe", 1e-3)):  # ViPE stores half floats
        found = survey(footage(frames), None, read_given(tmp_path / source))
        assert torch.allclose(found.cameras.c2w, cameras.c2w, atol=1e-5)
        assert float(relative(found.depth, depth).max()) < worst
        assert found.scale == "relative"


def test_cameras_of_another_video_are_refused(moving, tmp_path):
    cameras, frames, depth, _ = moving
    model = TrueDepth(frames, depth, K, 0.0)
    few = cameras[:4]
    save_cameras(few, tmp_path / "few.json")
    with pytest.raises(InputError, match="4 cameras, but the video needs 9"):
        survey(footage(frames), model, read_given(tmp_path / "few.json"))
    square = Cameras(cameras.c2w, cameras.K.contiguous(), 100, 100)
    save_cameras(square, tmp_path / "square.json")
    with pytest.raises(InputError, match="another shape"):
        survey(footage(frames), model, read_given(tmp_path / "square.json"))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match="not a whole result"):
        read_given(tmp_path / "broken.npz")
    np.savez(tmp_path / "other.npz", depth=depth.numpy())
    with pytest.raises(InputError, match="has no extrinsic, intrinsic"):
        read_given(tmp_path / "other.npz")


def test_a_cut_is_refused(moving):
    """Half of the pictures show something else, by a camera that moves too."""
    _, frames, depth, _ = moving
    cut = torch.cat([frames[:4], frames[4:].flip(-2)])
    with pytest.raises(InputError, match=r"cannot be followed.*a cut"):
        survey(footage(cut), TrueDepth(cut, depth, K, 0.0))


def test_a_cut_between_two_cameras_that_stand_still_is_refused():
    """Hardly a feature is found again, which is not taken for a picture without features."""
    path = camera_path(FRAMES, 0.0)
    frames, depth, _ = film(Cameras(torch.eye(4).repeat(FRAMES, 1, 1), path.K.contiguous(), WIDTH, HEIGHT))
    cut = torch.cat([frames[:4], frames[4:].flip(-2)])
    with pytest.raises(InputError, match=r"cannot be followed.*a cut"):
        survey(footage(cut), TrueDepth(cut, depth, K, 0.0))


def test_things_that_move_are_drawn_upright_each_at_its_own_distance():
    """One leans from 2 into the wall at 4, its distance trembles by 5 %; the other stands at 3.

    Measured: far over near 1.075, what is left of the trembling 16 %.
    """
    tremble = torch.tensor([1.05, 0.95, 1.0, 1.05, 0.95, 1.0])
    depth, moving = torch.full((6, 64, 96), 4.0), torch.zeros(6, 64, 96, dtype=torch.bool)
    depth[:, 10:50, 10:20] = tremble[:, None, None] * torch.linspace(4.0, 2.0, 40)[None, :, None]
    depth[:, 20:40, 60:80] = 3.0
    moving[:, 10:50, 10:20], moving[:, 20:40, 60:80] = True, True
    made = upright(depth, moving)
    assert torch.equal(made[~moving], depth[~moving])
    assert float(relative(made[:, 20:40, 60:80], torch.tensor(3.0)).max()) < 1e-5
    leaning = made[:, 10:50, 10:20]
    assert float(leaning.max() / leaning.min()) < 1.15  # it was 2.2
    assert float(leaning[:, -1].log().std(0).max()) < 0.5 * float(tremble.log().std())


def test_what_stands_before_sky_or_never_leaves_its_place_keeps_its_depth():
    """Then nothing is known of what is behind it, and a camera that stands still cannot tell more."""
    depth, moving = torch.full((6, 64, 96), torch.inf), torch.zeros(6, 64, 96, dtype=torch.bool)
    for index in range(6):  # one walks before the sky
        depth[index, 10:50, 10 * index : 10 * index + 8], moving[index, 10:50, 10 * index : 10 * index + 8] = 2.0, True
    depth[:, 20:40, 75:90], moving[:, 20:40, 75:90] = 3.0, True  # the other turns where it is
    made = upright(depth, moving, still=True)
    assert torch.equal(made.isinf(), depth.isinf())
    assert float(relative(made, depth)[moving].max()) < 1e-5
