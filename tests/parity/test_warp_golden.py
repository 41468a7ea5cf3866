"""The 3D cache and its warp against the published code."""

from dataclasses import replace

import pytest
import torch
from golden_cases import Case, case, cases

from lyra.scene import Cameras
from lyra.scene.rotations import invert_rigid
from lyra.teacher.cache import Cache, CacheOptions

VARIANTS = {
    "plain": {"drop_edges": False, "hide_background": False},
    "plain_single": {"drop_edges": False, "hide_background": False, "group": 1},
    "filtered": {"hide_background": False},
    "filtered_fg": {},
}


def _cameras(recorded: Case, w2c: torch.Tensor) -> Cameras:
    """The published code puts pixel centres at integers: the same cameras in our convention have cx, cy + 0.5."""
    K = recorded.tensors["intrinsics"].clone()
    K[:2, 2] += 0.5
    c2w = invert_rigid(w2c)
    return Cameras(c2w, K.expand(len(w2c), 3, 3), recorded.config["width"], recorded.config["height"])


def _cache(recorded: Case, **changes) -> Cache:
    c, t = recorded.config, recorded.tensors
    published = CacheOptions(
        max_depth=float(c["depth_clamp"][1]),
        edge_ratio=c["boundary_ratio"],
        edge_window=c["boundary_window"],
        mesh_stride=c["mesh_downsample"],
        epsilon=c["mesh_epsilon"],
        relative_epsilon=False,
        sharpness=float(c["depth_weight_scale"]),
        group=c["chunk_of_frames"],
    )
    depth = torch.where(t["depth"] == -1, torch.nan, t["depth"])[:, 0]
    return Cache.from_depth(t["image"], depth, _cameras(recorded, t["input_w2c"][None]), replace(published, **changes))


@pytest.mark.parametrize("name", cases("warp"))
def test_points_and_edges(name):
    recorded = case(name)
    cache = _cache(recorded)
    recorded.check("points", cache.points[0])
    recorded.check("boundary_mask", cache.edge[0])
    recorded.check("reliable_mask", ~cache.edge[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", cases("warp"))
def test_warp_equals_the_published_one(name, variant):
    """Where the recorded result is stable under rounding, at least 99.8 % of the pixels agree. Worst seen: 99.9 %."""
    recorded = case(name)
    t = recorded.tensors
    warped = _cache(recorded, **VARIANTS[variant]).warp(_cameras(recorded, t["target_w2cs"]))
    stable = t[f"{variant}.stable"].bool()
    good = warped.mask == t[f"{variant}.mask"].bool()
    good &= ((warped.image - t[f"{variant}.image"]).abs() <= 1e-3).all(1)
    if f"{variant}.depth" in t:
        golden = t[f"{variant}.depth"]
        good &= (warped.depth - golden).abs() <= 2e-3 * golden.abs()
    assert good[stable].float().mean() >= 0.998, f"{variant}: {float(good[stable].float().mean()):.5f}"
