"""The 3D cache: exact geometry where it is known, several source frames, hidden background, the triangle z-buffer."""

import math

import pytest
import torch

from lyra.scene import Cameras, InputError
from lyra.teacher import cache as cache_module
from lyra.teacher import warp
from lyra.teacher.cache import Cache, CacheOptions, depth_edges, warp_buffers, with_newest
from lyra.teacher.warp import triangle_depth

H, W = 40, 60


def _camera(*x: float) -> Cameras:
    c2w = torch.eye(4).repeat(len(x), 1, 1)
    c2w[:, 0, 3] = torch.tensor(x)
    return Cameras.from_fov(c2w, 60.0, W, H)


def _picture() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
    return torch.stack([torch.sin(6 * x), torch.cos(5 * y), torch.sin(4 * (x + y))])[None]


def test_warping_into_the_own_camera_gives_the_picture_back():
    """Away from the border, where rounding may push a pixel out. Worst difference 2e-4."""
    image = _picture()
    warped = Cache.from_depth(image, torch.full((1, H, W), 2.0), _camera(0.0)).warp(_camera(0.0))
    inner = (..., slice(6, -6), slice(6, -6))
    assert warped.mask[inner].all()
    assert (warped.image[inner] - image[inner]).abs().max() < 5e-3
    assert (warped.depth[inner] - 2).abs().max() < 1e-4


def test_a_wall_shifts_by_its_parallax():
    """A camera that moves by one pixel's width at the wall's depth sees the wall one pixel to the left."""
    focal = float(_camera(0.0).K[0, 0, 0])
    image = _picture()
    options = CacheOptions(drop_edges=False)
    warped = Cache.from_depth(image, torch.full((1, H, W), 2.0), _camera(0.0), options).warp(_camera(4 * 2.0 / focal))
    assert (warped.image[0, :, 2:-2, 2:-6] - image[0, :, 2:-2, 6:-2]).abs().max() < 5e-3
    assert not warped.mask[0, :, -3:].any() and (warped.image[0, :, :, -3:] == -1).all()


def test_near_points_win():
    depth = torch.full((1, H, W), 4.0)
    depth[:, :, W // 2 :] = 1.0
    image = torch.where(depth[:, None] < 2, 1.0, -0.5).expand(1, 3, H, W)
    options = CacheOptions(drop_edges=False, hide_background=False)
    warped = Cache.from_depth(image, depth, _camera(0.0), options).warp(_camera(0.3))
    overlap = warped.image[0, 0][(warped.depth[0] - 1).abs() < 1e-2]
    assert len(overlap) > 200 and (overlap - 1).abs().max() < 1e-2


def test_a_second_source_frame_fills_holes():
    depth = torch.full((2, H, W), 2.0)
    image = _picture().expand(2, -1, -1, -1)
    target = _camera(0.5)
    one = Cache.from_depth(image[:1], depth[:1], _camera(0.0)).warp(target)
    two = Cache.from_depth(image, depth, _camera(0.0, 0.5)).warp(target)
    assert one.mask.float().mean() < 0.85 and two.mask.float().mean() > 0.99


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_hiding_background_does_not_depend_on_the_unit_of_depth(scale):
    """The same scene in metres, centimetres or hundreds of metres keeps the same mask; worst share of changes 0."""
    depth = torch.full((1, H, W), 4.0)
    depth[:, 10:30, 20:40] = 1.0
    masks = []
    for unit in (1.0, scale):
        options = CacheOptions(max_depth=100 * unit, drop_edges=False, sharpness=50.0)
        cache = Cache.from_depth(_picture(), depth * unit, _camera(0.0), options)
        masks.append(cache.warp(_camera(0.4 * unit)).mask)
    assert (masks[0] == masks[1]).float().mean() > 0.995
    loose = Cache.from_depth(_picture(), depth, _camera(0.0), CacheOptions(drop_edges=False, hide_background=False))
    assert loose.warp(_camera(0.4)).mask.sum() > masks[0].sum()


def test_sky_is_the_farthest_thing_and_flat_depth_has_no_edges():
    depth = torch.full((1, H, W), 3.0)
    depth[:, :10] = torch.inf
    depth[:, 0, 0] = torch.nan
    cache = Cache.from_depth(_picture(), depth, _camera(0.0))
    assert (cache.points[0, :10, :, 2] == 100).all()
    edge = depth_edges(cache.points[..., 2], cache.options)[0]
    assert edge[9, 5:-5].all() and not edge[15:-3, 3:-3].any()


def _stairs() -> torch.Tensor:
    """Depth with slopes and steps, [1, H, W]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, H), torch.linspace(0, 1, W), indexing="ij")
    return (2 + x + 0.5 * y - 1.2 * ((x - 0.5).abs() < 0.15) * (y > 0.4))[None]


def _agree(a: warp.Warped, b: warp.Warped) -> float:
    """The share of pixels that are the same; points that round to another pixel make the rest."""
    same = (a.mask == b.mask) & ((a.image - b.image).abs() < 1e-3).all(1) & ((a.depth - b.depth).abs() < 1e-3 * b.depth)
    return float((same | ~(a.mask | b.mask)).float().mean())


@pytest.mark.parametrize("group", [1, 2])
def test_compiled_loops_equal_plain_torch(monkeypatch, group):
    """Also with a camera amid the scene, so that points and triangles lie behind it. Worst share that agrees 0.9995."""
    cameras = _camera(0.05, 0.3, -0.4, 0.11, 0.2)
    cameras.c2w[:, 1, 3] = 0.013  # rows that stay whole numbers would be doubly counted, or not, by rounding
    cameras.c2w[3, 2, 3] = 2.3
    options = CacheOptions(group=group)
    cache = Cache.from_depth(_picture(), _stairs(), _camera(0.0), options)
    compiled = cache.warp(cameras)
    monkeypatch.setattr(warp, "_compiled", lambda *_: None)
    plain = cache.warp(cameras)
    assert _agree(compiled, plain) > 0.998
    assert 0.2 < plain.mask.float().mean() < 0.99


def test_the_number_of_views_at_a_time_changes_nothing(monkeypatch):
    cameras = _camera(0.05, 0.3, -0.4, 0.1, 0.2)
    cache = Cache.from_depth(_picture(), _stairs(), _camera(0.0))
    whole = cache.warp(cameras)
    monkeypatch.setattr(cache_module, "_POINTS", 2 * H * W)
    parts = cache.warp(cameras)
    assert torch.equal(whole.image, parts.image) and torch.equal(whole.mask, parts.mask)


@pytest.mark.parametrize("plain", [False, True])
def test_frame_by_frame_shows_each_camera_its_own_moment(monkeypatch, plain):
    """The same as three caches of one frame; with all frames at once more is seen."""
    if plain:
        monkeypatch.setattr(warp, "_compiled", lambda *_: None)
    monkeypatch.setattr(cache_module, "_POINTS", 2 * H * W)
    image = torch.stack([_picture()[0] * f for f in (1.0, 0.5, -0.2)])
    depth = torch.cat([_stairs(), _stairs() + 0.1, _stairs().flip(2)])
    sources, targets = _camera(0.0, 0.1, 0.2), _camera(0.3, 0.0, 0.4)
    together = Cache.from_depth(image, depth, sources).warp(targets, per_frame=True)
    for i in range(3):
        one = Cache.from_depth(image[i : i + 1], depth[i : i + 1], sources[i : i + 1]).warp(targets[i : i + 1])
        assert torch.equal(one.mask[0], together.mask[i]) and torch.allclose(one.image[0], together.image[i])
    assert Cache.from_depth(image, depth, sources).warp(targets).mask.sum() > together.mask.sum()
    with pytest.raises(InputError, match="3 frames, got 2"):
        Cache.from_depth(image, depth, sources).warp(targets[:2], per_frame=True)


def test_buffers_are_stacked_newest_first():
    old, new = (Cache.from_depth(_picture() * f, _stairs(), _camera(0.0)) for f in (1.0, 0.5))
    images, masks = warp_buffers([new, old], _camera(0.1, 0.2))
    assert images.shape == (1, 2, 2, 3, H, W) and masks.shape == (1, 2, 2, 1, H, W)
    assert torch.equal(images[0, :, 0], new.warp(_camera(0.1, 0.2)).image)
    third = Cache.from_depth(_picture() * -1, _stairs(), _camera(0.0))
    assert with_newest([old], new, 2) == [new, old]
    assert with_newest([new, old], third, 2) == [third, old]


def test_gradients_reach_the_picture():
    image = _picture().requires_grad_()
    warped = Cache.from_depth(image, _stairs(), _camera(0.0)).warp(_camera(0.2))
    warped.image.sum().backward()
    assert (image.grad != 0).any(1).float().mean() > 0.5


def test_options_mean_the_same_at_other_sizes():
    """At 1280 pixels they are the published ones; a slanted wall is no edge at any width."""
    assert CacheOptions.for_width(1280) == CacheOptions(edge_ratio=0.05, edge_window=5, mesh_stride=4)
    assert CacheOptions(edge_ratio=0.3).complete(448) == CacheOptions(edge_ratio=0.3, edge_window=3, mesh_stride=2)
    for width in (448, 1280):
        x = torch.linspace(-1, 1, width).expand(9, width)
        options = CacheOptions.for_width(width)
        assert not depth_edges((3 / (1.0 - 0.8 * x))[None], options)[0, 3:-3, 3:-3].any()


def test_triangle_depth_equals_brute_force():
    """Every ray against every triangle, also those that reach behind the camera. Worst relative difference 1e-14."""
    generator = torch.Generator().manual_seed(0)
    corners = 0.2 * torch.randn(24, 3, 3, generator=generator, dtype=torch.float64)
    corners[..., 2] += torch.linspace(0.3, 4, 24, dtype=torch.float64)[:, None]
    camera = _camera(0.0).to(torch.float64)
    corners[3, 0, 2] = -0.3
    got = triangle_depth(corners, torch.zeros(24, dtype=torch.long), camera)[0]
    rays = camera._camera_directions()[0].reshape(-1, 1, 3)
    system = torch.stack(
        [rays.expand(-1, 24, -1), *((corners[:, 0] - corners[:, k]).expand(H * W, -1, -1) for k in (1, 2))], -1
    )
    solved = torch.linalg.solve(system, corners[:, 0].expand(H * W, -1, -1)[..., None])[..., 0]
    z, u, v = solved.unbind(-1)
    expected = torch.where((u >= 0) & (v >= 0) & (u + v <= 1) & (z > 0), z, math.inf).amin(-1).reshape(H, W)
    assert torch.equal(got.isfinite(), expected.isfinite()) and 0.2 < expected.isfinite().float().mean() < 1
    seen = expected.isfinite()
    assert ((got - expected)[seen].abs() / expected[seen]).max() < 1e-9


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="30x20"):
        Cache.from_depth(_picture(), torch.ones(1, H, W), _camera(0.0).resize(20, 30))
