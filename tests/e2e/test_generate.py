"""The main job from a photograph to files, with a model that knows nothing: files, seeds, kills, failures."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_cli import run
from tiny_model import write_tiny_model

import lyra
from lyra import pipeline
from lyra.depth.depth_map import DepthMap, centred_K
from lyra.io.cameras import load_cameras
from lyra.io.video import load_video
from lyra.pipeline import models
from lyra.pipeline.folder import PARTIAL, filling
from lyra.pipeline.job import Job
from lyra.pipeline.order import finer
from lyra.pipeline.result import FILES
from lyra.pipeline.surface import seen_by
from lyra.pipeline.views import FirstView, plan_paths
from lyra.scene import InputError

SMALL = {"size": (96, 64), "trajectories": 2}
FLAGS = ("--size", "96x64", "--trajectories", "2", "--refine", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "garden.png"
    pixels = torch.rand(12, 18, 3, generator=torch.Generator().manual_seed(0))
    Image.fromarray((255 * pixels).byte().numpy()).resize((216, 144)).save(path)
    return path


@pytest.fixture(scope="module")
def made(model, photo, tmp_path_factory) -> Path:
    """What the command makes of the photograph."""
    out = tmp_path_factory.mktemp("made") / "out"
    done = run("generate", photo, "-o", out, "--model", model, *FLAGS)
    assert "Gaussians" in done.stdout and "viewer.html" in done.stdout
    return out


def test_all_files_are_there_and_open(made):
    assert sorted(path.name for path in made.iterdir()) == sorted(FILES)
    scene = lyra.load(made / "scene.ply")
    assert len(scene) == len(lyra.load(made / "scene.spz")) > 1000
    assert scene.seen is not None
    cameras = load_cameras(made / "cameras.json")
    assert len(cameras) == 2 * 25 and (cameras.width, cameras.height) == (96, 64)
    assert torch.allclose(cameras.c2w[0], torch.eye(4), atol=1e-6)  # the photo's camera is the world
    assert len(list(load_video(made / "orbit.mp4").frames)) == 60
    assert "lyra" in (made / "viewer.html").read_text()


def test_the_report_says_how_it_was_made(made, photo):
    report = json.loads((made / "report.json").read_text())
    assert report["order"] | {"model": ""} == {
        "quality": "standard", "trajectories": 2, "motion": 1.0, "seed": 0, "model": "", "size": [96, 64]
    }  # fmt: skip
    assert report["photo"]["name"] == photo.name and report["photo"]["size"] == [216, 144]
    assert set(report["weights"]) == {"codec", "denoiser", "depth", "decoder"}
    assert [path["kind"] for path in report["paths"]] == ["clockwise", "left"]
    assert {"depth", "imagining", "decoding", "writing", "total"} <= report["seconds"].keys()
    assert report["peak_memory_bytes"]["host"] is None or report["peak_memory_bytes"]["host"] > 1e7
    assert 0 <= report["imagined_share"] <= 1 and report["gaussians"] == len(lyra.load(made / "scene.ply"))
    assert report["versions"]["lyra"] == lyra.__version__ and report["resumed"] == []


def test_same_seed_same_bytes_and_another_seed_another_scene(made, model, photo, tmp_path):
    report = json.loads(run("generate", photo, "-o", tmp_path / "a", "--model", model, *FLAGS, "--json").stdout)
    assert report["gaussians"] > 1000
    for name in ("scene.ply", "scene.spz", "cameras.json", "viewer.html"):
        assert (tmp_path / "a" / name).read_bytes() == (made / name).read_bytes()
    other = pipeline.generate(photo, seed=1, model=model, **SMALL)
    assert not torch.equal(other.gaussians.means, lyra.load(made / "scene.ply").means)


def test_refining_changes_what_was_imagined_and_nothing_else(model, photo, tmp_path):
    plain, fitted, again = (
        pipeline.generate(photo, model=model, refine=steps, **SMALL, job=Job(folder=tmp_path)) for steps in (0, 2, 2)
    )
    seen = plain.gaussians.seen
    assert torch.equal(fitted.gaussians.seen, seen) and 0 < int(seen.sum()) < len(seen)
    for name in ("means", "opacities", "sh"):
        before, after = getattr(plain.gaussians, name), getattr(fitted.gaussians, name)
        assert torch.equal(before[seen], after[seen]) and not torch.equal(before[~seen], after[~seen])
    assert "refined" in again.report["resumed"] and torch.equal(again.gaussians.sh, fitted.gaussians.sh)
    with pytest.raises(InputError, match="refining takes between 0 and"):
        pipeline.generate(photo, model=model, refine=-1, **SMALL)


def test_draft_needs_no_denoiser(model, photo, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for part in ("codec", "depth", "decoder"):
        (bare / part).symlink_to(Path(model) / part)
    scene = lyra.generate(photo, quality="draft", model=str(bare), **SMALL)
    assert len(scene.gaussians) > 1000 and "denoiser" not in scene.report["weights"]
    with pytest.raises(InputError, match="--quality draft needs no denoiser"):
        lyra.generate(photo, model=str(bare), **SMALL)
    (bare / "decoder").unlink()
    with pytest.raises(InputError, match="no weights of the decoder"):
        lyra.generate(photo, quality="draft", model=str(bare), **SMALL)


def stop(*_):
    """In the place of what must not be called, or of a user who interrupts."""
    raise KeyboardInterrupt


def test_a_finished_stage_is_not_done_again(model, photo, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(models, "decoder", stop)
        pipeline.generate(photo, model=model, **SMALL, job=Job(folder=tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(models, "teacher", stop)
        patch.setattr(models, "depth_model", stop)
        scene = pipeline.generate(photo, model=model, **SMALL, job=Job(folder=tmp_path))
    assert scene.report["resumed"] == ["depth", "latents_clockwise", "latents_left"]
    job = Job(folder=tmp_path)
    more = pipeline.generate(photo, model=model, motion=0.5, **SMALL, job=job)  # other paths, the same depth
    assert more.report["resumed"] == ["depth"]


def test_killed_and_run_again(made, model, photo, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lyra", "generate", str(photo), "-o", str(out), "--model", model, *FLAGS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (out / PARTIAL / "latents_clockwise.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL) if hasattr(signal, "SIGKILL") else process.kill()
    process.wait()
    assert not (out / "report.json").exists()
    run("generate", photo, "-o", out, "--model", model, *FLAGS)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert {"depth", "latents_clockwise"} <= set(json.loads((out / "report.json").read_text())["resumed"])
    assert (out / "scene.ply").read_bytes() == (made / "scene.ply").read_bytes()


def test_bad_orders_are_one_sentence(model, photo, tmp_path):
    dot = tmp_path / "dot.png"
    Image.new("RGB", (1, 1)).save(dot)
    text = tmp_path / "words.jpg"
    text.write_text("not a picture")
    empty = tmp_path / "empty"
    empty.mkdir()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    cases = (
        (dot, "out", (), "64 pixels"),
        (text, "out", (), "not an image"),
        (empty, "out", (), "holds no images"),
        (tmp_path / "none.jpg", "out", (), "no such file"),
        (photo, "out", ("--size", "100x64"), "multiples of 16"),
        (photo, "out", ("--size", "big"), "448x256"),
        (photo, "out", ("--trajectories", "7"), "trajectories"),
        (photo, "out", ("--motion", "0"), "motion"),
        (photo, "out", ("--seed", "-1"), "seed"),
        (photo, "out", ("--model", str(tmp_path)), "no weights"),
        (photo, "out", ("--model", "gen3c"), "no weights"),
        (photo, "blocked", (), "is a file"),
        (photo, "blocked/inside", (), "folder|directory"),
    )
    for source, out, flags, message in cases:
        done = run("generate", source, "-o", tmp_path / out, "--model", model, *flags, code=2)
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("lyra: "), done.stderr
        assert any(word in done.stderr.lower() for word in message.lower().split("|")), done.stderr
        assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_the_old_files(tmp_path):
    (tmp_path / "scene.ply").write_text("old")
    with pytest.raises(InputError, match="No space left"), filling(tmp_path) as new:
        (new / "scene.ply").write_text("half")
        raise OSError(28, "No space left on device")
    assert (tmp_path / "scene.ply").read_text() == "old"
    with filling(tmp_path) as new:
        (new / "scene.ply").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.ply"]
    assert (tmp_path / "scene.ply").read_text() == "whole"


def test_networks_can_stay_loaded_for_the_next_photo(model, photo, made, monkeypatch):
    job = Job(keep_networks=True)
    first = pipeline.generate(photo, quality="draft", model=model, **SMALL, job=job)
    for name in ("depth_model", "codec", "decoder"):
        monkeypatch.setattr(models, name, stop)
    second = pipeline.generate(photo, quality="draft", model=model, **SMALL, job=job)
    assert torch.equal(first.gaussians.means, second.gaussians.means)


def test_too_many_pixels_for_the_model(model, photo):
    with pytest.raises(InputError, match="at most 512x512 pixels"):
        pipeline.generate(photo, model=model, size=(576, 64), trajectories=1)


def test_imagine_shows_what_the_teacher_sees(model, photo, tmp_path):
    run("imagine", photo, "-o", tmp_path / "seen", "--model", model, *FLAGS[:4])
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert names == {
        "clockwise.mp4", "clockwise_warp.mp4", "left.mp4", "left_warp.mp4", "depth.png", "depth.npy", "sheet.png",
        "cameras.json", "report.json",
    }  # fmt: skip
    assert Image.open(tmp_path / "seen" / "sheet.png").size == (4 * 96 // 2, 3 * 64 // 2)
    assert len(list(load_video(tmp_path / "seen" / "left.mp4").frames)) == 25


def flat_view(depth: float = 2.0) -> FirstView:
    """A wall, with sky in its upper quarter."""
    valid = torch.ones(64, 96, dtype=torch.bool)
    valid[:16] = False
    metres = torch.where(valid, depth, torch.inf)
    return FirstView(torch.rand(3, 64, 96), DepthMap(metres, centred_K(80.0, 64, 96), valid, "metric"))


def test_seen_is_what_the_photo_shows():
    places = torch.tensor(
        [[0.0, 0, 1], [0, 0, 0.5], [0, 0, 1.05], [0, 0, 1.3], [5, 0, 1], [0, 0, -1], [0, -0.35, 1], [0, -20, 60.0]]
    )
    assert seen_by(flat_view(), places).tolist() == [True, True, True, False, False, False, True, True]


def test_paths_keep_their_distance_to_a_wall_and_their_seed():
    (far,) = plan_paths(flat_view(), (4,), 25, 4.0, 0)  # zoom_in
    assert far.kind == "zoom_in" and far.share < 1
    assert 1 - float(far.cameras.centers[:, 2].max()) >= 0.1  # of the wall's distance
    (usual,), (other,) = (plan_paths(flat_view(), (4,), 9, 1.0, seed) for seed in (0, 1))
    assert torch.equal(usual.cameras.c2w[0], torch.eye(4)) and usual.distance != other.distance


def test_full_takes_four_steps_for_one():
    levels = finer([20.0, 2.0, 0.5, 0.0]).levels
    assert len(levels) == 12 and levels[0] == 20 and {2.0, 0.5} <= {round(level, 9) for level in levels}


def test_a_sky_only_picture_has_a_unit():
    view = flat_view()
    nothing = torch.zeros(64, 96, dtype=torch.bool)
    sky = replace(view, depth=DepthMap(torch.full((64, 96), torch.inf), view.depth.K, nothing, "metric"))
    assert sky.unit == 1.0 and len(plan_paths(sky, (5, 0), 9, 1.0, 0)) == 2
