"""The renderer against analytic answers: depth, projection, motion, ids, light, determinism, and warping."""

from dataclasses import replace

import moderngl
import numpy as np
import pytest
from render_scenes import (
    GREY,
    OFF_CENTRE,
    SIZE,
    checkerboard,
    flat_sky,
    forward_camera,
    furnished,
    placed,
    rays,
    sliding_box,
    square,
    world,
)

from worlds.errors import WorldsError
from worlds.paths.starts import intrinsics, look, look_along
from worlds.render import Renderer
from worlds.render.exposure import tone
from worlds.rooms.shapes import box
from worlds.scene import Frames, Instance, Material, Mover, Sun, Texture, World


@pytest.fixture(scope="module")
def renderer():
    with Renderer(SIZE, supersample=3) as made:
        yield made


@pytest.fixture(scope="module")
def even_renderer():
    with Renderer(SIZE, supersample=2) as made:
        yield made


def draw(renderer: Renderer, scene: World, c2w: np.ndarray, K: np.ndarray, times=(0.0,), **options) -> Frames:
    stage = renderer.upload(scene)
    count = len(times)
    c2w = np.broadcast_to(c2w, (count, 4, 4))
    frames = renderer.render(stage, c2w, np.broadcast_to(K, (count, 3, 3)), np.asarray(times), **options)
    stage.release()
    return frames


def luma(frames: Frames) -> np.ndarray:
    return frames.rgb.astype(float).mean(axis=-1)


@pytest.mark.parametrize("which", ["renderer", "even_renderer"])
def test_a_tilted_plane_has_its_exact_depth_at_pixel_centres(which, request):
    # worst relative error measured: 3.4e-7
    up = np.asarray([0.0, 0.8, 0.6])
    scene = world([placed(square((0.3, 0.2, 3.0), 20.0, GREY, up=up))])
    eye = np.asarray([0.4, 0.1, -0.5])
    frames = draw(request.getfixturevalue(which), scene, forward_camera(eye), OFF_CENTRE)
    normal = np.cross([1.0, 0.0, 0.0], up)
    expected = normal @ (np.asarray([0.3, 0.2, 3.0]) - eye) / (rays(forward_camera(eye), OFF_CENTRE) @ normal)
    hit = frames.ids[0] == 1
    assert hit.mean() > 0.9
    assert np.abs(frames.depth[0] / expected - 1)[hit].max() < 1e-5
    assert np.isinf(frames.depth[0][~hit]).all()


def test_far_from_the_origin_depth_stays_exact(renderer):
    # worst relative error measured: 2.4e-7; float32 vertices 4 km from the origin can be 0.24 mm (5e-5) off
    far = np.asarray([4000.0, 50.0, -4000.0])
    frames = draw(renderer, world([placed(square((0, 0, 5.0), 30.0, GREY), far)]), forward_camera(far), OFF_CENTRE)
    assert np.abs(frames.depth[0] / 5.0 - 1).max() < 1e-4


@pytest.mark.parametrize("which", ["renderer", "even_renderer"])
def test_a_checkerboard_projects_where_the_pinhole_says(which, request):
    board = Material((1.0, 1.0, 1.0), checkerboard(8))
    scene = world([placed(square((0, 0, 2.0), 2.0, board))])
    c2w = look_along(np.asarray([0.5, 0.3, 0.4]), np.asarray([-0.25, -0.1, 1.0]), 0.2)
    frames = draw(request.getfixturevalue(which), scene, c2w, OFF_CENTRE)

    def cell(offset):
        directions = rays(c2w, OFF_CENTRE + np.asarray([[0, 0, -offset[0]], [0, 0, -offset[1]], [0, 0, 0]]))
        points = c2w[:3, 3] + directions * ((2.0 - c2w[2, 3]) / directions[..., 2:])
        return np.floor((points[..., 0] + 1) * 4), np.floor((1 - points[..., 1]) * 4)

    corners = [cell(o) for o in ((0, 0), (-0.8, -0.8), (0.8, -0.8), (-0.8, 0.8), (0.8, 0.8))]
    inside = np.all([(c[0] == corners[0][0]) & (c[1] == corners[0][1]) for c in corners], axis=0)
    inside &= np.all([(a >= 0) & (a < 8) for a in corners[0]], axis=0)
    white = (corners[0][0] + corners[0][1]) % 2 == 0
    assert inside.sum() > 300
    assert ((luma(frames)[0] > 100) == white)[inside].all()


def test_ids_name_instances_and_leave_the_sky_empty(renderer):
    boxes = [placed(box((0, 0, 0), (1, 1, 1), GREY), (x, 0, 4.0)) for x in (1.0, -1.0)]
    frames = draw(renderer, world(boxes), forward_camera(), OFF_CENTRE)
    directions = rays(forward_camera(), OFF_CENTRE) * 3.5
    for number, x in ((1, 1.0), (2, -1.0)):
        face = (np.abs(directions[..., 0] - x) < 0.5) & (np.abs(directions[..., 1]) < 0.5)
        assert face.sum() > 100 and (frames.ids[0][face] == number).all()
        assert np.abs(frames.depth[0][face] - 3.5).max() < 1e-5
    assert set(np.unique(frames.ids)) == {0, 1, 2}
    assert (np.isinf(frames.depth) == (frames.ids == 0)).all()


def test_a_sliding_box_moves_with_its_velocity_and_changes_ids_only_where_it_is(renderer):
    # worst velocity error measured: 1.9e-5 m/s
    velocity = np.asarray([0.7, -0.2, 0.4])
    wall = placed(square((0, 0, 8.0), 30.0, GREY))
    scene = world([wall], (sliding_box(velocity),), sun=Sun((0.2, -0.5, 0.8), (4, 4, 4)))
    times = np.asarray([0.0, 0.9, 2.0, 3.0])
    frames = draw(renderer, scene, forward_camera(), OFF_CENTRE, times, motion=True, normals=True)
    mover = frames.ids == 2
    assert (mover.sum(axis=(1, 2)) > 50).all()
    assert np.abs(frames.motion[:3][mover[:3]] - velocity).max() < 2e-4
    assert np.abs(frames.motion[3]).max() == 0  # it stands still after its last key
    assert np.abs(frames.motion[~mover]).max() == 0
    changed = frames.ids[0] != frames.ids[1]
    assert changed.any() and not (changed & ~(mover[0] | mover[1])).any()
    middle = np.asarray([0.0, 0.0, 4.0]) + 0.9 * velocity
    near = mover[1] & (np.abs(frames.normals[1] @ np.asarray([0, 0, -1.0]) - 1) < 1e-3)
    assert np.abs(frames.depth[1][near] - (middle[2] - 0.5)).max() < 1e-4


def test_a_turning_box_moves_as_omega_cross_r(renderer):
    # worst error measured: 3.9e-5 m/s
    omega, keys = 1.5, np.linspace(0, 2, 5)
    transforms = np.repeat(np.eye(4)[None], 5, axis=0)
    transforms[:, 2, 3] = 4.0
    for matrix, t in zip(transforms, keys, strict=True):
        c, s = np.cos(omega * t), np.sin(omega * t)
        matrix[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    turning = Mover(Instance(box((0, 0, 0), (1, 1, 1), GREY), np.eye(4)), keys, transforms)
    frames = draw(renderer, world([], (turning,)), forward_camera(), OFF_CENTRE, (0.65,), motion=True)
    hit = frames.ids[0] == 1
    points = rays(forward_camera(), OFF_CENTRE)[hit] * frames.depth[0][hit][:, None] - [0, 0, 4.0]
    expected = omega * np.stack([points[:, 2], 0 * points[:, 0], -points[:, 0]], axis=-1)
    assert hit.sum() > 200 and np.abs(frames.motion[0][hit] - expected).max() < 2e-4


def test_poses_are_interpolated_and_their_velocity_measured(renderer):
    mesh = square((0, 0, 4.0), 3.0, GREY)
    poses = np.stack([mesh.positions, mesh.positions + np.float32([0, 0, 1.0])])
    breathing = Mover(Instance(mesh, np.eye(4)), np.zeros(1), np.eye(4)[None], poses, 2.0)
    frames = draw(renderer, world([], (breathing,)), forward_camera(), OFF_CENTRE, (0.125, 0.625), motion=True)
    hit = frames.ids == 1
    assert np.abs(frames.depth[0][hit[0]] - 4.25).max() < 1e-5  # a quarter of the way, towards the second pose
    assert np.abs(frames.depth[1][hit[1]] - 4.75).max() < 1e-5  # and looping back
    assert np.abs(frames.motion[0][hit[0]] - [0, 0, 2.0]).max() < 1e-3
    assert np.abs(frames.motion[1][hit[1]] + [0, 0, 2.0]).max() < 1e-3


def test_the_same_call_gives_the_same_bytes(renderer):
    scene = world(furnished().instances, (sliding_box((0.3, 0, 0), (0, 1.2, 0)),), sun=furnished().sun)
    c2w, K = look(np.asarray([0.0, 1.4, -1.6]), 0.1, -0.2), intrinsics(SIZE[1], SIZE[0], 80.0)
    runs = [draw(renderer, scene, c2w, K, (0.0, 0.5), normals=True, motion=True) for _ in range(2)]
    for name in ("rgb", "depth", "ids", "normals", "motion"):
        assert getattr(runs[0], name).tobytes() == getattr(runs[1], name).tobytes(), name


def warp_psnr(frames: Frames, i: int, j: int) -> float:
    """PSNR of frame j against frame i, looked up through frame i's depth where both see the same surface."""
    K, first, second = frames.K[i], frames.c2w[i], frames.c2w[j]
    points = first[:3, 3] + rays(first, K) * frames.depth[i][..., None]
    local = (points - second[:3, 3]) @ second[:3, :3]
    z = local[..., 2]
    u, v = ((local @ K.T)[..., k] / np.where(z > 0, z, 1) - 0.5 for k in (0, 1))
    x, y = np.floor(u).astype(int), np.floor(v).astype(int)
    ok = (z > 0.1) & (x >= 0) & (y >= 0) & (x < SIZE[1] - 1) & (y < SIZE[0] - 1) & np.isfinite(z)
    x, y, fx, fy = x[ok], y[ok], (u - x)[ok], (v - y)[ok]
    taps = [(y + b, x + a, (fx if a else 1 - fx) * (fy if b else 1 - fy)) for a in (0, 1) for b in (0, 1)]
    depth = np.stack([frames.depth[j][ty, tx] for ty, tx, _ in taps])
    seen = np.abs(depth / z[ok] - 1).max(axis=0) < 0.03
    colour = sum(frames.rgb[j][ty, tx].astype(float) * w[:, None] for ty, tx, w in taps)
    assert seen.mean() > 0.4
    return float(10 * np.log10(255**2 / np.mean((colour - frames.rgb[i][ok])[seen] ** 2)))


def test_warping_by_depth_and_pose_agrees_with_the_other_view(renderer):
    # measured 35.1 to 41.2 dB, median 35.8 (96 x 64 px, textured room with sun patches)
    K = intrinsics(SIZE[1], SIZE[0], 70.0)
    stage = renderer.upload(furnished())
    scores = []
    for yaw in (-0.5, 0.0, 0.5):
        poses = [look(np.asarray([x, 1.5, -1.5]), yaw + turn, -0.3) for x, turn in ((-0.2, 0.0), (0.1, -0.08))]
        frames = renderer.render(stage, np.stack(poses), np.stack([K, K]), np.zeros(2))
        scores += [warp_psnr(frames, 0, 1), warp_psnr(frames, 1, 0)]
    stage.release()
    assert np.median(scores) > 30, scores


def test_the_sun_casts_the_shadow_that_geometry_says_and_movers_cast_too(renderer):
    def floor(side):
        return placed(square((0, 0, 0), side, GREY, up=(0, 0, -1.0)))

    sun = Sun((0.6, -0.8, 0.0), (6, 6, 6))  # a point at height h shades the floor 0.75 h further along x
    c2w = look_along(np.asarray([0.0, 9.0, 0.0]), np.asarray([0.0, -1.0, 1e-6]))
    K = intrinsics(SIZE[1], SIZE[0], 60.0)
    points = c2w[:3, 3] + rays(c2w, K) * 9.0
    for scene in (
        world([floor(12.0), placed(box((0, 0, 0), (1, 1, 1), GREY), (0, 1.5, 0))], sun=sun),
        world([floor(900.0), placed(box((0, 0, 0), (1, 1, 1), GREY), (0, 1.5, 0))], sun=sun),  # needs the finer map
        world([floor(12.0)], (sliding_box((0, 0, 0), (0, 1.5, 0)),), sun=sun),
    ):
        frames = draw(renderer, scene, c2w, K)
        x, z = points[..., 0] - 0.75 * 1.5, points[..., 2]
        ground = (frames.ids[0] == 1) & (np.abs(points[..., 0]) < 3)
        shaded = ground & (np.abs(x) < 0.7) & (np.abs(z) < 0.35) & (points[..., 0] > 0.8)
        lit = ground & ((np.abs(x) > 1.1) | (np.abs(z) > 0.7))
        assert shaded.sum() > 20 and lit.sum() > 200
        assert luma(frames)[0][shaded].max() < 0.75 * luma(frames)[0][lit].min()


def test_the_ground_closely_under_a_mover_is_darker(renderer):
    floor = placed(square((0, 0, 0), 12.0, GREY, up=(0, 0, -1.0)))
    c2w = look_along(np.asarray([0.0, 2.0, -4.0]), np.asarray([0.0, -0.45, 1.0]))
    K = intrinsics(SIZE[1], SIZE[0], 60.0)
    frames = draw(renderer, world([floor], (sliding_box((0, 0, 0), (0, 0.65, 0)),)), c2w, K)
    points = c2w[:3, 3] + rays(c2w, K) * np.where(frames.ids[0] == 1, frames.depth[0], 0)[..., None]
    ground, away = frames.ids[0] == 1, np.abs(points[..., [0, 2]]).max(axis=-1)
    under, clear = ground & (away < 0.5), ground & (away > 1.2) & (away < 2.0)
    assert under.sum() > 10 and luma(frames)[0][under].mean() < 0.9 * luma(frames)[0][clear].mean()


def test_light_bounces_off_a_red_wall(renderer):
    # red over green measured: 1.36 beside the red wall, 1.04 beside the white one
    frames = draw(
        renderer, furnished(), look(np.asarray([0.0, 1.4, -1.7]), 0.0, -0.3), intrinsics(SIZE[1], SIZE[0], 90.0)
    )
    wall = frames.ids[0] == 5  # the white far wall, between the red wall on the image's right and a grey one
    columns = np.nonzero(wall)[1]
    ratio = frames.rgb[0, ..., 0] / frames.rgb[0, ..., 1].astype(float)
    near_red = wall & (np.arange(SIZE[1])[None] > np.quantile(columns, 0.85))
    near_white = wall & (np.arange(SIZE[1])[None] < np.quantile(columns, 0.15))
    assert np.median(ratio[near_red]) > 1.15 * np.median(ratio[near_white])


def test_baked_levels_are_lit_by_their_lightmaps(renderer):
    # brightness ratio expected 0.3660, measured 0.3670 (8-bit output)
    halves = np.full((8, 8, 4), 255, np.uint8)
    halves[:, :4, :3], halves[:, 4:, :3] = 204, 102
    mesh = square((0, 0, 2.0), 9.0, GREY)
    mesh = replace(mesh, lightmap=Texture("halves", halves), lightmap_uvs=mesh.uvs)
    sun = Sun((0.0, 0.0, 1.0), (9, 9, 9))  # must not matter
    frames = draw(renderer, world([placed(mesh)], sun=sun), forward_camera(), OFF_CENTRE)
    table = np.linspace(0, 2, 20000)
    linear = np.interp(luma(frames)[0] / 255, tone(table), table)
    right, left = np.median(linear[:, :10]), np.median(linear[:, -10:])  # the image's right is world -x
    assert abs(right / left - 0.5**1.45) < 0.005


def test_masked_faces_show_what_is_behind_their_holes(renderer):
    fence = Material((1.0, 1.0, 1.0), checkerboard(4, alpha=True), "mask")
    scene = world([placed(square((0, 0, 2.0), 2.0, fence)), placed(square((0, 0, 3.0), 9.0, GREY))])
    frames = draw(renderer, scene, forward_camera(), OFF_CENTRE)
    points = rays(forward_camera(), OFF_CENTRE) * 2.0
    cells = np.stack([(points[..., 0] + 1) * 2, (1 - points[..., 1]) * 2])
    clear = (np.abs(cells - np.rint(cells)) > 0.08).all(axis=0) & (np.abs(points[..., :2]) < 0.98).all(axis=-1)
    solid = np.floor(cells).sum(axis=0) % 2 == 0
    assert (frames.ids[0][clear & solid] == 1).all() and (frames.ids[0][clear & ~solid] == 2).all()


def test_exposure_brings_the_mean_luma_to_its_target(renderer):
    # worst difference measured: 0.0034
    scene, weights = furnished(), np.asarray([0.2126, 0.7152, 0.0722]) / 255
    for target in (0.3, 0.5):
        frames = draw(
            renderer,
            scene,
            look(np.asarray([0.0, 1.4, -1.7]), 0.3, -0.1),
            intrinsics(SIZE[1], SIZE[0], 80.0),
            mean_luma=target,
        )
        assert abs((frames.rgb @ weights).mean() - target) < 0.015


def test_textures_are_uploaded_once(renderer):
    scene = world([placed(square((0, 0, 2.0), 2.0, Material((1, 1, 1), checkerboard(16))))])
    draw(renderer, scene, forward_camera(), OFF_CENTRE)
    before = len(renderer.textures)
    draw(renderer, scene, forward_camera(), OFF_CENTRE)
    assert len(renderer.textures) == before


def test_bad_input_says_what_is_wrong(renderer, monkeypatch):
    stage = renderer.upload(world([placed(square((0, 0, 2.0), 2.0, GREY))]))
    with pytest.raises(WorldsError, match="c2w"):
        renderer.render(stage, np.eye(4)[None], np.eye(3)[None], np.zeros(2))
    with pytest.raises(WorldsError, match="finite"):
        renderer.render(stage, np.full((1, 4, 4), np.nan), np.eye(3)[None], np.zeros(1))
    stage.release()
    with pytest.raises(WorldsError, match="triangles"):
        renderer.upload(world([], sky=flat_sky()))
    with pytest.raises(WorldsError, match="device"):
        Renderer(SIZE, device="cuda")

    def refuse(**_):
        raise RuntimeError("no display")

    monkeypatch.setattr(moderngl, "create_context", refuse)
    with pytest.raises(WorldsError, match="libegl1"):
        Renderer(SIZE)
