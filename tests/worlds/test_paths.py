"""Free space, the six trajectories, free walks: parity with the published formula, clearance, coverage of surfaces."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load
from scipy.spatial import cKDTree

from worlds.paths.freespace import room_space, surface_points, triangles_of, voxelise
from worlds.paths.plan import CLEARANCE, Lens, free_walk, six_paths
from worlds.paths.sparse import GRID, median_depth, sparse_depth
from worlds.paths.starts import intrinsics, look, look_along, probe, starts
from worlds.paths.trajectories import SIX, trajectory, views
from worlds.paths.walks import KINDS, catmull_rom, walk
from worlds.rooms.build import build_room
from worlds.rooms.builtin import builtin_library

GOLDEN = Path(__file__).parents[1] / "assets" / "golden"
ASPECT = 448 / 256


@pytest.fixture(scope="module")
def golden():
    tensors = lzma.decompress((GOLDEN / "trajectories.safetensors.xz").read_bytes())
    return json.loads((GOLDEN / "trajectories.json").read_text()), load(tensors)


@pytest.fixture(scope="module")
def flat():
    """A room with its free space and starts."""
    world = build_room(3, builtin_library()).world
    triangles = triangles_of(world)
    space = room_space(world, triangles)
    lens = Lens(70.0, ASPECT)
    found = starts(space, world, lens.fov, lens.aspect, np.random.default_rng(0))
    return world, triangles, space, lens, found


def test_views_are_the_published_ones(golden):
    """Worst difference 2.4e-7: the golden matrices are float32."""
    record, tensors = golden
    for kind in record["config"]["types"]:
        distance = 0.25 if "clock" not in kind else 0.5
        made = views(kind, distance, 1.0, 121)
        np.testing.assert_allclose(made, tensors[f"long.{kind}.center_facing"], atol=2e-6)


def test_the_six_follow_any_first_camera(golden):
    """The set from an arbitrary first camera, as saved c2w, folders in the order 5, 0, 1, 2, 3, 4; worst 2e-6."""
    _, tensors = golden
    first = np.linalg.inv(tensors["initial_w2c"].astype(np.float64))
    made = [trajectory(first, six.kind, 0.5 * (six.low + six.high), 1.0, 11) for six in SIX]
    np.testing.assert_allclose(np.concatenate([made[i] for i in (5, 0, 1, 2, 3, 4)]), tensors["multi.c2w"], atol=1e-5)


def test_the_six_follow_a_moving_first_camera(golden):
    record, tensors = golden
    first = np.linalg.inv(tensors["initial_w2c_per_frame"].astype(np.float64))
    distance = record["config"]["per_frame"]["distance"]
    for kind in record["config"]["types"]:
        made = np.linalg.inv(trajectory(first, kind, distance, 1.0, 11))
        np.testing.assert_allclose(made, tensors[f"per_frame.{kind}"], atol=2e-5)


def test_the_set_is_the_published_table(golden):
    table = golden[0]["multi_trajectory_set"]["table"]
    for edge, name in (("low", "factor=1.0 u=0.0"), ("high", "factor=1.0 u=1.0")):
        assert [(six.kind, getattr(six, edge)) for six in SIX] == [
            (row["type"], row["distance"]) for row in table[name]
        ]


def test_surface_points_leave_no_gap():
    """Any point of a random triangle has a sample within the spacing."""
    rng = np.random.default_rng(1)
    triangles = rng.uniform(-1.0, 1.0, (40, 3, 3)).astype(np.float32)
    triangles[:5] *= 0.01
    points = surface_points(triangles, 0.05)
    weights = rng.dirichlet((1, 1, 1), (40, 50))
    probes = np.einsum("npk,nkj->npj", weights, triangles).reshape(-1, 3)
    gaps, _ = cKDTree(points).query(probes)
    assert gaps.max() < 0.05


def test_clearance_never_flatters():
    """The reported clearance is at most the true distance to a sphere's surface; casts hit it within 1.5 voxels but for
    at most 1 % of the rays (0.7 % measured)."""
    rng = np.random.default_rng(2)
    u, v = np.meshgrid(np.linspace(0, np.pi, 40), np.linspace(0, 2 * np.pi, 80))
    ball = np.stack([np.sin(u) * np.cos(v), np.cos(u), np.sin(u) * np.sin(v)], axis=-1)
    a, b, c, d = ball[:-1, :-1], ball[1:, :-1], ball[1:, 1:], ball[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], 2), np.stack([a, c, d], 2)]).reshape(-1, 3, 3).astype(np.float32)
    space = voxelise(triangles, np.full(3, -2.0), np.full(3, 2.0), 0.06)
    points = rng.uniform(-1.9, 1.9, (4000, 3))
    assert (space.clearance(points) <= np.abs(np.linalg.norm(points, axis=1) - 1.0) + 2e-3).all()
    directions = rng.normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = space.cast(-1.8 * directions, directions)
    assert np.mean(np.abs(seen - 0.8) > 0.09) <= 0.01


def test_rays_that_leave_hit_nothing():
    space = voxelise(np.zeros((0, 3, 3), np.float32), np.zeros(3), np.ones(3), 0.1)
    assert np.isinf(space.cast(np.full((1, 3), 0.5), np.array([[1.0, 0.0, 0.0]]))).all()


def test_starts_look_at_furniture_with_a_level_horizon(flat):
    world, _, _, _, found = flat
    assert len(found) > 10
    for c2w, seen in found:
        assert seen.good(world.near_scale) and seen.content > 0.1
        assert abs(c2w[1, 0]) < 0.06 and c2w[1, 1] < 0.0  # +y of the camera points down
        assert 0.75 < c2w[1, 3] < 2.05


def test_sparse_depth_is_exact(flat):
    """Against every ray with every triangle, worst 2e-4 of the value; the voxel probe's median is within 20 %."""
    _, triangles, _, lens, found = flat
    c2w, seen = found[0]
    depth = sparse_depth(triangles, c2w, lens.fov, lens.aspect)
    columns, rows = GRID
    half = np.tan(np.radians(lens.fov) / 2)
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns * 2 - 1, (np.arange(rows) + 0.5) / rows * 2 - 1)
    rays = np.stack([x * half, y * half / lens.aspect, np.ones_like(x)], axis=-1) @ c2w[:3, :3].T
    a, b, c = np.moveaxis(triangles.astype(np.float64), 1, 0)
    e1, e2 = b - a, c - a
    away = c2w[:3, 3] - a
    for row, column in np.random.default_rng(0).integers((0, 0), (rows, columns), (60, 2)):
        ray = rays[row, column]
        across = np.cross(ray, e2)
        det = np.einsum("ni,ni->n", e1, across)
        det = np.where(np.abs(det) < 1e-12, np.inf, det)
        turned = np.cross(away, e1)
        u, v = np.einsum("ni,ni->n", away, across) / det, turned @ ray / det
        z = np.einsum("ni,ni->n", e2, turned) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (z > 0.02) & np.isfinite(det)
        expected = z[hit].min() if hit.any() else np.inf
        assert depth[row, column] == pytest.approx(expected, rel=1e-3)
    assert abs(median_depth(triangles, c2w, lens.fov, lens.aspect) / seen.median - 1.0) < 0.2


def test_six_paths_keep_clear_and_start_together(flat):
    world, triangles, space, lens, found = flat
    made = None
    for c2w, seen in found:
        made = six_paths(space, c2w, seen.median, lens, world.near_scale, np.random.default_rng(1), 25)
        if made:
            break
    assert made and [path.name for path in made] == [six.kind for six in SIX]
    surface = cKDTree(surface_points(triangles, 0.04))
    for path, six in zip(made, SIX, strict=True):
        np.testing.assert_allclose(path.c2w[0], c2w, atol=1e-9)
        assert 0.25 * six.low <= path.distance <= six.high
        expected = trajectory(c2w, six.kind, path.distance, seen.median, 25)
        np.testing.assert_array_equal(path.c2w, expected)
        gaps, _ = surface.query(path.c2w[:, :3, 3])
        assert gaps.min() >= CLEARANCE * world.near_scale


def test_no_path_into_a_wall(flat):
    """A camera with its back to a wall has no zoom-out: the set is refused."""
    world, _, space, lens, _ = flat
    low = triangles_of(world).min(axis=(0, 1))
    stuck = look(np.array([low[0] + 0.75, 1.5, 0.0]), 0.5 * np.pi, 0.0)
    assert six_paths(space, stuck, 3.0, lens, world.near_scale, np.random.default_rng(0), 25) is None


@pytest.mark.parametrize("kind", KINDS)
def test_walks_are_smooth_rigid_and_begin_at_the_start(kind):
    start = look(np.array([0.3, 1.5, -0.2]), 0.7, -0.2, 0.01)
    path = walk(start, kind, 2.5, 2.0, 25, np.random.default_rng(4))
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    np.testing.assert_allclose(
        path[:, :3, :3] @ path[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(25, 0), atol=1e-9
    )
    steps = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    assert 0.1 < steps.sum() < 4.0 and steps.max() < 4.0 * steps.mean()


def test_free_walks_keep_clear(flat):
    world, _, space, lens, found = flat
    made = [
        free_walk(space, c, seen.median, lens, world.near_scale, np.random.default_rng(5), 25) for c, seen in found[:6]
    ]
    made = [path for path in made if path]
    assert made
    for path in made:
        assert space.clearance(path.c2w[:, :3, 3]).min() >= CLEARANCE * world.near_scale


def test_catmull_rom_passes_its_knots():
    knots = np.random.default_rng(6).normal(size=(5, 3))
    np.testing.assert_allclose(catmull_rom(knots, np.linspace(0, 1, 5)), knots, atol=1e-12)


def test_cameras_have_opencv_axes():
    pose = look(np.zeros(3), 0.0, 0.0)
    np.testing.assert_allclose(pose[:3, :3], np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]), atol=1e-12)
    assert np.isclose(np.linalg.det(look_along(np.zeros(3), np.array([1.0, 0.4, 0.2]))[:3, :3]), 1.0)
    K = intrinsics(448, 256, 90.0)
    assert np.allclose([K[0, 0], K[0, 2], K[1, 2]], [224.0, 224.0, 128.0])


def test_probe_reports_the_void():
    space = voxelise(np.zeros((0, 3, 3), np.float32), np.zeros(3), np.ones(3), 0.1)
    (seen,) = probe(space, look(np.full(3, 0.5), 0.0, 0.0)[None], 70.0, ASPECT, 2.0)
    assert seen.hit == 0.0 and not seen.good(2.0)
