"""From a video to files, with a model that knows nothing: files, times, resuming, split, and bad input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from e2e.test_cli import run
from e2e.tiny_model import CHANNELS, write_tiny_model
from unit.video_world import HEIGHT, WIDTH, camera_path, film

import lyra
from lyra.cli.video import VideoOptions
from lyra.decoder import MINI, SplatDecoder
from lyra.evaluate.video import MovingTruth, VideoEvaluation
from lyra.io.cameras import load_cameras, save_cameras
from lyra.io.images import to_uint8
from lyra.io.video import load_video
from lyra.io.video_writer import save_video
from lyra.pipeline.job import Job
from lyra.pipeline.order import Order
from lyra.pipeline.video import Clip, generate_video
from lyra.pipeline.video_decoding import split_sets
from lyra.pipeline.video_result import FILES
from lyra.pipeline.video_source import Filmed
from lyra.scene import Cameras, Gaussians, InputError
from lyra.video.footage import Footage
from lyra.video.survey import Survey

SIZE = ("--size", "96x64", "--trajectories", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A film of 25 frames from a camera that stands still, and its camera file."""
    place = tmp_path_factory.mktemp("clip")
    path = camera_path(25, 0.0)
    cameras = Cameras(torch.eye(4).repeat(25, 1, 1), path.K.contiguous(), WIDTH, HEIGHT)
    save_video(film(cameras)[0], place / "clip.mp4", 12.0)
    save_cameras(cameras, place / "cameras.json")
    return place


@pytest.fixture(scope="module")
def made(model, clip, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    flags = ("--model", model, *SIZE, "--cameras", clip / "cameras.json")
    done = run("generate", clip / "clip.mp4", "-o", out, *flags)
    assert "for the whole 2.1 s" in done.stdout and "viewer.html" in done.stdout
    return out


def test_all_files_are_there_and_play(made):
    assert sorted(path.name for path in made.iterdir()) == sorted(FILES)
    scene = lyra.load(made / "scene.lyra4d")
    assert isinstance(scene, lyra.DynamicGaussians) and scene.fps == pytest.approx(12, abs=0.1)
    assert len(scene.static) > 1000 and len(scene.moving) > 100
    cameras = load_cameras(made / "cameras.json")
    assert len(cameras) == 25 and float(cameras.times[-1]) == pytest.approx(2.0, abs=0.02)
    fixed, bullet = (load_video(made / f"{name}.mp4") for name in ("fixed-camera", "bullet-time"))
    assert len(bullet) > len(fixed) == 25
    assert "lyra" in (made / "viewer.html").read_text()


def test_the_report_tells_what_moves(made):
    report = json.loads((made / "report.json").read_text())
    assert report["camera"]["still"] and 0.01 < report["moving_share"] < 0.3
    assert report["gaussians"] == report["static_gaussians"] + report["moving_gaussians"]
    assert {"cameras and depth", "imagining", "decoding", "assembling", "total"} <= report["seconds"].keys()


def test_the_square_moves_before_a_wall_that_is_stored_once(made):
    scene = lyra.load(made / "scene.lyra4d")
    shown = [scene.at(time) for time in (0.1, 1.0, 1.9)]
    assert len({len(each) for each in shown}) > 1
    still = len(scene.static)
    assert all(still < len(each) < len(scene) for each in shown)


def test_a_run_goes_on_if_the_contents_of_the_given_cameras_are_the_same(model, clip, tmp_path):
    """Wherever they lie; other cameras in the same place start anew."""
    order, place = Order("draft", 1, size=(96, 64), model=model), tmp_path / "cameras.json"

    def resumed(cameras: Path) -> list[str]:
        job = Job("cpu", folder=tmp_path / "kept")
        return generate_video(clip / "clip.mp4", order, Clip(cameras=str(cameras)), job).report["resumed"]

    assert resumed(clip / "cameras.json") == []
    place.write_bytes((clip / "cameras.json").read_bytes())
    assert resumed(place) == ["survey", "latents_clockwise", "gaussians"]
    cameras = load_cameras(place)
    save_cameras(replace(cameras, K=cameras.K * torch.tensor([1.1, 1.1, 1.0])[:, None]), place)
    assert resumed(place) == []


def test_weights_with_time_conditioning_are_asked_for_moments(model, clip, tmp_path):
    """Such weights give a set of Gaussians a moment; what does not change is kept once."""
    small = replace(
        MINI, latent_channels=CHANNELS, width=32, blocks=2, heads=2, head_dim=16, d_state=8, times=True, guide=True
    )
    place = write_tiny_model(tmp_path / "timed")
    torch.manual_seed(0)
    SplatDecoder(small).save(place / "decoder")
    order = Order("draft", 1, size=(96, 64), model=str(place))
    made = generate_video(clip / "clip.mp4", order, Clip(cameras=str(clip / "cameras.json")), Job("cpu"))
    assert len(made.gaussians.static) > 0 and made.report["static_gaussians"] < made.report["gaussians"]


def test_scenes_of_a_video_are_judged_against_truth(model):
    """Views of the video's own camera. Where something moves, a scene that stands still fails, the others do not.

    Measured there: first frame 16.0 dB, each frame and bare pixels 24.7, the whole video 25.7.
    """
    path = camera_path(9, 0.0)
    cameras = Cameras(torch.eye(4).repeat(9, 1, 1), path.K.contiguous(), WIDTH, HEIGHT)
    frames, depth, square = film(cameras)
    footage = Footage(frames, torch.arange(9), 12.0, "film", (WIDTH, HEIGHT))
    filmed = Filmed(footage, Survey(cameras, depth, square, "metric", True))
    shown = [0, 4, 8]
    views = replace(cameras[shown], times=torch.tensor(shown) / 12.0)
    truth = MovingTruth(footage, cameras, views, to_uint8(frames[shown]), depth[shown], depth[0])
    heard = []
    evaluation = VideoEvaluation(Order("draft", 1, size=(WIDTH, HEIGHT), model=model), Job("cpu"), None)
    evaluation.add(truth, filmed, heard.append)
    results = evaluation.results()
    methods = ["video", "unprojected", "first frame", "each frame"]
    assert heard == methods and results["scenes"] == ["film"] and len(evaluation.rows) == 2
    assert all(len(row) == len(evaluation.columns) == 5 for row in evaluation.rows)
    psnr = {name: found["psnr"] for name, found in results["sets"]["where something moves"].items()}
    assert psnr.pop("first frame") < 18 and min(psnr.values()) > 23
    size = {name: facts["gaussians"] for name, facts in results["methods"].items()}
    assert 0 < size["first frame"] < size["video"] < 0.25 * size["each frame"]


def test_what_stays_the_same_is_kept_once():
    still = Gaussians.from_rgb(
        torch.rand(10, 3) + 1, torch.eye(4)[:1].repeat(10, 1), torch.full((10, 3), 0.1), torch.full((10,), 0.9),
        torch.rand(10, 3),
    )  # fmt: skip
    shift = torch.zeros(10, 3)
    shift[:4] = 0.5
    later = replace(still, means=still.means + shift)
    split = split_sets([still, later], [0, 4], 1.0)
    half = round(0.5 * (6 + 2 * 4))  # the most opaque share is kept
    assert len(split.gaussians) == half
    assert set(split.frame[split.lives].tolist()) <= {0, 4} and set(split.frame[~split.lives].tolist()) <= {0}


@pytest.mark.parametrize(
    "frames, words", [(1, "only 1 frame"), (0, "cannot be|damaged|not a video|no picture|decoded")]
)
def test_bad_videos_are_one_sentence(model, tmp_path, capfd, frames, words):
    path = tmp_path / "bad.mp4"
    if frames:
        save_video(torch.rand(frames, 3, 64, 96), path, 10.0)
    else:
        path.write_bytes(b"\x00" * 4000)
    capfd.readouterr()
    done = run("generate", path, "-o", tmp_path / "out", "--model", model, *SIZE, code=2)
    assert done.stderr.count("\n") == 1 and capfd.readouterr().err == ""  # FFmpeg adds nothing of its own
    assert any(word in done.stderr for word in words.split("|"))


def test_a_photograph_is_not_animated():
    with pytest.raises(InputError, match="made to move"):
        VideoOptions(animate=True).check(Path("photo.png"))
    VideoOptions(animate=True).check(Path("clip.mp4"))
