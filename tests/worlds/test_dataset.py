"""From seeds to clips: determinism, what a bundle holds, moving scenes, splits, files, workers, the evaluation set."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from worlds.__main__ import main
from worlds.captions import things_words
from worlds.clips import DEPTH_ERROR, decode_depth, encode_depth, load_clips, save_clips, scene_folders, unseen_share
from worlds.contact import save_sheet, sheet
from worlds.dataset import Request, clips, jobs, render_folder
from worlds.errors import WorldsError
from worlds.evalset import FOLDER, MOST_BYTES, load
from worlds.licences import Credit
from worlds.motion import along, bouncer, pose_at, roller, spinner, swinging_door, vertices_at, walker
from worlds.pack import PackWriter, open_pack
from worlds.paths.trajectories import SIX
from worlds.rooms.builtin import builtin_library
from worlds.rooms.shapes import box, merge
from worlds.scene import Instance, Material, Sun, World
from worlds.scenes import Job, SceneMaker, Style, film
from worlds.splits import SPLITS, draw_splits, seed_of, split_list
from worlds.statistics import table

ROOT = Path(__file__).parents[2]
SMALL = Style(width=112, height=64, frames=5, fps=4.0, ids=True)


@pytest.fixture(scope="module")
def renderer():
    from worlds.render import Renderer

    return Renderer((SMALL.height, SMALL.width), supersample=1)


@pytest.fixture(scope="module")
def still(renderer):
    return next(film(SceneMaker((), "train", SMALL), renderer, Job((4,), "", (False,))))


@pytest.fixture(scope="module")
def moving(renderer):
    style = dataclasses.replace(SMALL, normals=True, motion=True)
    return next(film(SceneMaker((), "train", style), renderer, Job((2,), "", (True,))))


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A pack with one level: a street of boxes."""
    rng = np.random.default_rng(0)
    stone = Material((0.5, 0.45, 0.4))
    houses = [
        box((side * rng.uniform(9.0, 14.0), 3.0, 9.0 * k), (6.0, 6.0, 6.0), stone)
        for k in range(-6, 7)
        for side in (-1, 1)
    ]
    ground = box((0.0, -0.5, 0.0), (80.0, 1.0, 140.0), Material((0.3, 0.35, 0.25)))
    things = [box((rng.uniform(-5, 5), 0.5, rng.uniform(-40, 40)), (1.0, 1.0, 1.0), stone) for _ in range(30)]
    world = World(
        "town", "level", (Instance(merge([ground, *houses, *things]), np.eye(4), "street"),),
        sun=Sun((0.4, -0.8, 0.45), (4.0, 3.8, 3.5)), spawns=np.array([[0.0, 1.8, 4.0 * k] for k in range(-5, 6)]),
        near_scale=8.0, caption="A street of stone houses.",
    )  # fmt: skip
    writer = PackWriter("town")
    writer.add_world("own/town", world, Credit("lyra", "1", "town", "the lyra project", "CC0-1.0"), 0.01)
    path = tmp_path_factory.mktemp("packs") / "town.pack"
    writer.save(path)
    return path


def test_depth_code_keeps_its_promise():
    depth = np.exp(np.random.default_rng(0).uniform(np.log(0.05), np.log(2000.0), 100_000)).astype(np.float32)
    error = np.abs(decode_depth(encode_depth(depth)) / depth - 1.0)
    assert error.max() < DEPTH_ERROR + 2e-6 and DEPTH_ERROR < 8.2e-5
    edge = decode_depth(encode_depth(np.array([np.inf, 1e-3, 1e9], np.float32)))
    assert np.isinf(edge[0]) and np.allclose(edge[1:], [0.05, 2000.0], rtol=1e-3)


def test_a_still_scene_holds_the_six_from_one_first_frame(still):
    facts = still.facts
    assert facts.clips == tuple(six.kind for six in SIX) and not facts.dynamic and facts.motion == 0.0
    assert still.rgb.shape == (6, 5, 64, 112, 3) and still.rgb.dtype == np.uint8
    assert still.depth.shape == still.ids.shape == (6, 5, 64, 112) and still.c2w.shape == (6, 5, 4, 4)
    for path in range(1, 6):
        np.testing.assert_array_equal(still.rgb[path, 0], still.rgb[0, 0])
        np.testing.assert_array_equal(still.c2w[path, 0], still.c2w[0, 0])
    assert 0.5 < facts.center_depth < 12.0 and 45.0 <= facts.fov <= 90.0 and facts.caption.endswith(".")
    assert len(still.captions) == 6 and all(len(row) == 5 for row in still.captions)
    assert len({row[0] for row in still.captions}) == 1 and len({c for row in still.captions for c in row}) > 1
    rendered = np.median(still.depth[0, 0][np.isfinite(still.depth[0, 0])])
    assert rendered == pytest.approx(facts.center_depth, rel=0.05)  # another sampling of the same view
    assert facts.coverage[3] > facts.coverage[4] >= 0.0  # moving back shows more than moving in


def test_the_same_seed_gives_the_same_clip(still, renderer):
    again = next(film(SceneMaker((), "train", SMALL), renderer, Job((4,), "", (False,))))
    np.testing.assert_array_equal(again.rgb, still.rgb)
    np.testing.assert_array_equal(again.depth_code, still.depth_code)
    assert dataclasses.replace(again.facts, seconds={}) == dataclasses.replace(still.facts, seconds={})


def test_warping_a_frame_by_its_depth_gives_the_other(still):
    """Median PSNR over the paths above 30 dB where the first frame sees the same surface (35 dB measured)."""
    scores = [
        warp_psnr(still.rgb[0, 0], still.depth[0, 0], still.c2w[0, 0], still.K, still.rgb[i, k], still.depth[i, k],
                  still.c2w[i, k], 1)
        for i in range(6) for k in (1, 3)
    ]  # fmt: skip
    assert np.median(scores) > 30.0


def warp_psnr(first, first_depth, first_c2w, K, rgb, depth, c2w, step):
    """PSNR of the first frame, looked up where the pixels of another one (every `step`-th) come from; where seen."""
    height, width = first_depth.shape
    y, x = np.mgrid[0:height:step, 0:width:step]
    z = np.where(np.isfinite(depth), depth, 1e4)
    rays = np.stack([(x + 0.5 - K[0, 2]) / K[0, 0], (y + 0.5 - K[1, 2]) / K[1, 1], np.ones(z.shape)], -1)
    local = (rays * z[..., None] @ c2w[:3, :3].T + c2w[:3, 3] - first_c2w[:3, 3]) @ first_c2w[:3, :3]
    u = K[0, 0] * local[..., 0] / np.maximum(local[..., 2], 1e-6) + K[0, 2] - 0.5
    v = K[1, 1] * local[..., 1] / np.maximum(local[..., 2], 1e-6) + K[1, 2] - 0.5
    inside = (local[..., 2] > 0.01) & (u >= 0) & (v >= 0) & (u <= width - 1.001) & (v <= height - 1.001)
    u0, v0 = np.clip(np.floor(u).astype(int), 0, width - 2), np.clip(np.floor(v).astype(int), 0, height - 2)
    du, dv = (u - u0)[..., None], (v - v0)[..., None]
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    there = np.stack([first_depth[v0 + a, u0 + b] for a, b in corners])
    near = np.all(np.abs(there / np.maximum(local[..., 2], 1e-6) - 1.0) < 0.02, axis=0) & inside & np.isfinite(depth)
    weights = [(dv if a else 1 - dv) * (du if b else 1 - du) for a, b in corners]
    colour = sum(w * first[v0 + a, u0 + b] for w, (a, b) in zip(weights, corners, strict=True))
    assert near.mean() > 0.15
    return 10.0 * np.log10(255.0**2 / np.mean((colour - rgb[::step, ::step])[near] ** 2))


def test_a_moving_scene_runs_forward_reversed_and_frozen(moving):
    names, count = moving.facts.clips, moving.rgb.shape[1]
    assert names[0] == "input" and len(names) == 19 and moving.facts.dynamic
    assert 0.002 < moving.facts.motion < 0.6
    running = np.arange(count) / SMALL.fps
    for i, six in enumerate(SIX):
        forward, back, frozen = (names.index(f"{six.kind}{end}") for end in ("", "_reversed", "_frozen"))
        assert forward == i + 1
        np.testing.assert_array_equal(moving.times[forward], running)
        np.testing.assert_array_equal(moving.times[back], running)
        assert not moving.times[frozen].any()
        # Relative to the source camera of the same frame, the reversed path is the path from its far end.
        source = np.linalg.inv(moving.c2w[0])
        np.testing.assert_allclose(source @ moving.c2w[back], (source @ moving.c2w[forward])[::-1], atol=1e-9)
        np.testing.assert_allclose(moving.c2w[frozen], moving.c2w[0, 0] @ source @ moving.c2w[forward], atol=1e-9)
        np.testing.assert_array_equal(moving.rgb[forward, 0], moving.rgb[0, 0])
        np.testing.assert_array_equal(moving.rgb[frozen, 0], moving.rgb[0, 0])
    statics = int(moving.ids.max())
    assert statics > 20 and "move" in moving.facts.caption


def test_normals_and_motion_come_along_when_asked_for(moving, still, tmp_path):
    """Unit normals that face the camera; of what moves and only of that a velocity; both on disk, too."""
    assert still.normals is None and still.motion is None
    solid = np.isfinite(moving.depth)
    length = np.linalg.norm(moving.normals.astype(np.float32), axis=-1)
    assert np.abs(length[solid] - 1.0).max() < 2e-3 and not length[~solid].any()  # f16: 4e-4
    speed = np.linalg.norm(moving.motion.astype(np.float32), axis=-1)
    moved = speed > 0.01
    assert 0.0005 < moved[0].mean() <= moving.facts.motion * 3.0 and speed.max() < 20.0
    statics = moving.ids[moved].min()
    assert not speed[moving.ids < statics].any()
    save_clips(moving, tmp_path / "moving")
    again = load_clips(tmp_path / "moving")
    np.testing.assert_array_equal(again.normals, moving.normals)
    np.testing.assert_array_equal(again.motion, moving.motion)


def test_a_look_changes_the_picture_alone_and_comes_from_the_seed(still, renderer):
    maker = SceneMaker((), "train", dataclasses.replace(SMALL, look=True))
    looked, again = (next(film(maker, renderer, Job((4,), "", (False,)))) for _ in range(2))
    np.testing.assert_array_equal(looked.rgb, again.rgb)
    for name in ("depth_code", "ids", "c2w", "K", "times"):
        np.testing.assert_array_equal(getattr(looked, name), getattr(still, name))
    for path in range(1, 6):
        np.testing.assert_array_equal(looked.rgb[path, 0], looked.rgb[0, 0])
    # One look a clip: the tone of a middle grey band hardly differs between frames, noise averaged out.
    shift = [(looked.rgb[0, k].astype(float) - still.rgb[0, k]).reshape(-1, 3).mean(axis=0) for k in range(5)]
    assert np.abs(looked.rgb.astype(int) - still.rgb).mean() > 1.0
    assert np.ptp(shift, axis=0).max() < 3.0


def test_clips_survive_the_disk(still, tmp_path):
    folder = tmp_path / still.facts.name
    size = save_clips(still, folder)
    assert size > 6 * 5 * 64 * 112 * 7
    again = load_clips(folder)
    assert again.captions == still.captions
    assert again.facts == still.facts
    for name in ("rgb", "depth_code", "ids", "c2w", "K", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(still, name))
    assert scene_folders(tmp_path) == [folder]
    (folder / "rgb.npy").unlink()
    with pytest.raises(WorldsError, match="is not a rendered scene"):
        load_clips(folder)


def test_unseen_share_knows_the_trivial_cases(still):
    depth, c2w = still.depth[0, 0], still.c2w[0, 0]
    assert unseen_share(depth, c2w, still.K, depth, c2w) == 0.0
    away = c2w @ np.diag([-1.0, 1.0, -1.0, 1.0])
    assert unseen_share(depth, away, still.K, depth, c2w) == 1.0


def test_levels_are_filmed_from_several_places(town, renderer):
    job = Job((1, 2), "own/town", (False, True))
    scenes = list(film(SceneMaker((town,), "train", SMALL), renderer, job))
    assert [scene.facts.kind for scene in scenes] == ["level", "level"]
    assert [scene.facts.dynamic for scene in scenes] == [False, True]
    for scene in scenes:
        assert "own/town" in scene.facts.assets and "stone houses" in scene.facts.caption
        assert (scene.c2w[:, :, 1, 3] > 0.4).all()  # over the ground
    picture = sheet(scenes, 4, 56)
    assert picture.size == (224, 64)
    assert set(table(scenes)) >= {"median_depth", "motion", "unseen left"}


def test_work_lists_are_deterministic_and_mixed(town):
    request = Request((town,), scenes=60, rooms=0.5, dynamic=0.4, starts=3, style=SMALL)
    made = jobs(request)
    assert made == jobs(request)
    seeds = [seed for job in made for seed in job.seeds]
    assert seeds == list(range(60))
    levels = sum(len(job.seeds) for job in made if job.level)
    assert 15 <= levels <= 45 and all(len(job.seeds) <= 3 for job in made)
    assert 10 <= sum(flag for job in made for flag in job.dynamic) <= 38
    later = jobs(dataclasses.replace(request, scenes=5, first=1000))
    assert later[0].seeds[0] == 1000


def test_splits_are_disjoint_by_seed_and_asset():
    listed = split_list()
    assert listed.val and listed.test and not listed.val & listed.test
    assert len({seed_of(split, 5) for split in SPLITS}) == 3
    assert listed.of("anything/new") == "train"
    key = min(listed.test)
    assert listed.of(f"{key}@floor") == "test"
    with pytest.raises(WorldsError, match="train, val, test"):
        seed_of("validation", 0)


def test_drawn_splits_cover_every_purpose(tmp_path):
    """A pack of ten copies of the built-in models: each purpose gets test and validation members, rooms stay apart."""
    library, writer = builtin_library(), PackWriter("copies")
    for info in library.furniture:
        for copy in range(10):
            model = library.model(info.key)
            own = dataclasses.replace(info, key=f"{info.key}{copy}")
            writer.add_furniture(dataclasses.replace(model, info=own))
    writer.save(tmp_path / "copies.pack")
    pack = open_pack(tmp_path / "copies.pack")
    document = draw_splits((pack,))
    assert document == draw_splits((pack,))
    assert not set(document["val"]) & set(document["test"])
    for info in library.furniture:
        copies = {f"{info.key}{copy}" for copy in range(10)}
        if info.category in ("bathroom", "bedroom"):
            assert copies - set(document["val"]) - set(document["test"])
    assert 0.1 < len(document["test"]) / len(pack.entries) < 0.25


def test_workers_hand_scenes_over(tmp_path):
    """One process of its own: in memory, and into a folder with its index."""
    request = Request(scenes=1, supersample=1, style=dataclasses.replace(SMALL, frames=2, width=64, height=48))
    taken = list(clips(request, workers=1))
    totals = render_folder(request, tmp_path, workers=1)
    assert totals["scenes"] == len(taken) == 1 and totals["frames"] == 12 and totals["left_out"] == 0
    assert len((tmp_path / "index.jsonl").read_text().splitlines()) == 1
    stored = load_clips(tmp_path / taken[0].facts.name)
    np.testing.assert_array_equal(stored.rgb, taken[0].rgb)
    assert save_sheet(sheet(taken), tmp_path / "sheet.jpg") < 250_000
    assert main(["contact", str(tmp_path), str(tmp_path / "again.jpg")]) == 0
    assert main(["statistics", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "--packs", "no/such/folder"],
        ["render", "--packs", "builtin", "--split", "holiday"],
        ["render", "--packs", "builtin", "--scenes", "0"],
        ["render", "--packs", "builtin", "--dynamic", "1.5"],
        ["render", "--packs", "builtin", "--frames", "1"],
        ["render", "--packs", "builtin", "--size", "8", "8"],
        ["render", "--packs", "builtin", "--workers", "0"],
        ["contact", "no/such/folder", "sheet.jpg"],
        ["statistics", "no/such/folder"],
        ["evalset", "--packs", "no/such/folder"],
    ],
)
def test_bad_arguments_give_one_sentence(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"worlds {arguments[0]}: ") and "\n" not in said
    assert not (tmp_path / "out" / "worlds" / "index.jsonl").exists()


def test_balls_roll_without_slipping_and_bounce_on_the_floor():
    ball = Instance(box((0.0, 0.15, 0.0), (0.3, 0.3, 0.3), Material()), np.eye(4), "ball")
    mover = roller(ball, np.zeros(3), np.array([1.0, 0.0, 0.0]), 0.15, 0.9, 2.0)
    centre = np.array([0.0, 0.15, 0.0, 1.0])
    low, high = pose_at(mover, 1.0), pose_at(mover, 1.005)
    speed = ((high - low) @ centre)[0] / 0.005
    touching = np.linalg.inv(low) @ np.array([(low @ centre)[0], 0.0, 0.0, 1.0])  # the point on the floor
    slip = np.abs((high - low) @ touching / 0.005)[:3].max()
    assert speed > 0.3 and slip < 0.1 * speed  # 7 % measured: keyframes are joined by chords
    heights = [pose_at(bouncer(ball, np.zeros(3), 0.6, np.zeros(3), 3.0), t)[1, 3] for t in np.linspace(0, 3, 200)]
    assert min(heights) >= 0.0 and max(heights) == pytest.approx(0.6, abs=0.02)


def test_walkers_follow_their_path_with_the_front_ahead():
    path = np.array([[0.0, 0.0, 0.0], [2.0, 0.5, 0.0], [2.0, 0.5, 2.0]])
    points, heading = along(path, np.array([0.0, 1.0, 3.0, 4.2]))
    assert np.allclose(points[0], path[0]) and np.allclose(np.linalg.norm(heading, axis=1), 1.0)
    actor = builtin_library().actor("builtin/man")
    mover = walker(Instance(actor.mesh, np.eye(4), "man"), actor.clip("walk"), 8.0, path[:2], 1.0, 1.5)
    for t in (0.2, 0.8, 1.3):
        step = pose_at(mover, t + 0.05)[:3, 3] - pose_at(mover, t)[:3, 3]
        assert np.linalg.norm(step) == pytest.approx(0.05, rel=0.05)
        assert pose_at(mover, t)[:3, 2] @ step > 0.04
    assert not np.array_equal(vertices_at(mover, 0.0), vertices_at(mover, 0.3))
    np.testing.assert_array_equal(vertices_at(mover, 0.0), vertices_at(mover, 1.0))


def test_doors_swing_and_fans_turn_in_place():
    leaf = box((0.4, 1.0, 0.0), (0.8, 2.0, 0.04), Material())
    door = swinging_door(leaf, (1.0, 2.0), 0.0, 1.4, 2.0)
    for t in (0.0, 0.9, 2.0):
        np.testing.assert_allclose(pose_at(door, t)[:3, 3], (1.0, 0.0, 2.0), atol=1e-12)
    assert pose_at(door, 2.0)[0, 0] == pytest.approx(np.cos(1.4))
    fan = spinner(Instance(leaf, np.diag([2.0, 2.0, 2.0, 1.0]), "fan"), 0.5, 2.0)
    np.testing.assert_allclose(np.linalg.norm(pose_at(fan, 0.73)[:3, 0]), 2.0, atol=1e-9)
    np.testing.assert_allclose(pose_at(fan, 2.0), pose_at(fan, 0.0), atol=1e-9)


def test_captions_name_what_moves():
    assert things_words(["man", "man", "kart"]) == "two men and a kart"


def test_the_evaluation_set_is_complete_and_consistent():
    """12 still and 4 moving scenes, small; the first frame warped into still views: median over 30 dB (31.1)."""
    folder = ROOT / FOLDER
    scenes = list(load(folder))
    assert [sum(s.dynamic == flag for s in scenes) for flag in (False, True)] == [12, 4]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MOST_BYTES
    scores = []
    for scene in scenes:
        assert scene.first.shape == (256, 448, 3) and scene.first_depth.shape == (256, 448)
        assert len(scene.source) == (25 if scene.dynamic else 1) and len(scene.views) >= 13
        np.testing.assert_allclose(scene.source_c2w[0], np.eye(4), atol=1e-8)
        for view in scene.views if not scene.dynamic else ():
            scores.append(
                warp_psnr(scene.first, scene.first_depth, np.eye(4), scene.K, view.rgb, view.depth, view.c2w, 4)
            )
    assert np.median(scores) > 30.0
