"""The command `lyra` as a user meets it: by exit codes, files and sentences."""

import io
import json
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest
import torch

import lyra
from lyra.cli import main
from lyra.io.cameras import load_cameras
from lyra.io.images import load_image
from lyra.io.video import load_video

SMALL = ("--width", "96", "--height", "64", "--frames", "3")


@dataclass
class Done:
    stdout: str
    stderr: str


def run(*arguments, code: int = 0) -> Done:
    """The command's entry point with these arguments; starting a process for each would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["lyra", *map(str, arguments)])
        try:
            main()
            came = 0
        except SystemExit as end:
            came = end.code or 0
    assert came == code, f"exit {came}\n{out.getvalue()}\n{err.getvalue()}"
    return Done(out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A cloud of 500 coloured blobs in front of the origin, as .ply."""
    g = torch.Generator().manual_seed(0)
    n = 500
    means = torch.randn(n, 3, generator=g) * torch.tensor([1.0, 0.6, 0.5]) + torch.tensor([0.0, 0.0, 4.0])
    gaussians = lyra.Gaussians.from_rgb(
        means,
        torch.nn.functional.normalize(torch.randn(n, 4, generator=g), dim=-1),
        torch.rand(n, 3, generator=g) * 0.1 + 0.05,
        torch.rand(n, generator=g) * 0.8 + 0.1,
        torch.rand(n, 3, generator=g),
    )
    path = tmp_path_factory.mktemp("scene") / "blobs.ply"
    lyra.save(gaussians, path)
    return path


@pytest.fixture(scope="module")
def moving(scene, tmp_path_factory):
    """The same blobs in three frames, drifting to the right."""
    first = lyra.load(scene)
    shift = torch.eye(4)
    frames = []
    for i in range(3):
        shift[0, 3] = 0.3 * i
        frames.append(first.transform(shift))
    path = tmp_path_factory.mktemp("moving") / "blobs.lyra4d"
    lyra.save(lyra.DynamicGaussians.from_frames(frames, fps=6.0), path)
    return path


def test_help_does_not_load_torch():
    program = """\
import sys
sys.argv = ["lyra", "--help"]
from lyra.cli import main
try:
    main()
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def test_import_is_light():
    program = """\
import sys, time
began = time.perf_counter()
import lyra
assert time.perf_counter() - began < 0.3
assert "numpy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("verb", ["render", "view", "export", "info", "paths", "doctor"])
def test_every_verb_explains_itself(verb):
    assert len(run(verb, "--help").stdout) > 100


def test_a_folder_gets_everything_to_look_at(scene, tmp_path):
    out = tmp_path / "out"
    facts = json.loads(run("render", scene, out, *SMALL, "--json").stdout)
    assert {p.name for p in out.iterdir()} == {"viewer.html", "orbit.mp4", "preview.png", "cameras.json"}
    assert facts["frames"] == 3 and facts["size"] == [96, 64]
    assert load_image(out / "preview.png").shape == (3, 64, 96)
    assert len(load_video(out / "orbit.mp4")) == 3
    assert "<html" in (out / "viewer.html").read_text()


def test_the_written_cameras_make_the_same_picture(scene, tmp_path):
    run("render", scene, tmp_path / "out", *SMALL)
    run("render", scene, tmp_path / "again.png", "--path", tmp_path / "out" / "cameras.json")
    assert torch.equal(load_image(tmp_path / "again.png"), load_image(tmp_path / "out" / "preview.png"))


def test_a_path_inside_a_scene_stops_before_it_runs_into_something(scene, tmp_path):
    travelled = {}
    for option in ("--limit", "--no-limit"):
        run("render", scene, tmp_path / option, *SMALL, "--path", "dolly", "--amount", "3", option)
        travelled[option] = float(load_cameras(tmp_path / option / "cameras.json").centers[-1].norm())
    assert travelled["--limit"] < 0.9 * travelled["--no-limit"]


def test_depth_coverage_and_numbered_images(scene, tmp_path):
    from lyra.io.images import load_depth

    run("render", scene, tmp_path / "depth.png", *SMALL, "--show", "depth16")
    depth, known = load_depth(tmp_path / "depth.png")
    assert 2 < float(depth[known].median()) < 8
    run("render", scene, tmp_path / "depth.mp4", *SMALL, "--show", "depth")
    run("render", scene, tmp_path / "cover_%02d.png", *SMALL, "--show", "alpha")
    assert [p.name for p in sorted(tmp_path.glob("cover*"))] == ["cover_00.png", "cover_01.png", "cover_02.png"]


def test_a_moving_scene_moves_and_can_be_frozen(moving, tmp_path):
    run("render", moving, tmp_path / "m_%d.png", "--path", "still", "--width", "96", "--height", "64")
    frames = [load_image(p) for p in sorted(tmp_path.glob("m_*.png"))]
    assert len(frames) == 3 and not torch.equal(frames[0], frames[2])
    run("render", moving, tmp_path / "f_%d.png", "--path", "still", "--at", "0.2", "--width", "96", "--height", "64")
    frozen = [load_image(p) for p in sorted(tmp_path.glob("f_*.png"))]
    assert torch.equal(frozen[0], frozen[2]) and torch.equal(frozen[0], frames[1])


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".sog", ".glb", ".usdc", ".lyra4d"])
def test_export_to_every_format_reads_back(scene, tmp_path, suffix):
    out = tmp_path / f"scene{suffix}"
    facts = json.loads(run("export", scene, out, "--json").stdout)
    assert facts["gaussians"] == 500 and facts["bytes"] == out.stat().st_size
    assert json.loads(run("info", out, "--json").stdout)["gaussians"] == 500


def test_export_thins_and_takes_moments(scene, moving, tmp_path):
    run("export", scene, tmp_path / "few.ply", "--max-splats", "50", "--min-opacity", "0.3")
    few = lyra.load(tmp_path / "few.ply")
    assert len(few) == 50 and float(few.opacities.min()) >= 0.3
    run("export", moving, tmp_path / "moment.ply", "--at", "0.4")
    assert len(lyra.load(tmp_path / "moment.ply")) == 500
    run("export", moving, tmp_path / "frames")
    assert isinstance(lyra.load(tmp_path / "frames"), lyra.DynamicGaussians)


def test_export_to_one_html_file(scene, tmp_path):
    run("render", scene, tmp_path / "out", *SMALL)
    run("export", scene, tmp_path / "page.html", "--cameras", tmp_path / "out" / "cameras.json")
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_doctor_and_paths_speak_json():
    assert json.loads(run("doctor", "--json").stdout)["render_backend"] in ("cpu", "cuda")
    assert "orbit" in json.loads(run("paths", "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["render", "{scene}", "{tmp}/x.mp4", "--path", "zigzag"], "presets still, orbit"),
        (["render", "{scene}", "{tmp}/x.avi"], ".mp4"),
        (["render", "{scene}", "{tmp}/x.png", "--fov", "190"], "field of view"),
        (["render", "{scene}", "{tmp}/x.png", "--width", "0"], "--width"),
        (["render", "{scene}", "{tmp}/x.png", "--frames", "0"], "--frames"),
        (["render", "{scene}", "{tmp}/x.png", "--background", "mauve"], "--background"),
        (["render", "{scene}", "{tmp}/x_%q.png"], "frame_%04d.png"),
        (["render", "{scene}", "{tmp}/x.mp4", "--show", "depth16"], "depth16"),
        (["render", "{scene}", "{tmp}/x.png", "--path", "{scene}"], "blobs.ply"),
        (["render", "{scene}", "{tmp}/no/such/x.png"], "folder"),
        (["render", "{tmp}/nothing.ply", "{tmp}/x.png"], "no such file"),
        (["render", "{scene}", "{tmp}/x.png", "--backend", "cuda"], "CUDA"),
        (["export", "{scene}", "{tmp}/x.obj"], "suffix"),
        (["export", "{scene}", "{tmp}/x.ply", "--min-opacity", "2"], "--min-opacity"),
        (["export", "{scene}", "{tmp}/x.ply", "--min-opacity", "0.999"], "no Gaussian is left"),
        (["export", "{scene}", "{tmp}/x.ply", "--at", "1"], "--at"),
        (["export", "{scene}", "{tmp}/x.ply", "--cameras", "{scene}"], "--cameras"),
        (["info", "{tmp}"], "ply"),
        (["view", "{tmp}/nothing.spz"], "no such file"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(scene, tmp_path, arguments, sentence):
    if "cuda" in arguments and torch.cuda.is_available():
        return
    done = run(*[a.format(scene=scene, tmp=tmp_path) for a in arguments], code=2)
    message = done.stderr.strip()
    assert message.startswith("lyra: ") and "\n" not in message and "Traceback" not in message, message
    assert sentence.lower() in message.lower(), message
    assert list(tmp_path.iterdir()) == []


def test_a_bad_run_leaves_the_old_output(scene, tmp_path):
    out = tmp_path / "old.ply"
    out.write_bytes(b"mine")
    run("export", scene, out, "--min-opacity", "0.999", code=2)
    assert out.read_bytes() == b"mine"


def test_errors_speak_json_too(tmp_path):
    done = run("info", tmp_path / "none.ply", "--json", code=2)
    assert "no such file" in json.loads(done.stderr)["error"]


def test_view_serves_the_scene_until_it_is_stopped(scene):
    process = subprocess.Popen(
        [sys.executable, "-m", "lyra", "view", str(scene), "--no-browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().split(" at ")[1].split()[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"<html" in answer.read()
    finally:
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
