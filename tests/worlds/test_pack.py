"""Packs: what is written is what is read, within the stated bounds; damaged files say so; same input, same bytes."""

import numpy as np
import pytest

from worlds.errors import WorldsError
from worlds.licences import Credit
from worlds.pack import PackWriter, open_pack
from worlds.scene import Instance, Lamp, Material, Mesh, Mover, Sky, Sun, Texture, World
from worlds.sources.actors import Actor, ActorInfo
from worlds.sources.furniture import FurnitureInfo, FurnitureModel, LightSource

CREDIT = Credit("a-package", "1.0-1", "models/thing.obj", "Zoë & others", "CC-BY-SA-3.0")
CLOSED = Credit("a-package", "1.0-1", "maps/thing.bsp", "A team", "GPL-2+")


def some_mesh(seed: int, vertices: int = 300, faces: int = 700) -> Mesh:
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(vertices, 3)).astype(np.float32) * (2.0, 0.5, 1.0)
    normals = rng.normal(size=(vertices, 3))
    smooth = np.linspace(0, 255, 96 * 64).reshape(64, 96, 1).repeat(4, axis=2).astype(np.uint8)
    leaf = smooth.copy()
    leaf[:, :48, 3] = 0
    leaf[:, 48:, 3] = 255
    smooth[..., 3] = 255
    return Mesh(
        positions.astype(np.float32),
        (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        rng.uniform(-3, 3, (vertices, 2)).astype(np.float32),
        rng.integers(0, vertices, (faces, 3)).astype(np.int32),
        rng.integers(0, 3, faces).astype(np.int32),
        (
            Material((0.25, 0.5, 1.0), emission=2.0),
            Material(texture=Texture("wood", smooth)),
            Material(texture=Texture("leaf", leaf), alpha="mask"),
        ),
    )


def furniture(mesh: Mesh) -> FurnitureModel:
    lights = (LightSource((0.1, 1.5, 0.0), (1.0, 0.9, 0.7), 0.06),)
    info = FurnitureInfo(
        "a/lamp",
        "Lamp 2",
        "lamp",
        "lights",
        (0.3, 1.6, 0.3),
        0.2,
        None,
        False,
        True,
        lights,
        len(mesh.triangles),
        CREDIT,
    )
    return FurnitureModel(info, mesh)


def in_order(mesh: Mesh) -> np.ndarray:
    """Faces as the pack keeps them: sorted by material."""
    return mesh.triangles[np.argsort(mesh.face_materials, kind="stable")]


@pytest.fixture
def written(tmp_path):
    mesh = some_mesh(0)
    poses = (mesh.positions + np.random.default_rng(1).normal(size=(5, 1, 3)) * 0.1).astype(np.float32)
    transforms = np.tile(np.eye(4), (4, 1, 1))
    transforms[:, 0, 3] = np.arange(4)
    sky = np.exp(np.random.default_rng(2).normal(size=(16, 32, 3)) * 2).astype(np.float32)
    world = World(
        name="b/level",
        kind="level",
        instances=(Instance(mesh, np.diag([2.0, 2.0, 2.0, 1.0]), "thing", (1.0, 0.5, 0.25)), Instance(mesh, np.eye(4))),
        movers=(Mover(Instance(mesh, np.eye(4), "ball"), np.arange(4.0), transforms),),
        sun=Sun((0.0, -1.0, 0.0), (2.0, 1.9, 1.8)),
        lamps=(Lamp((1.0, 2.0, 3.0), (5.0, 5.0, 4.0)),),
        sky=Sky(sky, 0.5, (0.1, 0.2, 0.3)),
        spawns=np.array([[1.0, 1.5, 2.0]]),
        near_scale=8.0,
        caption="a level",
    )
    actor = Actor(
        ActorInfo("a/man", "person", "man", (0.5, 1.8, 0.4), {"walk": (0, 5)}, 12.0, 1.2, CREDIT), mesh, poses
    )
    writer = PackWriter("test", texture_size=64)
    writer.add_furniture(furniture(mesh))
    writer.add_actor(actor)
    writer.add_panorama("sky", sky, CREDIT, "a sky")
    writer.add_texture(Texture("brick", mesh.materials[1].texture.rgba), CREDIT, "wall", metres=1.5, words="brick")
    writer.add_world("b/level", world, CLOSED, 1 / 256, "sky")
    path = tmp_path / "test.pack"
    writer.save(path)
    return path, writer, mesh, poses, world, sky


def test_a_mesh_comes_back_within_the_quantisation(written):
    path, _, mesh, _, _, _ = written
    model = open_pack(path).furniture("a/lamp")
    step = np.ptp(mesh.positions, axis=0).max() / 8192
    error = np.abs(model.mesh.positions[model.mesh.triangles] - mesh.positions[in_order(mesh)]).max()
    assert error <= 0.5 * step + 1e-6  # measured: 0.50 steps
    cosine = (model.mesh.normals[model.mesh.triangles] * mesh.normals[in_order(mesh)]).sum(axis=2)
    assert np.degrees(np.arccos(cosine.min().clip(-1, 1))) < 1.0  # measured: 0.9 degrees
    assert np.abs(model.mesh.uvs[model.mesh.triangles] - mesh.uvs[in_order(mesh)]).max() <= 0.5 / 2048 + 1e-6
    assert (model.mesh.face_materials == np.sort(mesh.face_materials)).all()
    assert [m.alpha for m in model.mesh.materials] == ["opaque", "opaque", "mask"]
    assert model.mesh.materials[0].emission == 2.0


def test_what_is_known_of_a_model_needs_no_mesh(written):
    path, _, mesh, _, _, _ = written
    pack = open_pack(path)
    assert pack.catalogue() == (furniture(mesh).info,)
    assert pack.keys("furniture") == ("a/lamp",) and pack.keys("world") == ("b/level",)
    assert [(e.key, e.info["metres"], e.info["words"]) for e in pack.textures("wall")] == [("brick", 1.5, "brick")]


def test_textures_are_scaled_down_and_leaves_keep_no_dark_rim(written):
    path, _, _, _, _, _ = written
    pack = open_pack(path)
    assert pack.texture("wood").rgba.shape == (43, 64, 4)
    leaf = pack.texture("leaf").rgba
    assert leaf[:, :24, 3].max() < 128 <= leaf[:, 40:, 3].min()
    hidden, shown = leaf[10, 24, :3].astype(int), leaf[10, 36, :3].astype(int)
    assert np.abs(hidden - shown).max() < 24  # measured: 9; black would be 60 away
    assert pack.texture("wood") is pack.texture("wood")


def test_poses_and_clips(written):
    path, _, mesh, poses, _, _ = written
    actor = open_pack(path).actor("a/man")
    step = np.ptp(mesh.positions, axis=0).max() / 4096
    corners = actor.clip("walk")[:, actor.mesh.triangles]
    assert np.abs(corners - poses[:, in_order(mesh)]).max() <= 0.5 * step + 1e-6
    assert actor.info.speed == 1.2 and actor.info.credit == CREDIT


def test_a_level_comes_back(written):
    path, _, mesh, _, world, sky = written
    read = open_pack(path).world("b/level")
    assert read.kind == "level" and read.near_scale == 8.0 and read.caption == "a level"
    assert read.sun == world.sun and read.lamps == world.lamps
    assert [i.label for i in read.instances] == ["thing", ""] and read.instances[0].tint == (1.0, 0.5, 0.25)
    assert read.instances[0].mesh is read.instances[1].mesh
    np.testing.assert_allclose(read.instances[0].transform, world.instances[0].transform)
    np.testing.assert_allclose(read.movers[0].transforms, world.movers[0].transforms)
    np.testing.assert_allclose(read.movers[0].times, world.movers[0].times)
    corners = read.instances[0].mesh.positions[read.instances[0].mesh.triangles]
    assert np.abs(corners - mesh.positions[in_order(mesh)]).max() <= 0.5 / 256 + 1e-6
    np.testing.assert_allclose(read.sky.panorama, np.clip(sky, 2**-10, 2**10), rtol=0.002)  # measured: 0.0017
    assert read.sky.gain == 0.5 and read.assets == {"b/level"}
    assert read.sky.ambient == open_pack(path).panorama("sky").ambient


def test_the_ambient_light_of_an_even_sky_is_the_sky(tmp_path):
    writer = PackWriter("test")
    writer.add_panorama("grey", np.full((64, 128, 3), (0.5, 1.0, 2.0), np.float32), CREDIT, "grey")
    writer.save(tmp_path / "grey.pack")
    np.testing.assert_allclose(open_pack(tmp_path / "grey.pack").panorama("grey").ambient, (0.5, 1.0, 2.0), rtol=0.002)


def test_the_credits_say_who_and_whether(written):
    path, writer, _, _, _, _ = written
    lines = {line["key"]: line for line in writer.credits()}
    assert lines["a/lamp"]["author"] == "Zoë & others" and lines["a/lamp"]["train_ok"]
    assert not lines["b/level"]["train_ok"] and lines["b/level"]["licence"] == "GPL-2+"
    assert {key: entry.credit.train_ok for key, entry in open_pack(path).entries.items()} == {
        key: line["train_ok"] for key, line in lines.items()
    }


def test_the_same_assets_give_the_same_bytes(written, tmp_path):
    path, writer, _, _, _, _ = written
    writer.save(tmp_path / "again.pack")
    other = PackWriter("test", texture_size=64)
    other.add_furniture(furniture(some_mesh(0)))
    same = PackWriter("test", texture_size=64)
    same.add_furniture(furniture(some_mesh(0)))
    other.save(tmp_path / "other.pack")
    same.save(tmp_path / "same.pack")
    assert (tmp_path / "again.pack").read_bytes() == path.read_bytes()
    assert (tmp_path / "other.pack").read_bytes() == (tmp_path / "same.pack").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", ["cut", "flip index", "flip payload", "foreign", "empty", "missing"])
def test_a_damaged_pack_is_one_sentence(written, tmp_path, damage):
    data = bytearray(written[0].read_bytes())
    broken = tmp_path / "broken.pack"
    if damage == "flip index":
        data[40] ^= 255
    elif damage == "flip payload":
        data[-300:] = bytes(300)
    elif damage == "foreign":
        data[:4] = b"\x89PNG"
    if damage != "missing":
        broken.write_bytes({"cut": data[:-500], "empty": b""}.get(damage, data))
    with pytest.raises(WorldsError) as caught:
        pack = open_pack(broken)
        for key in pack.entries:
            {"texture": pack.texture, "world": pack.world, "actor": pack.actor, "panorama": pack.panorama}.get(
                pack.entries[key].kind, pack.furniture
            )(key)
    assert "broken.pack" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_names_are_refused(written):
    pack = open_pack(written[0])
    with pytest.raises(WorldsError, match="holds no actor named 'a/lamp'"):
        pack.actor("a/lamp")
    with pytest.raises(WorldsError, match="two assets"):
        written[1].add_furniture(furniture(some_mesh(0)))
