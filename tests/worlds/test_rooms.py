"""Furnished rooms: same seed same room, nothing overlaps or floats, openings stay free, captions and light fit."""

from dataclasses import replace

import numpy as np
import pytest

from worlds.captions import moving_caption, plural, room_caption, things_words, view_caption
from worlds.rooms.build import build_room
from worlds.rooms.builtin import builtin_library
from worlds.rooms.footprint import Footprint
from worlds.rooms.furnish import keep_outs
from worlds.rooms.plan import FUNCTIONS, INNER_WALL, draw_plan
from worlds.rooms.pools import POOLS, pools_of
from worlds.rooms.shapes import box, curtain, lathe, merge, sheet
from worlds.rooms.surfaces import colour_word, linear
from worlds.scene import Instance, Material, Texture, World

SEEDS = range(30)
GREY = Material()


@pytest.fixture(scope="module")
def rooms():
    library = builtin_library()
    return [build_room(seed, library) for seed in SEEDS]


def test_the_same_seed_gives_the_same_room(rooms):
    again = build_room(7, builtin_library())
    first = rooms[7]
    assert again.world.caption == first.world.caption and again.world.assets == first.world.assets
    assert again.plan == first.plan
    for a, b in zip(again.world.instances, first.world.instances, strict=True):
        np.testing.assert_array_equal(a.transform, b.transform)
        np.testing.assert_array_equal(a.mesh.positions, b.mesh.positions)
    assert again.world.lamps == first.world.lamps and again.world.sun == first.world.sun


def test_seeds_differ(rooms):
    assert len({room.world.caption for room in rooms}) > 25


def test_no_piece_overlaps_another(rooms):
    """Oriented boxes; a thing on a table may touch its host, and boxes may share 0.1 mm."""
    pairs = 0
    for room in rooms:
        for pieces in room.placed:
            for i, a in enumerate(pieces):
                for j in range(i):
                    if a.host == j or pieces[j].host == i:
                        continue
                    pairs += 1
                    assert not a.box.overlaps(pieces[j].box, 1e-4), (room.world.name, a.info.key, pieces[j].info.key)
    assert pairs > 2000


def test_pieces_stand_inside_and_never_float(rooms):
    for room in rooms:
        for flat, pieces in zip(room.plan.rooms, room.placed, strict=True):
            rect = flat.rect
            for piece in pieces:
                assert piece.box.inside(rect.x0, rect.z0, rect.x1, rect.z1)
                assert piece.box.y0 >= 0.0 and piece.box.y1 <= room.plan.height + 2e-3
                hung = piece.y + piece.info.size[1] > room.plan.height - 1e-3
                corners = piece.box.corners()
                low, high = corners.min(axis=0) - (rect.x0, rect.z0), (rect.x1, rect.z1) - corners.max(axis=0)
                wall = min(*low, *high)
                host = None if piece.host is None else pieces[piece.host]
                if host is not None:
                    assert piece.y == pytest.approx(host.y + host.info.drop_on_top)
                else:
                    assert piece.y == 0.0 or hung or wall < 0.03


def test_openings_stay_free(rooms):
    for room in rooms:
        for index, pieces in enumerate(room.placed):
            openings = [opening for opening in room.plan.openings if opening.room == index]
            for blocked in keep_outs(room.plan.rooms[index], openings):
                assert not any(piece.host is None and piece.box.overlaps(blocked) for piece in pieces)


def test_rooms_are_furnished(rooms):
    """At least four pieces on the floor of every room over 9 square metres, and small things on surfaces."""
    small = 0
    for room in rooms:
        for flat, pieces in zip(room.plan.rooms, room.placed, strict=True):
            small += sum(piece.host is not None for piece in pieces)
            if flat.rect.area > 9.0:
                assert sum(piece.y == 0.0 for piece in pieces) >= 4, room.world.name
    assert small > 60


def test_plans_tile_their_outline_and_rooms_are_joined():
    """Rooms do not overlap, are at least 2.4 m wide, and one can walk from each to each."""
    several = 0
    for seed in range(200):
        plan = draw_plan(np.random.default_rng(seed))
        rects = [room.rect for room in plan.rooms]
        reach = {0}
        for _ in rects:
            for opening in plan.openings:
                if opening.kind == "doorway" and opening.room in reach:
                    width = opening.u1 - opening.u0
                    others = (o for o in plan.openings if o.room != opening.room and o.kind == "doorway")
                    twin = next(o for o in others if abs(o.u1 - o.u0 - width) < 1e-9)
                    reach.add(twin.room)
        assert reach == set(range(len(rects))), seed
        several += len(rects) > 1
        for i, a in enumerate(rects):
            assert min(a.width, a.depth) > 2.4
            for b in rects[:i]:
                apart_x = max(a.x0 - b.x1, b.x0 - a.x1)
                apart_z = max(a.z0 - b.z1, b.z0 - a.z1)
                assert max(apart_x, apart_z) >= INNER_WALL - 1e-9
        for opening in plan.openings:
            length = plan.rooms[opening.room].rect.wall(opening.side)[2]
            assert 0.0 < opening.u0 < opening.u1 < length and 0.0 <= opening.v0 < opening.v1 < plan.height
    assert 40 < several < 160


def test_a_doorway_is_one_hole_in_two_walls():
    for seed in range(60):
        plan = draw_plan(np.random.default_rng(seed))
        middles = []
        for opening in plan.openings:
            if opening.kind == "doorway":
                start, along, _ = plan.rooms[opening.room].rect.wall(opening.side)
                middles.append(start + along * 0.5 * (opening.u0 + opening.u1))
        for middle in middles:
            gaps = sorted(np.linalg.norm(middle - other) for other in middles)
            assert gaps[1] == pytest.approx(INNER_WALL, abs=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_builds_its_room(function):
    room = build_room(11, builtin_library(), function)
    assert room.plan.rooms[0].function == function
    assert room.world.caption[0].isupper() and len(room.placed[0]) >= 2


def test_light_always_reaches_the_room(rooms):
    modes = set()
    for room in rooms:
        world = room.world
        assert len(world.lamps) <= 4
        glazed = any(opening.kind in ("window", "french") for opening in room.plan.openings)
        assert world.lamps or (glazed and world.sky.gain > 0.3)
        modes.add((world.sun is not None, bool(world.lamps)))
        if world.sun is not None:
            assert world.sun.direction[1] < 0.0 and np.isclose(np.linalg.norm(world.sun.direction), 1.0)
    assert len(modes) >= 3


def test_footprints_agree_with_sampling():
    """Separating axes against points drawn in both boxes."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1).reshape(-1, 2)
    for _ in range(300):
        a, b = (
            Footprint(*rng.uniform(-0.7, 0.7, 2), *rng.uniform(0.1, 0.6, 2), rng.uniform(0, 6.3), 0, 1) for _ in "ab"
        )
        cos, sin = np.cos(a.angle), np.sin(a.angle)
        points = np.array([a.x, a.z]) + grid * [a.half_width, a.half_depth] @ np.array([[cos, -sin], [sin, cos]])
        cos, sin = np.cos(b.angle), np.sin(b.angle)
        local = (points - [b.x, b.z]) @ np.array([[cos, sin], [-sin, cos]])
        common = np.any((np.abs(local[:, 0]) < b.half_width) & (np.abs(local[:, 1]) < b.half_depth))
        assert not common or a.overlaps(b)
        assert not a.overlaps(Footprint(b.x, b.z, b.half_width, b.half_depth, b.angle, 1.0, 2.0))


def test_shapes_face_outwards():
    """Every triangle of a box and of a lathe winds counter-clockwise seen from outside, as its normal says."""
    for mesh in (box((0, 0, 0), (1, 2, 3), GREY), lathe([(0.0, -1.0), (0.5, -0.6), (0.3, 0.5), (0.0, 0.8)], GREY)):
        corners = mesh.positions[mesh.triangles]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        big = np.linalg.norm(normal, axis=1) > 1e-9
        assert (np.einsum("ni,ni->n", normal, corners.mean(axis=1))[big] > -1e-9).all()
        assert (np.einsum("ni,ni->n", normal, mesh.normals[mesh.triangles[:, 0]])[big] > 0).all()


def test_sheets_leave_their_holes_out():
    wall = sheet(
        np.zeros(3), np.eye(3)[0], np.eye(3)[1], (4.0, 2.5), [(1.0, 2.0, 0.5, 1.5), (2.5, 3.5, 0.0, 2.0)], GREY
    )
    corners = wall.positions[wall.triangles]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    assert area == pytest.approx(4.0 * 2.5 - 1.0 - 2.0, abs=1e-5)
    np.testing.assert_allclose(wall.normals, np.tile([0.0, 0.0, 1.0], (len(wall.normals), 1)))


def test_merged_meshes_keep_their_materials():
    mesh = merge([box((0, 0, 0), (1, 1, 1), GREY), curtain(1.0, 2.0, Material((1.0, 0.0, 0.0)))])
    assert mesh.triangles.max() < len(mesh.positions) and set(mesh.face_materials) == {0, 1}
    assert mesh.materials[1].colour == (1.0, 0.0, 0.0)


def test_pools_fit_their_purpose():
    pools = pools_of(builtin_library())
    assert set(pools) == set(POOLS)
    for name in ("sofa", "bed", "table", "chair", "desk", "counter", "bath", "toilet", "ceiling_lamp", "plant"):
        assert pools[name], name
    assert all(info.elevation > 1.0 for info in pools["upper"])


def test_captions_read_like_sentences():
    caption = room_caption(
        ["office", "bath"], [["desk", "chair", "chair"], ["bath"]], ["white", ""], ["oak", ""], "daylight"
    )
    assert caption == (
        "An office that opens into a bathroom with a desk, two chairs and a bath. White walls, oak floor, daylight."
    )
    assert moving_caption(caption, ["man", "ball"]).endswith("daylight. A man and a ball move.")
    assert moving_caption("A street.", []) == "A street."
    assert [plural(word) for word in ("shelves", "bench", "man", "dresser with drawers", "woman in a robe")] == [
        "shelves", "benches", "men", "dressers with drawers", "women in a robe",
    ]  # fmt: skip
    assert things_words(["track lights", "chair"]) == "track lights and a chair" and things_words([]) == ""


def test_the_caption_of_a_view_says_what_it_shows_and_nothing_else():
    cube, oak = box((0, 0, 0), (1, 1, 1), Material()), replace(Material(), texture=Texture("oak", np.zeros((1, 1, 4))))
    named = [("white wall", "bedroom", cube), ("blue wall", "kitchen", cube), ("ceiling", "bedroom", cube),
             ("oak floor", "bedroom", box((0, 0, 0), (1, 1, 1), oak)), ("chair", "bedroom", cube),
             ("chair", "bedroom", cube), ("fridge", "kitchen", cube), ("red curtain", "bedroom", cube)]  # fmt: skip
    instances = tuple(Instance(mesh, np.eye(4), label, room=room) for label, room, mesh in named)
    world = World("flat", "room", instances, caption="All of it.", light="daylight")
    ids, rgb = np.zeros((40, 40), np.int32), np.full((40, 40, 3), 240, np.uint8)
    ids[:20], ids[20:] = 1, 4
    ids[24:30, 4:10], ids[24:30, 20:26], ids[0:20, 36:] = 5, 6, 8
    rgb[24:30, 4:10], rgb[24:30, 20:26], rgb[0:20, 36:] = (20, 20, 20), (200, 20, 20), (90, 140, 230)
    expected = "A bedroom with a blue curtain, a black chair and a red chair. White walls, oak floor, daylight."
    assert view_caption(world, ids, rgb) == expected
    ids[:, :12] = 2  # the kitchen's wall is in the picture, as white as the other
    said = view_caption(world, ids, rgb)
    assert said.startswith("A bedroom that opens into a kitchen with") and "fridge" not in said
    ids[:, 12:14] = 7
    assert "white fridge" in view_caption(world, ids, rgb)
    rgb[::4] = 0  # in stripes it has no colour
    assert "fridge" in (said := view_caption(world, ids, rgb)) and "white fridge" not in said
    level = World("level", "level", tuple(replace(i, room="") for i in instances), caption="A street.")
    assert view_caption(level, ids, rgb) == "A street."


def test_colour_words():
    assert [colour_word(c) for c in ((0.95, 0.95, 0.94), (0.1, 0.1, 0.1), (0.8, 0.2, 0.2), (0.2, 0.3, 0.8))] == [
        "white", "black", "red", "blue",
    ]  # fmt: skip
    np.testing.assert_allclose(linear((0.0, 0.5, 1.0)), (0.0, 0.2140411, 1.0), atol=1e-6)
