"""Every scene format gives back what it was given, to the precision it promises in docs/formats.md."""

import logging
import math

import numpy as np
import pytest
import torch
from io_scenes import match, moving_scene, random_scene, worst

from lyra import io
from lyra.io import palette, storage
from lyra.scene import DynamicGaussians, Gaussians, InputError

EXACT = {"means": 0, "scales": 5e-7, "opacities": 2e-7, "colour": 0, "turn": 5e-7, "sh": 0}
# measured worst: spz means 8e-6, scales 3.2 %, opacity 2.0e-3, colour 1.4e-2, sh 4e-3;
# sog means 4e-4, scales 3.4 %, colour 5e-2 (rare values), sh 5e-3; lyra4d 3e-5, 0.4 %, 2.0e-3, 3.5e-3, 2e-3
PROMISES = {
    ".ply": EXACT,
    ".glb": EXACT,
    ".spz": {"means": 1e-5, "scales": 0.033, "opacities": 2.1e-3, "colour": 0.014, "turn": 3e-6, "sh": 0.014},
    ".splat": {"means": 0, "scales": 0, "opacities": 2.1e-3, "colour": 7.1e-3, "turn": 5e-5},
    ".sog": {"means": 1e-3, "scales": 0.05, "opacities": 2.1e-3, "colour": 0.06, "turn": 5e-5, "sh": 0.06},
    ".lyra4d": {"means": 1e-4, "scales": 0.004, "opacities": 2.1e-3, "colour": 3.6e-3, "turn": 5e-7, "sh": 3.6e-3},
}


@pytest.mark.parametrize("k", [1, 4, 9, 16])
@pytest.mark.parametrize("suffix", PROMISES)
def test_round_trip(tmp_path, suffix, k):
    """Each part of every Gaussian comes back within the promise; provenance where the format carries it."""
    scene = random_scene(700, k, seed=k)
    scene = Gaussians(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.sh.clamp(-1.7, 1.7), scene.seen
    )  # colours of .splat end at 0 and 1
    io.save(scene, tmp_path / f"a{suffix}")
    found = match(scene, io.load(tmp_path / f"a{suffix}"))
    errors = worst(scene, found)
    assert all(errors[name] <= limit for name, limit in PROMISES[suffix].items() if name in errors), errors
    assert found.sh.shape == (scene.sh[:, :1] if suffix == ".splat" else scene.sh).shape
    if suffix in (".ply", ".glb", ".lyra4d"):
        assert torch.equal(found.seen, scene.seen)
    else:
        assert found.seen is None
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", PROMISES)
def test_one_gaussian_and_extremes(tmp_path, suffix):
    """One Gaussian; opacities 0 and 1, scales of 0 and 300 units, colours far outside [0, 1]."""
    one = random_scene(1, 1, seed=5)
    io.save(one, tmp_path / f"one{suffix}")
    assert len(io.load(tmp_path / f"one{suffix}")) == 1
    scales = torch.tensor([[0.0, 1e-3, 300.0], [1e-4, 1e-4, 1e-4]])
    sh = torch.tensor([[[30.0, -30, 0]], [[0.0, 0, 0]]])
    quats = torch.tensor([[1.0, 0, 0, 0], [-0.5, 0.5, 0.5, 0.5]])
    hard = Gaussians(torch.tensor([[-5.0, 0, 1], [3, 2, 9]]), quats, scales, torch.tensor([0.0, 1.0]), sh)
    io.save(hard, tmp_path / f"hard{suffix}")
    found = match(hard, io.load(tmp_path / f"hard{suffix}"))
    assert bool(found.finite().all())
    assert found.opacities.tolist() == pytest.approx([0, 1], abs=1e-8)
    assert float(found.scales[0, 0]) < 5e-5 and float(found.scales[0, 2]) == pytest.approx(300, rel=0.04)
    assert float((found.quats * hard.quats).sum(-1).abs().min()) > 0.9999
    assert float(found.rgb[0, 0]) > 1 - 1e-6 and float(found.rgb[0, 1]) < 1e-6


@pytest.mark.parametrize("suffix", [*PROMISES, ".usdc", ""])
def test_refuses_what_no_file_can_hold(tmp_path, suffix):
    """Empty and non-finite scenes are refused in one sentence that names the file; nothing is left behind."""
    moving = suffix == ""
    broken = random_scene(5)
    broken = Gaussians(broken.means, broken.quats, broken.scales * float("nan"), broken.opacities, broken.sh)
    for scene in (Gaussians.empty(), broken):
        with pytest.raises(InputError, match=r"x.*(no Gaussians|NaN)"):
            io.save(DynamicGaussians.from_static(scene) if moving else scene, tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".lyra4d", ".usdc", ""])
def test_moving_scenes(tmp_path, suffix):
    """What is shown at each frame comes back."""
    if suffix == ".usdc":
        pytest.importorskip("pxr", reason="needs the extra usd")
    scene = moving_scene()
    io.save(scene, tmp_path / f"m{suffix}")
    io.save(scene, tmp_path / f"m{suffix}")  # a second time over the first
    found = io.load(tmp_path / f"m{suffix}")
    assert (found.duration, found.fps) == pytest.approx((scene.duration, scene.fps))
    for time in (scene.frame_times() + 0.01).tolist():
        given, shown = scene.at(time), found.at(time)
        errors = worst(given, match(given, shown))
        assert errors["means"] < 1e-4 and errors["scales"] < 0.005 and errors["sh"] < 0.004
        assert torch.equal(match(given, shown).seen, given.seen)
    assert len(list(tmp_path.iterdir())) == 1


def test_static_formats_refuse_motion(tmp_path):
    with pytest.raises(InputError, match=r"\.ply holds no scenes that move"):
        io.save(moving_scene(), tmp_path / "a.ply")


def test_options_and_suffixes_are_checked(tmp_path):
    scene = random_scene(3)
    for name, options, sentence in (
        ("a.ply", {"version": 3}, "does not know the option version; it has layout"),
        ("a.splat", {"scale": "metric"}, "it has none"),
        ("a.xyz", {}, "unknown suffix"),
        ("a.ply", {"layout": "mini"}, "'standard' or 'full'"),
        ("a.spz", {"version": 2}, "version 3 or 4"),
        ("a.spz", {"axes": "zup"}, "'ply' or 'rub'"),
        ("none/a.ply", {}, "does not exist"),
    ):
        with pytest.raises(InputError, match=sentence):
            io.save(scene, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_not_finite_are_dropped_with_a_warning(tmp_path, caplog):
    scene = random_scene(50, 4)
    io.save(scene, tmp_path / "a.ply")
    data = bytearray((tmp_path / "a.ply").read_bytes())
    row = 4 * 27
    data[len(data) - 3 * row : len(data) - 3 * row + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "a.ply").write_bytes(data)
    with caplog.at_level(logging.WARNING, "lyra.io"):
        found = io.load(tmp_path / "a.ply")
    assert len(found) == 49 and torch.equal(found.seen, scene.seen[torch.arange(50) != 47])
    assert "dropped 1 of 50" in caplog.text


def test_spz_chooses_its_step(tmp_path, caplog):
    """Steps of 2^-16 units by default, finer for tiny scenes, coarser with a warning for far ones."""
    near = random_scene(200, 1, seed=1)
    for factor, limit, warned in ((1, 1e-5, False), (1e-3, 5e-6, False), (1e4, 0.01, True), (4e5, 0.5, True)):
        scene = near.transform(torch.diag(torch.tensor([factor, factor, factor, 1.0])))
        scene = Gaussians(scene.means, scene.quats, near.scales * min(factor, 1), scene.opacities, scene.sh)
        caplog.clear()
        io.save(scene, tmp_path / "a.spz")
        error = float((match(scene, io.load(tmp_path / "a.spz")).means - scene.means).abs().max())
        assert error <= limit
        assert ("steps of" in caplog.text) == warned
    with pytest.raises(InputError, match="SPZ holds only"):
        io.save(near.transform(torch.diag(torch.tensor([1e7, 1e7, 1e7, 1.0]))), tmp_path / "b.spz")


def test_spz_variants(tmp_path):
    """Version 4 holds the same bytes as version 3; "rub" axes turn the scene and turn it back."""
    pytest.importorskip("zstandard", reason="needs the extra zstd")
    scene = random_scene(100, 16)
    io.save(scene, tmp_path / "a.spz")
    io.save(scene, tmp_path / "b.spz", version=4)
    io.save(scene, tmp_path / "c.spz", axes="rub")
    a, b = io.load(tmp_path / "a.spz"), io.load(tmp_path / "b.spz")
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("means", "quats", "scales", "sh"))
    c = io.load(tmp_path / "c.spz")
    assert torch.allclose(c.means * torch.tensor([1.0, -1, -1]), a.means, atol=1e-6)
    assert float((io.load(tmp_path / "c.spz", axes="rub").sh - a.sh).abs().max()) < 0.017  # two roundings of 1/128
    io.save(scene, tmp_path / "d.spz", sh_bits=(5, 4))
    assert (tmp_path / "d.spz").stat().st_size < 0.75 * (tmp_path / "a.spz").stat().st_size


def test_codebook_and_palette():
    """256 levels: the rms error is below that of even spacing; a palette of groups puts like to like."""
    values = np.random.default_rng(0).normal(size=(20000, 3))
    book, codes = palette.codebook(values)
    even = (values.max() - values.min()) / 255 / math.sqrt(12)
    assert np.sqrt(np.mean((book[codes] - values) ** 2)) < 0.75 * even  # measured 0.62
    entries, labels = palette.palette(values.astype(np.float32), levels=10)
    assert len(entries) == 1024
    assert np.mean((entries[labels] - values) ** 2) < 0.03 * values.var()  # measured 0.018; ideal lattice 0.012
    same, rows = palette.palette(values[:100].astype(np.float32))
    assert np.array_equal(same[rows], values[:100].astype(np.float32))


def test_smallest_three_is_exact_in_every_order():
    quats = random_scene(500).quats.numpy()
    for order in ([0, 1, 2, 3], [1, 2, 3, 0]):
        back = storage.from_smallest_three(*storage.smallest_three(quats[:, order]))
        assert np.abs(np.abs((back * quats[:, order]).sum(1)) - 1).max() < 1e-6
