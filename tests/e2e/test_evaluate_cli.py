"""`lyra evaluate`: a scene against pictures of itself is nearly perfect; pictures that do not fit are named."""

import json
import sys

import pytest
import torch

import lyra
from lyra.cli import main
from lyra.io.cameras import save_cameras
from lyra.io.images import save_image
from lyra.render import render
from lyra.scene import Cameras, Gaussians


@pytest.fixture
def folder(tmp_path):
    """A scene of 200 blobs with two true pictures on a grey background."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(200, 3, generator=generator) * torch.tensor([1.0, 0.6, 0.5]) + torch.tensor([0.0, 0.0, 4.0])
    quats = torch.tensor([1.0, 0, 0, 0]).expand(200, 4)
    colours = torch.rand(200, 3, generator=generator)
    scene = Gaussians.from_rgb(means, quats, torch.full((200, 3), 0.1), torch.full((200,), 0.8), colours)
    lyra.save(scene, tmp_path / "blobs.ply")
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[1, 0, 3] = 0.3
    cameras = Cameras.from_fov(c2w, 60.0, 64, 48)
    save_cameras(cameras, tmp_path / "cameras.json", ["a.png", "b.png"])
    for name, picture in zip("ab", render(scene, cameras, torch.full((3,), 0.5)).rgb, strict=True):
        save_image(picture.clamp(0, 1), tmp_path / f"{name}.png")
    return tmp_path


def _run(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["lyra", "evaluate", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_a_scene_equals_its_own_pictures(folder, monkeypatch, capsys):
    """57.4 dB: the pictures have 8 bits."""
    grey = ("--background", "0.5", "0.5", "0.5", "--json")
    assert _run(monkeypatch, folder / "blobs.ply", "--truth", folder, *grey) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pictures"] == 2 and facts["psnr"] > 55 and facts["ssim"] > 0.999
    assert [row["image"] for row in facts["images"]] == ["a.png", "b.png"]
    assert _run(monkeypatch, folder / "blobs.ply", "--truth", folder / "cameras.json") == 0
    assert capsys.readouterr().out.startswith("2 pictures: PSNR ")


def test_a_picture_of_another_size_is_named(folder, monkeypatch, capsys):
    save_image(torch.zeros(3, 10, 20), folder / "b.png")
    assert _run(monkeypatch, folder / "blobs.ply", "--truth", folder) == 2
    assert "b.png: has 20x10 pixels, but its camera has 64x48" in capsys.readouterr().err
