"""Evaluation against truth: scenes, visibility, baselines, camera poses, consistency, and a perfect teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from lyra.decoder import MINI, SplatDecoder
from lyra.evaluate.filling import fill_nearest, fill_telea, nearest_valid
from lyra.evaluate.optimise import OptimiseOptions
from lyra.evaluate.samples import Samples
from lyra.evaluate.scores import Scores, markdown, region_scores
from lyra.evaluate.student import StudentEvaluation
from lyra.evaluate.teacher import TeacherEvaluation, in_units, warped_views
from lyra.evaluate.true_scenes import OFF_PATH, TrueScene, enlarged, still_scenes
from lyra.evaluate.visibility import regions, rewarp
from lyra.metrics import LPIPS, masked_psnr
from lyra.metrics.poses import FirstFrame, pose_error, trajectory_error
from lyra.scene import Cameras, InputError
from lyra.train.synthesis import TeacherSample

WORLDS = Path("tests/assets/eval_worlds")


@pytest.fixture(scope="module")
def room():
    """The first still room of the public set."""
    return next(still_scenes(WORLDS, 1))


def test_pictures_lie_on_their_paths(room):
    on = room.thinned(4)
    assert len(on.places) == 12 and len(room.off_path().places) == 3 and room.images.shape[1:] == (3, 256, 448)
    path, frame = on.places.unbind(1)
    assert path.bincount().tolist() == [2] * 6
    assert torch.allclose(room.view.paths[path, frame].c2w, on.cameras.c2w, atol=1e-5)
    assert (room.off_path().places == OFF_PATH).all()


def test_folders_without_still_scenes_are_refused(tmp_path):
    with pytest.raises(InputError, match="no still scene"):
        next(still_scenes(tmp_path))


def test_enlarged_depth_is_exact_on_planes_and_keeps_the_sky():
    """Worst relative error: 2e-6."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    plane = 1 / (0.2 + 0.0005 * x + 0.001 * y)
    small = plane[None, ::4, ::4].clone()
    assert torch.allclose(enlarged(small, 4)[0, :28, :44], plane[:28, :44], rtol=1e-5)
    small[0, 3, 5] = torch.inf
    assert enlarged(small, 4)[0, 12:16, 20:24].isinf().all() and enlarged(small, 4).isinf().sum() == 16


def _wall_with_screen(shift: float) -> tuple[torch.Tensor, Cameras]:
    """Depth seen from (shift, 0, 0): a wall at 4 with a screen x, y in [-0.5, 0.5] at 2 in front of it."""
    c2w = torch.eye(4)
    c2w[0, 3] = shift
    camera = Cameras.from_fov(c2w, 90.0, 64, 48)
    at_screen = camera.unproject(torch.full((48, 64), 2.0))
    screen = (at_screen[..., :2].abs() <= 0.5).all(-1)
    return torch.where(screen, 2.0, 4.0), camera


def test_regions_are_the_shadow_of_the_screen_and_what_is_outside():
    first, camera = _wall_with_screen(0.0)
    depth, other = _wall_with_screen(0.8)
    seen, hidden = (mask[0] for mask in regions(depth[None], other[None], first, camera))
    wall = other.unproject(torch.full((48, 64), 4.0))
    shadow = (wall[..., :2].abs() < 0.75).all(-1) & (depth == 4)  # the screen hides 1.0 at twice its distance
    lit = ((wall[..., :2].abs() > 1.25).any(-1) | (depth == 2)) & (wall[..., 0] < 3.9)
    outside = (wall[..., 0] > 4.01) & (depth == 4)
    assert shadow.sum() > 30 and outside.sum() > 100
    assert hidden[shadow].all() and hidden[outside].all()
    assert seen[lit].float().mean() > 0.99 and not (seen & hidden).any()


def test_true_frames_agree_when_carried_by_depth(room):
    """24.4 dB where both see it (depth of every fourth pixel, WebP); 14.7 dB with a wrong camera."""
    part = room.thinned(4)
    carried, both = rewarp(part.images[1] / 255, part.depth[1], part.cameras[1], part.depth[0], part.cameras[0])
    wrong, also = rewarp(part.images[1] / 255, part.depth[1], part.cameras[3], part.depth[0], part.cameras[0])
    good, bad = (
        float(masked_psnr(picture, part.images[0] / 255, mask)) for picture, mask in ((carried, both), (wrong, also))
    )
    assert both.float().mean() > 0.5 and good > 23 and bad < good - 8


def test_nearest_fill_is_exact():
    generator = torch.Generator().manual_seed(0)
    for share in (0.3, 0.01):
        valid = torch.rand(40, 70, generator=generator) < share
        valid[5:20, 10:60] = False
        valid[0, 0] = True
        row, column = nearest_valid(valid)
        y, x = torch.meshgrid(torch.arange(40), torch.arange(70), indexing="ij")
        assert valid[row, column].all()
        distance = ((row - y) ** 2 + (column - x) ** 2).double().sqrt().numpy()
        assert (abs(distance - distance_transform_edt(~valid.numpy())) < 1e-9).all()
    image = torch.rand(1, 3, 40, 70, generator=generator)
    for fill in (fill_nearest, fill_telea):
        filled = fill(image, valid[None])
        assert torch.allclose(filled[0][:, valid], image[0][:, valid], atol=0.002)
    with pytest.raises(InputError, match="without any valid pixel"):
        fill_nearest(image, torch.zeros(1, 40, 70, dtype=torch.bool))


def test_camera_poses_are_found_in_true_pictures(room):
    """Over all 180 views of the public set: median 0.09 degrees of rotation, 0.6 of direction; here 0.4, 2.2."""
    first = FirstFrame(room.view.image, room.view.depth, room.view.K)
    part = room.thinned(4)
    for index in (0, 5, 8):
        pose = first.locate(part.images[index] / 255)
        error = pose_error(pose, part.cameras.c2w[index], 0.02 * room.view.unit)
        assert error.rotation < 0.6 and error.direction < 4 and error.distance < 0.08
    assert first.locate(torch.full((3, 256, 448), 0.5)) is None


def test_paths_are_compared_up_to_their_scale_and_their_first_camera():
    """One camera is displaced by a tenth of the way and turned by 3 degrees; the others are right."""
    true = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    true[:, 0, 3] = torch.linspace(0, 1, 5)
    found, elsewhere = true.clone(), torch.eye(4, dtype=torch.float64)
    angle = torch.tensor(3.0).deg2rad()
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    found[3, :2, :2], found[3, 1, 3] = turn, 0.1
    elsewhere[:2, :2], elsewhere[:3, 3] = turn, torch.tensor([4.0, 5.0, 6.0])
    found[:, :3, 3] *= 7
    error = trajectory_error((elsewhere @ found).float(), true)
    assert abs(error.rotation - 3 / 4) < 1e-3
    assert abs(error.displacement - 0.1 / 4) < 0.003  # the fitted scale gives a little way to it
    assert abs(7 * error.scale - 1) < 0.01
    assert trajectory_error(true, true).rotation < 1e-6
    assert torch.tensor(trajectory_error(true, true[:1].expand(5, 4, 4)).displacement).isnan()


def test_lpips_maps_show_where_the_damage_is():
    model = LPIPS("alex")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        spread = torch.rand if name.startswith("heads") else torch.randn
        parameter.copy_(spread(parameter.shape, generator=generator) * 0.05)
    image = torch.rand(2, 3, 96, 128, generator=generator)
    other = image.clone()
    other[:, :, :30, :30] = 1 - other[:, :, :30, :30]
    distance = model.spatial(image, other)
    assert distance.shape == (2, 96, 128) and (model.spatial(image, image) == 0).all()
    assert (distance[:, :30, :30].mean((1, 2)) > 20 * distance[:, 80:, 110:].mean((1, 2))).all()
    assert torch.allclose(distance.mean((1, 2)), model(image, other), rtol=0.2)


def test_small_regions_are_not_scored_and_means_leave_them_out():
    image, truth = torch.zeros(2, 3, 20, 20), torch.full((2, 3, 20, 20), 0.1)
    mask = torch.zeros(2, 20, 20, dtype=torch.bool)
    mask[0, :10], mask[1, 0, 0] = True, True
    scores = Scores()
    for method, value in (("teacher", truth), ("nearest", image)):
        for region, found in region_scores(value, truth - 0.05, {"seen": mask}, None).items():
            scores.add(method, region, found)
    means = scores.means()
    row = means["seen"]["teacher"]
    assert row["psnr"] == pytest.approx(26.0206, abs=1e-3) and row["pictures"] == 1
    assert scores.wins("nearest", "teacher", "seen", "psnr") == 0.0
    assert "| seen | teacher | 1 | 26.02 | - |" in markdown(means, ("pictures", "psnr", "lpips"))


def _small(scene: TrueScene, keep: list[int]) -> TrueScene:
    """Some pictures of a scene at a quarter of its size, for speed."""
    part, size = scene.select(torch.tensor(keep)), (64, 112)
    images = torch.nn.functional.interpolate(part.images.float(), size, mode="area").round().to(torch.uint8)
    return replace(
        part, view=part.view.resized(*size), images=images, depth=part.depth[:, 2::4, 2::4],
        cameras=part.cameras.resize(*size),
    )  # fmt: skip


def test_a_perfect_teacher_wins_everywhere(room):
    """Its frames are the truth. Poses are left out here: there are too few features in pictures this small."""
    part = _small(room, [0, 1, 2, 3])
    videos = torch.zeros(6, 25, 3, 64, 112, dtype=torch.uint8)
    videos[part.places[:, 0], part.places[:, 1]] = part.images
    evaluation = TeacherEvaluation(None, None, torch.device("cpu"))
    evaluation.add(part, videos)
    found = evaluation.results()
    assert found["regions"]["all"]["teacher"]["ssim"] == pytest.approx(1)
    for baseline in ("nearest", "telea"):
        assert found["regions"]["disoccluded"][baseline]["psnr"] < found["regions"]["seen"][baseline]["psnr"] - 3
    carried = found["consistency"]["temporal"]
    assert carried["teacher"] == carried["truth"] and carried["truth"]["psnr"] > carried["nearest"]["psnr"]
    assert found["poses"]["teacher"] == found["poses"]["truth"]
    kept = found["regions"]["all"]["teacher + photo"]["psnr"]
    assert kept > found["regions"]["all"]["nearest"]["psnr"] + 1
    assert found["fvd"] == {} and found["left_out"] == []
    assert [set(picture.images) for picture in evaluation.pictures] == [
        {"truth", "warp", "teacher", "teacher + photo", "nearest", "telea"}
    ] * 2


def test_true_pictures_through_the_codec_are_the_ceiling(room, tmp_path):
    """The shipped codec: 24.1 dB for pictures this small."""
    part = _small(room, [6, 7])
    rebuilt = Samples("mini", tmp_path, "cpu", 0, draft=True).rebuilt(part)
    assert rebuilt.shape == part.images.shape and rebuilt.dtype == torch.uint8
    error = (rebuilt.float() - part.images.float()).square().mean() / 255**2
    assert -10 * error.log10() > 23


def test_student_evaluation_scores_every_method(room):
    """A decoder with random weights is worse than unprojection; optimisation is better on the frames it saw."""
    scene = _small(room, [0, 1, 6, 7, 12])
    paths = in_units(scene.view.paths, scene.view.unit)[:, ::3]
    warp, _ = warped_views(scene.view, paths.flatten(), torch.device("cpu"))
    frames = (warp * 255).round().to(torch.uint8).unflatten(0, paths.shape)
    videos = frames.repeat_interleave(3, 1)  # frames are looked up by their place on the path
    sample = TeacherSample("room", torch.zeros(6, 4, 2, 8, 14), paths, torch.zeros(6, 9, 16, 28), scene.view.unit)
    torch.manual_seed(0)
    decoder = SplatDecoder(replace(MINI, latent_channels=4, width=32, blocks=1, heads=1, head_dim=16))
    evaluation = StudentEvaluation(decoder, None, torch.device("cpu"), keep=0.5)
    made = evaluation.attempts(scene, sample, sample, frames, OptimiseOptions(steps=40, refine_from=1.0))
    evaluation.add(scene, made, videos)
    found = evaluation.results()
    assert set(found["methods"]) == {"student", "student + photo", "draft", "unprojected", "optimised"}
    for what in ("teacher frames", "true, on paths", "true, off paths"):
        assert found["sets"][what]["student"]["psnr"] < found["sets"][what]["student + photo"]["psnr"]
        assert found["sets"][what]["student"]["psnr"] < found["sets"][what]["unprojected"]["psnr"]
    rows = found["sets"]["teacher frames"]
    assert rows["optimised"]["psnr"] > rows["unprojected"]["psnr"] + 0.5  # measured 0.95
    assert found["sets"]["true, on paths"]["unprojected"]["depth_error"] < 0.5
    assert len(evaluation.rows) == 3 and len(evaluation.columns) == 7


class MeanColour(torch.nn.Module):
    """In the place of I3D: mean red, green and blue of clips in [0, 1]."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.mean((1, 3, 4))


def test_video_distances_of_shifted_clips_are_known(room):
    """Clips that are brighter by s everywhere have the distance 3 s^2: only the mean differs. Worst error 1e-8."""
    part = _small(room, [0, 1, 2, 3, 4, 5])
    view = replace(part.view, paths=part.view.paths[:2, ::12])
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    images = torch.randint(40, 200, part.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    cameras = replace(view.paths.flatten(), times=None)
    whole = replace(part, view=view, places=places, images=images, cameras=cameras)
    assert whole.whole
    evaluation = TeacherEvaluation(None, MeanColour(), torch.device("cpu"), every=2)
    evaluation.add(whole, images.unflatten(0, (2, 3)) + 20, images + 5)
    found = evaluation.results()["fvd"]
    assert found["members"] == 2 and {"teacher", "nearest", "telea", "codec"} < set(found)
    assert found["teacher"] == pytest.approx(3 * (20 / 255) ** 2, abs=1e-5)
    assert found["codec"] == pytest.approx(3 * (5 / 255) ** 2, abs=1e-5) and found["nearest"] > found["teacher"]
