"""Files that other programs wrote (tests/assets/splats/README.md) are read as what they were made from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from io_scenes import covariance_gap, match, worst

from lyra import io
from lyra.io import spz
from lyra.scene import Gaussians

ASSETS = Path(__file__).parents[1] / "assets" / "splats"


@pytest.fixture(scope="module")
def source() -> Gaussians:
    return io.load(ASSETS / "source.ply")


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        # measured: 2.4e-7 everywhere but the rotation, 4e-7
        ("gsply.ply", {"means": 0, "scales": 1e-6, "opacities": 1e-6, "turn": 1e-6, "sh": 0}),
        # measured: means 1.2e-4, scales 3.1 %, sh 1.3e-2 (colour)
        ("gsply_v3.spz", {"means": 1.3e-4, "scales": 0.033, "opacities": 2.1e-3, "turn": 3e-6, "sh": 0.014}),
        ("gsply_v4.spz", {"means": 1.3e-4, "scales": 0.033, "opacities": 2.1e-3, "turn": 3e-6, "sh": 0.014}),
        # measured: means 5e-3 (11 bits over a chunk as large as the room), scales 0.1 %, sh 1.6e-2
        ("transform.compressed.ply", {"means": 6e-3, "scales": 3e-3, "opacities": 2.1e-3, "turn": 3e-6, "sh": 0.017}),
        ("transform_dc.sog", {"means": 1e-3, "scales": 0.03, "opacities": 4e-3, "turn": 2e-4, "colour": 0.02}),
    ],
)
def test_read(source, name, limits):
    if name == "gsply_v4.spz":
        pytest.importorskip("zstandard", reason="needs the extra zstd")
    errors = worst(source, match(source, io.load(ASSETS / name)))
    assert all(errors[part] <= limit for part, limit in limits.items()), errors


def test_spz_in_niantics_axes(source):
    """splat-transform 2.7.1 writes SPZ with y up; `axes` turns it, and its colour, back."""
    found = match(source, spz.load(ASSETS / "transform_rub.spz", axes="rub"))
    assert float(covariance_gap(source, found)) < 0.07 * float(source.scales.max()) ** 2  # scales within 3 %
    assert float((source.sh - found.sh).abs().max()) < 0.07  # measured 0.065: it keeps 4 bits


def test_gltf_faces_the_other_way(source):
    """splat-transform turns PLY by 180 degrees about z for glTF, we about x: both upright, half a turn apart."""
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    found = match(source, io.load(ASSETS / "transform.glb").transform(half_turn))
    assert float((source.means - found.means).abs().max()) < 1e-6
    assert float(covariance_gap(source, found)) < 1e-6
    assert float((source.sh[:, 0] - found.sh[:, 0]).abs().max()) < 1e-6


def test_export_of_the_reference():
    """The numbers that the reference exported; it adds 1e-8 to scales and clips opacities at 1e-6."""
    given = torch.from_numpy(np.load(ASSETS / "reference_export.npy"))
    found = io.load(ASSETS / "reference_export.ply")
    assert torch.allclose(found.means, given[:, :3])
    assert torch.allclose(found.opacities, given[:, 3], atol=2e-6)
    assert torch.allclose(found.scales, given[:, 4:7], rtol=1e-5, atol=2e-8)
    unit = torch.nn.functional.normalize(given[:, 7:11], dim=-1)
    assert torch.allclose(found.quats, unit, atol=1e-6)
    assert torch.allclose(found.rgb, given[:, 11:], atol=1e-6)
