"""Parsers on tiny hand-made files: geometry, licences, packages; damaged files are one sentence."""

import hashlib
import io
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from worlds import __main__ as program
from worlds.errors import WorldsError
from worlds.fetch import _CLIENTS, Source, package, unpack
from worlds.licences import licence_class, parse_copyright, trainable
from worlds.scene import Material
from worlds.simplify import simplify
from worlds.sources.bsp import read_bsp
from worlds.sources.geometry import clip_ears, crease_normals, face_normals, indexed_mesh, triangulate, unique_rows
from worlds.sources.md2 import read_md2
from worlds.sources.pmd import posed, read_pmd, read_psa
from worlds.sources.q3bsp import VERTEX, read_q3bsp
from worlds.sources.spm import read_spm
from worlds.sources.stk_scene import items, matrix, read_xml, words
from worlds.sources.stk_substitutes import stand_in, tint
from worlds.sources.supertuxkart import _equirectangular
from worlds.sources.sweethome3d import caption_word, open_catalogue, read_model
from worlds.sources.zeroad import ground_speed

CUBE_OBJ = b"""mtllib cube.mtl
v 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nv 0 0 1\nv 2 0 1\nv 2 1 1\nv 0 1 1
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl wood
f 1/1 4/4 3/3 2/2\nf 5/1 6/2 7/3 8/4
usemtl red
f 1 2 6 5\nf 4 8 7 3
usemtl glass
f 1 5 8 4\nf 2 3 7 6
"""
CUBE_MTL = b"newmtl wood\nKd 1 1 1\nmap_Kd wood.png\nnewmtl red\nKd 1 0 0\nKe 0.5 0 0\nnewmtl glass\nKd 0 0 1\nd 0.2\n"
PROPERTIES = """id=a
name#1=Wooden box (2)
category#1=Living room
model#1=/box/cube.obj
width#1=40
depth#1=20
height#1=80
elevation#1=15
dropOnTopElevation#1=-1
movable#1=true
doorOrWindow#1={opening}
modelRotation#1=0 0 1 0 1 0 -1 0 0
lightSourceX#1=20
lightSourceY#1=10
lightSourceZ#1=60
lightSourceColor#1=#ff0000
creator#1=Somebody
"""


def png(colour: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def catalogue(folder, opening: str = "false"):
    path = folder / "Scopia.sh3f"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", PROPERTIES.format(opening=opening))
        archive.writestr("box/cube.obj", CUBE_OBJ)
        archive.writestr("box/cube.mtl", CUBE_MTL)
        archive.writestr("box/wood.png", png((120, 80, 40)))
    return open_catalogue(path, "1.8-1")


def test_a_piece_of_furniture_stands_in_metres_on_the_origin(tmp_path):
    opened = catalogue(tmp_path)
    model = read_model(opened, opened.records[0])
    info, mesh = model.info, model.mesh
    np.testing.assert_allclose(mesh.positions.min(axis=0), (-0.2, 0, -0.1), atol=1e-6)
    np.testing.assert_allclose(mesh.positions.max(axis=0), (0.2, 0.8, 0.1), atol=1e-6)
    assert len(mesh.triangles) == 12 and len(mesh.materials) == 3
    assert info.label == "wooden box" and info.size == (0.4, 0.8, 0.2) and info.drop_on_top is None
    assert info.elevation == 0.15 and info.movable and not info.door_or_window
    assert info.credit.licence == "CC-BY-3.0" and info.credit.author == "Somebody" and info.credit.train_ok
    np.testing.assert_allclose(info.lights[0].position, (0.0, 0.6, 0.0))
    wood, red, _ = mesh.materials
    assert wood.texture.key == "sh3d/box/wood.png" and red.colour == (1.0, 0.0, 0.0) and red.emission == 0.5
    # The catalogue turns the model so that what faced +z (the second wooden face) faces +x.
    facing = mesh.normals[mesh.triangles[mesh.face_materials == 0]].mean(axis=1)
    np.testing.assert_allclose(np.sort(facing[:, 0]), [-1, -1, 1, 1], atol=1e-6)


def test_window_panes_are_open(tmp_path):
    opened = catalogue(tmp_path, opening="true")
    assert len(read_model(opened, opened.records[0]).mesh.triangles) == 8


def test_a_foreign_catalogue_is_one_sentence(tmp_path):
    (tmp_path / "Scopia.sh3f").write_bytes(b"no zip")
    with pytest.raises(WorldsError, match="not a Sweet Home 3D catalogue"):
        open_catalogue(tmp_path / "Scopia.sh3f", "1")


def test_caption_words():
    assert caption_word("Corner sofa 2") == "corner sofa" and words("stklib_palmTree_a") == "palm tree"


def area(positions, triangles) -> float:
    return float(np.linalg.norm(face_normals(positions, triangles), axis=1).sum() / 2)


def test_concave_polygons_keep_their_area():
    outline = np.array([(0, 0), (3, 0), (3, 2), (2, 2), (2, 1), (1, 1), (1, 2), (0, 2)], float)  # a U: area 5
    for turn in range(8):
        for axes in ((0, 1), (1, 2), (2, 0)):
            for way in (1, -1):
                points = np.zeros((8, 3))
                points[:, axes] = np.roll(outline, turn, axis=0)[::way]
                assert area(points, clip_ears(points)) == pytest.approx(5.0)
                rows = triangulate(points, np.arange(8), np.array([8]))
                assert area(points, rows[:, :3]) == pytest.approx(5.0) and len(rows) == 6


def test_normals_break_at_creases_and_round_cylinders():
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(turns), 0 * turns, np.sin(turns)], axis=1)
    positions = np.concatenate([ring, ring + np.array([0, 1, 0]), [(0, 1, 0)]])
    k, n = np.arange(24), (np.arange(24) + 1) % 24
    side = np.concatenate([np.stack([k, k + 24, n], 1), np.stack([n, k + 24, n + 24], 1)])
    lid = np.stack([k + 24, np.full(24, 48), n + 24], 1)
    normals = crease_normals(positions, np.concatenate([side, lid]))
    radial = positions[side] * (1, 0, 1)
    assert (normals[:48] * radial).sum(axis=2).min() > 0.99  # measured: 0.997 (unequal areas on the two sides)
    np.testing.assert_allclose(normals[48:], np.broadcast_to((0, 1, 0), (24, 3, 3)), atol=1e-6)


def test_equal_rows_are_found():
    rows = np.random.default_rng(0).integers(0, 3, (500, 4)).astype(float)
    first, inverse = unique_rows(rows)
    assert len(first) == len(np.unique(rows, axis=0)) and (rows[first][inverse] == rows).all()


def test_simplification_keeps_shape_and_materials():
    u, v = np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60))
    grid = np.stack([u, 0.1 * np.sin(6 * u), v], axis=2).reshape(-1, 3)
    k = (np.arange(59)[:, None] * 60 + np.arange(59)).reshape(-1)
    faces = np.concatenate([np.stack([k, k + 60, k + 1], 1), np.stack([k + 1, k + 60, k + 61], 1)])
    half = (grid[faces][:, :, 0].mean(axis=1) > 0.5).astype(int)
    uvs = grid[faces][..., (0, 2)]
    mesh = indexed_mesh(grid[faces], crease_normals(grid, faces), uvs, half, (Material(), Material((1.0, 0.0, 0.0))))
    slim = simplify(mesh, 400)
    assert len(slim.triangles) <= 520
    surfaces = [area(slim.positions, slim.triangles[slim.face_materials == m]) for m in (0, 1)]
    wanted = [area(mesh.positions, mesh.triangles[mesh.face_materials == m]) for m in (0, 1)]
    np.testing.assert_allclose(surfaces, wanted, rtol=0.01)  # measured: 0.001
    assert simplify(mesh, 10**6) is mesh


def spm(colours: bool = True) -> bytes:
    def name(text: str) -> bytes:
        return bytes([len(text)]) + text.encode()

    out = b"SP" + bytes([1 << 3 | 2, 3 if colours else 1]) + struct.pack("<6f", *range(6))
    out += struct.pack("<H", 1) + name("rock.png") + name("") + struct.pack("<HH", 1, 1) + struct.pack("<IIH", 4, 6, 0)
    for n, (x, z) in enumerate(((0, 0), (0, 2), (2, 2), (2, 0))):
        out += struct.pack("<3f", x, 5, z) + struct.pack("<I", 511 << 10)
        if colours:
            out += b"\x80" if n % 2 else b"\x01\x10\x20\x30"
        out += np.array([x / 2, z / 2], "<f2").tobytes()
    return out + bytes([0, 1, 2, 0, 2, 3])


@pytest.mark.parametrize("colours", [False, True])
def test_spm_meshes_are_mirrored_to_right_handed(colours):
    (part,) = read_spm(spm(colours), "a.spm")
    assert part.texture == "rock.png" and part.uvs.max() == 1.0
    assert part.positions[:, 2].min() == -2.0 and (part.positions[:, 1] == 5).all()
    np.testing.assert_allclose(part.normals, np.tile((0, 1, 0), (4, 1)), atol=1e-6)
    assert (face_normals(part.positions, part.triangles)[:, 1] > 0).all()


def test_a_damaged_spm_is_one_sentence():
    for data in (b"XX" + spm()[2:], spm()[:60], spm()[:-1] + b"\x09"):
        with pytest.raises(WorldsError, match=r"a\.spm"):
            read_spm(data, "a.spm")


SCENE = """<scene><track model="ground.spm">
 <static-object model="wall.spm" xyz="0 0 0" interaction="physics-only"/></track>
 <lod><group name="g"><static-object lod_group="g" lod_distance="200" model="far.spm"/>
  <static-object lod_group="g" lod_distance="50" model="near.spm"/></group></lod>
 <object type="animation" lod_group="g" xyz="1 2 3" hpr="0 90 0" scale="2 2 2"/>
 <object type="animation" model="back.spm" if="isReverse"/>
 <library name="stklib_palmTree_a" xyz="10 0 0" hpr="0 0 0" scale="1 1 1"/>
 <object type="animation" model="lift.spm" xyz="0 0 0" hpr="0 0 0" scale="1 1 1">
  <curve channel="LocZ" interpolation="linear"><p c="1 0"/><p c="51 10"/></curve></object>
</scene>"""


def test_a_track_scene_is_a_list_of_placed_models(tmp_path):
    node = tmp_path / "library" / "stklib_palmTree_a"
    node.mkdir(parents=True)
    (node / "node.xml").write_text('<scene><object type="animation" model="palm.spm" xyz="0 1 0"/></scene>')
    (tmp_path / "scene.xml").write_text(SCENE)
    found = list(items(read_xml(tmp_path / "scene.xml"), tmp_path, tmp_path / "library"))
    assert [item.model.name for item in found] == ["ground.spm", "near.spm", "palm.spm", "lift.spm"]
    _, near, palm, lift = found
    np.testing.assert_allclose(near.transform[:3, 3], (1, 2, -3))
    np.testing.assert_allclose(near.transform[:3, :3] @ (0, 0, -1), (2, 0, 0), atol=1e-12)  # ahead turns to the right
    np.testing.assert_allclose(palm.transform[:3, 3], (10, 1, 0))
    assert palm.label == "palm tree" and np.linalg.det(near.transform) > 0
    np.testing.assert_allclose(lift.transforms[:, 2, 3], -5.0 * lift.times, atol=1e-9)
    assert lift.times[-1] == pytest.approx(2.0)


def test_turns_are_about_x_then_y_then_z():
    pose = np.array([(0, 0, 0), (90, 90, 0), (1, 1, 1)], float)
    np.testing.assert_allclose(matrix(pose)[:3, :3] @ (0, 1, 0), (1, 0, 0), atol=1e-12)


def test_stand_ins_keep_the_mean_colour():
    assert stand_in("stk_generic_brickA.png", False) == "beige_bricks.jpg" and stand_in("logo.png", False) is None
    wanted = np.full((4, 4, 4), (60, 90, 30, 255), np.uint8)
    given = np.full((4, 4, 4), (200, 200, 200, 255), np.uint8)
    np.testing.assert_allclose(np.array(tint(wanted, given)) * 0.5776, (0.0452, 0.1022, 0.0130), rtol=0.01)


def test_a_sky_box_becomes_a_panorama():
    faces = [np.full((16, 16, 3), value, np.uint8) for value in (255, 0, 50, 100, 150, 200)]
    sky = _equirectangular(faces, 64)
    assert sky[0].min() == 1.0 and sky[-1].max() == 0.0
    horizon = (sky[32, :, 0] ** (1 / 2.2) * 255).round()
    assert [horizon[k] for k in (0, 32, 64, 96)] == [50, 150, 100, 200]


def psmd(bend: float) -> tuple[bytes, bytes]:
    """A post of two bones, the upper one turned by `bend` about x in the animation's second frame."""
    out = b"PSMD" + struct.pack("<III", 3, 0, 3)
    for y, bone in ((0.0, 0), (1.0, 1), (2.0, 1)):
        out += struct.pack("<3f3f2f4B4f", 0, y, 0, 0, 0, 1, 0, y, bone, 255, 255, 255, 1, 0, 0, 0)
    out += struct.pack("<I3H", 1, 0, 1, 2)
    rest = struct.pack("<7f", 0, 0, 0, 0, 0, 0, 1), struct.pack("<7f", 0, 1, 0, 0, 0, 0, 1)
    out += struct.pack("<I", 2) + rest[0] + rest[1] + struct.pack("<I", 1)
    out += struct.pack("<I", 4) + b"head" + struct.pack("<7fB", 0, 1, 0, 0, 0, 0, 1, 1)
    turned = struct.pack("<7f", 0, 1, 0, np.sin(bend / 2), 0, 0, np.cos(bend / 2))
    psa = b"PSSA" + struct.pack("<II", 1, 0) + struct.pack("<I", 4) + b"walk" + struct.pack("<fII", 33.0, 2, 2)
    return out, psa + rest[0] + rest[1] + rest[0] + turned


def test_bones_carry_vertices():
    mesh, animation = psmd(np.pi / 2)
    skin, frames = read_pmd(mesh, "post"), read_psa(animation, "walk")
    moved = posed(skin, frames)
    np.testing.assert_allclose(moved[0], skin.positions, atol=1e-6)
    np.testing.assert_allclose(moved[1], [(0, 0, 0), (0, 1, 0), (0, 1, 1)], atol=1e-6)
    bone, offset = skin.points["head"]
    np.testing.assert_allclose((frames[1, bone] @ offset)[:3, 3], (0, 1, 1), atol=1e-6)
    for broken in (b"PSMD" + mesh[4:40], b"ABCD"):
        with pytest.raises(WorldsError, match="post"):
            read_pmd(broken, "post")


def test_the_speed_of_a_walk_is_that_of_the_ground():
    steps = np.arange(20) / 20
    feet = []
    for phase in (0.0, 0.5):
        cycle = (steps + phase) % 1
        ahead = np.where(cycle < 0.5, 0.4 - 1.6 * cycle, -0.4 + 1.6 * (cycle - 0.5))
        height = np.where(cycle < 0.5, 0.0, 0.2 * np.sin(2 * np.pi * (cycle - 0.5)))
        feet.append(np.stack([0 * ahead, height, ahead], axis=1))
    hip = np.tile((0.0, 1.0, 0.0), (20, 1))
    assert ground_speed(np.stack([*feet, hip], axis=1), 1.0) == pytest.approx(1.6, rel=0.05)


def bsp() -> bytes:
    """One room face (a square of 60 units on the ground) and one hidden face."""
    entities = b'{\n"classname" "worldspawn"\n}\n{\n"classname" "info_human_start"\n"origin" "30 30 24"\n}\n'
    lumps = [b""] * 18
    lumps[0] = entities
    lumps[2] = np.array([(0, 0, 0), (60, 0, 0), (60, 60, 0), (0, 60, 0)], "<f4").tobytes()
    lumps[11] = np.array([(0, 1), (1, 2), (3, 2), (3, 0)], "<u2").tobytes()
    lumps[12] = np.array([0, 1, -2, 3], "<i4").tobytes()
    for name, flags in ((b"tex_nature/grass", 0), (b"tex_common/clip", 0), (b"tex_nature/sky", 4)):
        axes = np.array([(1, 0, 0, 8), (0, -1, 0, 0)], "<f4").tobytes()
        lumps[5] += axes + struct.pack("<II32s", flags, 0, name)
    for info in (0, 1, 2):
        lumps[6] += struct.pack("<HHiHHii", 0, 0, 0, 4, info, -1, -1)
    table, at = b"", 152
    for lump in lumps:
        table += struct.pack("<ii", at, len(lump))
        at += len(lump)
    return b"IBSP" + struct.pack("<i", 78) + table + b"".join(lumps)


def test_a_map_is_its_visible_faces_in_metres():
    faces, entities = read_bsp(bsp(), "a.bsp")
    np.testing.assert_allclose(faces.corners, [(0, 0, 0), (2, 0, 0), (2, 0, -2), (0, 0, -2)], atol=1e-12)
    np.testing.assert_allclose(faces.texels, [(8, 0), (68, 0), (68, -60), (8, -60)])
    assert faces.textures == ["tex_nature/grass"] and entities[1]["origin"] == "30 30 24"
    for broken in (b"IBSP" + struct.pack("<i", 38) + bsp()[8:], bsp()[:-10]):
        with pytest.raises(WorldsError, match=r"a\.bsp"):
            read_bsp(broken, "a.bsp")


def q3bsp() -> bytes:
    """A triangle with baked light, a curved patch (a quarter of a tube) and a hidden triangle."""
    vertices = np.zeros(12, VERTEX)
    vertices["position"][:3] = [(0, 0, 0), (4, 0, 0), (0, 4, 0)]
    for row in range(3):
        for column, (x, z) in enumerate(((1, 0), (1, 1), (0, 1))):
            vertices["position"][3 + 3 * row + column] = (x, 2 * row, z)
    vertices["uv"][3:, 0] = np.tile((0, 0.5, 1), 3)
    vertices["normal"][:, 2] = 1
    lumps = [b""] * 17
    lumps[0] = b'{ "classname" "item_health" "origin" "1 2 3" }'
    lumps[1] = b"".join(struct.pack("<64sII", n, f, 0) for n, f in ((b"textures/a", 0), (b"textures/sky", 4)))
    lumps[10], lumps[11] = vertices.tobytes(), struct.pack("<3i", 0, 1, 2)
    for texture, kind, first, count, indices, size in (
        (0, 1, 0, 3, 3, (0, 0)),
        (0, 2, 3, 9, 0, (3, 3)),
        (1, 1, 0, 3, 3, (0, 0)),
    ):
        lumps[13] += struct.pack("<8i64x2i", texture, -1, kind, first, count, 0, indices, 0, *size)
    lumps[14] = bytes(range(256)) * (128 * 128 * 3 // 256)
    table, at = b"", 144
    for lump in lumps:
        table += struct.pack("<ii", at, len(lump))
        at += len(lump)
    return b"IBSP" + struct.pack("<i", 46) + table + b"".join(lumps)


def test_a_baked_map_has_polygons_and_curves():
    level = read_q3bsp(q3bsp(), "b.bsp")
    assert len(level.corners) == 1 + 32 and set(level.textures) == {0} and level.pages.shape == (1, 128, 128, 3)
    tube = level.corners["position"][1:].astype(float)
    radius = np.hypot(tube[..., 0], tube[..., 2])
    assert radius.min() > 0.999 and radius.max() < 1.07  # measured: 1 .. 1.061, a parabola's arch
    assert tube[..., 1].min() == 0 and tube[..., 1].max() == 4
    assert level.entities == [{"classname": "item_health", "origin": "1 2 3"}]
    for broken in (b"IBSP" + struct.pack("<i", 47) + q3bsp()[8:], q3bsp()[:-100]):
        with pytest.raises(WorldsError, match=r"b\.bsp"):
            read_q3bsp(broken, "b.bsp")


def md2() -> bytes:
    skin, uvs = b".wood".ljust(64, b"\0"), struct.pack("<6h", 0, 0, 32, 0, 0, 64)
    face = struct.pack("<6H", 0, 1, 2, 0, 1, 2)
    frame = struct.pack("<6f16s", 0.5, 1, 2, 10, 0, 0, b"f") + bytes([0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 0])
    at = [68, 132, 144, 156, 156 + len(frame)]
    head = struct.pack("<4s16i", b"IDP2", 8, 32, 64, len(frame), 1, 3, 3, 1, 0, 1, *at[:4], at[4], at[4])
    return head + skin + uvs + face + frame


def test_a_prop_is_its_first_frame():
    positions, uvs, skin = read_md2(md2(), "a.md2")
    np.testing.assert_allclose(positions, [[(10, 0, 0), (11, 0, 0), (10, 1, 2)]])
    np.testing.assert_allclose(uvs, [[(0, 0), (1, 0), (0, 1)]])
    assert skin == ".wood"
    for broken in (b"IDP3" + md2()[4:], md2()[:100]):
        with pytest.raises(WorldsError, match=r"a\.md2"):
            read_md2(broken, "a.md2")


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("CC0", "CC0/PD"),
        ("public-domain", "CC0/PD"),
        ("CC-BY-3.0-US", "CC-BY"),
        ("CC-BY-SA-4.0 and CC-BY-3.0", "CC-BY-SA"),
        ("Expat", "permissive"),
        ("Apache-2.0", "permissive"),
        ("GPL-2+ or CC-BY-SA-3.0", "CC-BY-SA"),
        ("GPL-2+ and CC-BY-SA-3.0", "GPL/other"),
        ("GPL-3+", "GPL/other"),
        ("CC-BY-NC-SA-3.0", "GPL/other"),
        ("CC-BY-ND-4.0", "GPL/other"),
        ("unknown", "GPL/other"),
        ("", "GPL/other"),
    ],
)
def test_what_may_be_trained_on(licence, kind):
    assert licence_class(licence) == kind and trainable(licence) == (kind != "GPL/other")


def test_the_last_matching_stanza_of_a_copyright_file_counts():
    text = "Format: x\n\nFiles: *\nCopyright: The Team\nLicense: GPL-2+\n\n"
    text += (
        "Files:\n art/a.png\n art/b/*\nCopyright:\n A\n B\nLicense: CC-BY-3.0\n\nLicense: GPL-2+\n Files: no stanza\n"
    )
    parsed = parse_copyright(text)
    assert parsed.look_up("art/a.png") == ("A B", "CC-BY-3.0") == parsed.look_up("art/b/c/d.md2")
    assert parsed.look_up("art/c.png") == ("The Team", "GPL-2+")
    assert parse_copyright("").look_up("x") == ("", "unknown")


def deb(content: bytes) -> bytes:
    def tar(name: str, data: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:xz") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    out = b"!<arch>\n"
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", tar("control", b"odd")),
        ("data.tar.xz", tar("a/f", content)),
    )
    for name, data in members:
        out += f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def test_a_debian_package_is_unpacked_without_dpkg(tmp_path):
    (tmp_path / "a_1_all.deb").write_bytes(deb(b"hello"))
    unpack(tmp_path / "a_1_all.deb", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "f").read_bytes() == b"hello"
    for name, data in (("b.deb", b"!<arch>\n"), ("c.deb", b"zip"), ("d.tgz", b"xx"), ("e.whl", b"yy"), ("f.rar", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WorldsError):
            unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("filters", [True, False])  # Python before 3.11.4 has none
@pytest.mark.parametrize("kind", ["above", "link"])
def test_an_archive_writes_only_into_its_folder(tmp_path, monkeypatch, kind, filters):
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    file, folder = tmp_path / "bad.tgz", tmp_path / "folder"
    folder.mkdir()
    with tarfile.open(file, "w:gz") as archive:
        member = tarfile.TarInfo("../escaped" if kind == "above" else "link")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "../escaped"
        archive.addfile(member, io.BytesIO())
    with pytest.raises(WorldsError, match="damaged"):
        unpack(file, folder)
    assert not list(folder.iterdir()) and not (tmp_path / "escaped").exists()


def test_a_fetch_takes_only_what_arrives_whole(tmp_path, monkeypatch, capsys):
    """A client of our own: refusing, damaging, delivering; then there is nothing left to do."""
    good = deb(b"hello")
    source = Source("odd", "debian", "1", "odd_1_all.deb", hashlib.sha256(good).hexdigest())
    monkeypatch.setattr("worlds.fetch.SOURCES", (source,))

    def fetch_by(script: str) -> tuple[int, str]:
        monkeypatch.setitem(_CLIENTS, "debian", (sys.executable, "-c", script))
        code = program.main(["fetch", "--cache", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = fetch_by("import sys; sys.exit('E: no such version\\nsee the log')")
    assert code == 2 and "E: no such version;" in said and said.count("\n") == 1
    code, said = fetch_by(f"open('{source.file}', 'wb').write(bytes(9))")
    assert code == 2 and "has SHA-256" in said and said.count("\n") == 1
    assert not list((tmp_path / "downloads").iterdir())  # what was damaged is not kept
    code, said = fetch_by(f"open('{source.file}', 'wb').write({good!r})".replace("{", "{{").replace("}", "}}"))
    assert code == 0 and said == "odd 1: fetched\n"
    assert (package("odd", tmp_path).path("a/f")).read_bytes() == b"hello"
    assert fetch_by("raise SystemExit(1)") == (0, "odd 1: already there\n")


def test_missing_packages_and_clients_are_one_sentence(tmp_path, monkeypatch, capsys):
    with pytest.raises(WorldsError, match="python -m worlds fetch"):
        package("miniworld", tmp_path)
    source = Source("nothing", "debian", "1", "nothing_1_all.deb", "0" * 64)
    monkeypatch.setattr("worlds.fetch.SOURCES", (source,))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert program.main(["fetch", "--cache", str(tmp_path)]) == 2
    assert "apt-get is needed" in capsys.readouterr().err
    (tmp_path / "downloads" / source.file).write_bytes(b"tampered")
    assert program.main(["fetch", "--cache", str(tmp_path)]) == 2
    assert "SHA-256" in capsys.readouterr().err
    assert program.main(["fetch", "--only", "nonsense", "--cache", str(tmp_path)]) == 2
    assert "there is no package 'nonsense'" in capsys.readouterr().err
    assert program.main(["pack", "--out", str(tmp_path), "--only", "nonsense"]) == 2
    assert "there is no pack 'nonsense'" in capsys.readouterr().err
    assert program.main([]) == 2
