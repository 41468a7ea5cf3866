"""Camera files: exact round trips, the conventions of every format, and parity with scipy's rotations."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from unit.strategies import random_cameras, seeds

from lyra.io.cameras import load_cameras, load_named_cameras, save_cameras
from lyra.io.shots import natural, quat_to_rotation, rotation_to_quat
from lyra.scene import Cameras, InputError

FORMATS = ("cameras.json", "transforms.json", "path.txt", "path.tum", "text", "binary")


def cameras(n: int, seed: int, shared: bool = True) -> Cameras:
    """Float32 cameras without skew, which most formats cannot store."""
    made = random_cameras(n, seed, 640, 400, torch.float32)
    K = made.K.clone()
    K[:, 0, 1] = 0
    return Cameras(made.c2w, K[:1].expand(n, 3, 3) if shared else K, 640, 400, made.times)


@settings(max_examples=12)
@given(seeds, st.integers(1, 5), st.sampled_from(FORMATS), st.booleans())
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, seed, n, name, shared):
    """Worst pose 4e-7 (float32 matrices are not quite rotations), lens 2e-7 relative, time 1e-6 s."""
    path = tmp_path_factory.mktemp("cameras") / name
    saved = cameras(n, seed, shared or name == "path.tum")
    save_cameras(saved, path, binary=name == "binary")
    loaded = load_cameras(path, like=saved[0])
    assert (loaded.width, loaded.height) == (640, 400)
    torch.testing.assert_close(loaded.c2w, saved.c2w, atol=1e-6, rtol=0)
    torch.testing.assert_close(loaded.centers, saved.centers, atol=1e-6, rtol=0)
    torch.testing.assert_close(loaded.K, saved.K, atol=0, rtol=1e-6)
    if name in ("text", "binary"):
        assert loaded.times is None
    else:
        torch.testing.assert_close(loaded.times, saved.times, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["cameras.json", "transforms.json", "text", "binary"])
def test_names_survive_and_json_is_exact(tmp_path, name):
    saved = cameras(12, 3, shared=False)
    names = [f"shots/view_{i}.jpg" for i in range(12)]  # in the natural order that COLMAP's files are put in
    save_cameras(saved, tmp_path / name, names, binary=name == "binary")
    loaded, found = load_named_cameras(tmp_path / name)
    assert found == names
    if name.endswith("json"):
        assert loaded.c2w.equal(saved.c2w)
        assert loaded.K.equal(saved.K)


def test_skew_is_kept_or_refused(tmp_path):
    saved = random_cameras(3, 0, 640, 400, torch.float32)
    save_cameras(saved, tmp_path / "a.json")
    assert load_cameras(tmp_path / "a.json").K.equal(saved.K)
    for name in ("transforms.json", "a.txt", "folder"):
        with pytest.raises(InputError, match="skew"):
            save_cameras(saved, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@given(seeds)
def test_quaternions_equal_scipy(seed):
    """Worst difference 1e-15, half turns included."""
    rotation = Rotation.from_matrix(random_cameras(1, seed).c2w[0, :3, :3].numpy())
    for turn in (rotation, Rotation.from_rotvec(np.pi * rotation.as_matrix()[0])):
        quat = rotation_to_quat(turn.as_matrix())
        assert quat[0] >= 0
        assert abs(quat @ turn.as_quat(scalar_first=True)) == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(quat_to_rotation(Path("a"), "a", quat), turn.as_matrix(), atol=1e-12)


def test_inria_lists_have_centred_lenses(tmp_path):
    """The list that the published 3DGS code writes: no principal point, OpenCV camera-to-world rotation by rows."""
    entry = {"id": 0, "img_name": "a", "width": 20, "height": 10, "position": [1, 2, 3],
             "rotation": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], "fx": 8, "fy": 9}  # fmt: skip
    (tmp_path / "cameras.json").write_text(json.dumps([entry]))
    loaded = load_cameras(tmp_path / "cameras.json")
    assert loaded.K[0].tolist() == [[8, 0, 10], [0, 9, 5], [0, 0, 1]]
    assert loaded.centers[0].tolist() == [1, 2, 3]
    assert loaded.c2w[0, :3, 2].tolist() == [1, 0, 0]  # looks along +x
    assert loaded.times is None


COLMAP_CAMERAS = """# comment
1 SIMPLE_PINHOLE 20 10 8 10 5
2 PINHOLE 20 10 8 9 11 4
3 SIMPLE_RADIAL 20 10 8 10 5 0
4 OPENCV 20 10 8 9 11 4 0 0 0 0
"""
COLMAP_IMAGES = """# two lines an image, the second may be empty
7 1 0 0 0 0 0 2 1 b_10.png
1.0 2.0 -1 3.0 4.0 5
3 0.7071067811865476 0 0.7071067811865476 0 1 2 3 2 b_9.png

5 1 0 0 0 0 0 0 3 c.png

6 1 0 0 0 0 0 0 4 d e.png
"""


def test_colmap_text_as_others_write_it(tmp_path):
    model = tmp_path / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(COLMAP_CAMERAS)
    (model / "images.txt").write_text(COLMAP_IMAGES)
    for path in (tmp_path, tmp_path / "sparse", model, model / "images.txt"):
        loaded, names = load_named_cameras(path)
        assert names == ["b_9.png", "b_10.png", "c.png", "d e.png"]
        assert loaded.K[0].tolist() == [[8, 0, 11], [0, 9, 4], [0, 0, 1]]
        assert loaded.K[1].tolist() == [[8, 0, 10], [0, 8, 5], [0, 0, 1]]
        torch.testing.assert_close(loaded.centers[1], torch.tensor([0.0, 0, -2]))  # camera-to-world
        rotation = Rotation.from_quat([0.5**0.5, 0, 0.5**0.5, 0], scalar_first=True).as_matrix()
        np.testing.assert_allclose(loaded.w2c[0, :3, :3], rotation, atol=1e-6)
        np.testing.assert_allclose(loaded.w2c[0, :3, 3], [1, 2, 3], atol=1e-6)


def test_nerfstudio_has_opengl_axes_and_its_applied_transform_is_undone(tmp_path):
    """A camera at the origin that looks along -z with +y up; the file's world was turned by 90 degrees afterwards."""
    turned = [[0, 1, 0, 5], [-1, 0, 0, 6], [0, 0, 1, 7]]
    pose = np.vstack([turned, [0, 0, 0, 1]])
    document = {"w": 20, "h": 10, "fl_x": 8, "cx": 9, "cy": 4, "applied_transform": turned, "frames": [
        {"file_path": "b", "transform_matrix": pose.tolist(), "fl_x": 16, "fl_y": 17},
        {"file_path": "a", "transform_matrix": pose.tolist()},
    ]}  # fmt: skip
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    loaded, names = load_named_cameras(tmp_path)
    assert names == ["a", "b"]
    torch.testing.assert_close(loaded.c2w[0], torch.diag(torch.tensor([1.0, -1, -1, 1])))
    assert loaded.K[0].tolist() == [[8, 0, 9], [0, 8, 4], [0, 0, 1]]
    assert loaded.K[1, 0, 0] == 16
    assert loaded.K[1, 1, 1] == 17
    scaled = {**document, "applied_transform": (2 * np.array(turned)).tolist()}
    (tmp_path / "transforms_scaled.json").write_text(json.dumps(scaled))
    torch.testing.assert_close(load_cameras(tmp_path / "transforms_scaled.json").c2w[0, :3, :3], loaded.c2w[0, :3, :3])


def test_nerf_synthetic_files_give_the_field_of_view(tmp_path):
    document = {"camera_angle_x": float(np.pi / 2), "w": 20, "h": 10,
                "frames": [{"file_path": "a", "transform_matrix": np.eye(4).tolist()}]}  # fmt: skip
    (tmp_path / "transforms_train.json").write_text(json.dumps(document))
    loaded = load_cameras(tmp_path / "transforms_train.json")
    torch.testing.assert_close(loaded.K[0], torch.tensor([[10.0, 0, 10], [0, 10, 5], [0, 0, 1]]))


def test_realestate10k_lenses_are_shares_of_the_image(tmp_path):
    w2c = [1, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3]
    row = " ".join(str(x) for x in (0.5, 0.9, 0.5, 0.4, 0, 0, *w2c))
    (tmp_path / "a.txt").write_text(f"https://video\n52353000 {row}\n52453000 {row}\n")
    loaded = load_cameras(tmp_path / "a.txt")
    assert (loaded.width, loaded.height) == (1296, 720)  # square pixels: 720 * 0.9 / 0.5
    torch.testing.assert_close(loaded.K[0], torch.tensor([[648.0, 0, 648], [0, 648, 288], [0, 0, 1]]))
    assert loaded.centers[0].tolist() == [-1, -2, -3]
    assert loaded.times.tolist() == pytest.approx([0, 0.1])
    small = load_cameras(tmp_path / "a.txt", like=Cameras.from_fov(torch.eye(4), 60.0, 100, 50))
    torch.testing.assert_close(small.K[0], torch.tensor([[50.0, 0, 50], [0, 45, 20], [0, 0, 1]]))


def test_tum_needs_a_lens_and_keeps_seconds_since_the_start(tmp_path):
    (tmp_path / "a.tum").write_text(
        "# t x y z qx qy qz qw\n1305031102.175 1 2 3 0 0 0 1\n1305031102.675 1 2 3 0 1 0 0\n"
    )
    with pytest.raises(InputError, match="poses alone"):
        load_cameras(tmp_path / "a.tum")
    loaded = load_cameras(tmp_path / "a.tum", like=cameras(1, 0)[0])
    assert loaded.times.tolist() == pytest.approx([0, 0.5], abs=1e-6)
    assert loaded.centers[1].tolist() == [1, 2, 3]
    assert loaded.c2w[1, :3, 2].tolist() == pytest.approx([0, 0, -1])
    (tmp_path / "a.tum").rename(tmp_path / "a.txt")
    assert load_cameras(tmp_path / "a.txt", like=cameras(1, 0)[0]).c2w.equal(loaded.c2w)


def test_natural_order():
    names = ["b", "a10", "a9", "a", "10", "9", "a9b1"]
    assert sorted(names, key=natural) == ["9", "10", "a", "a9", "a9b1", "a10", "b"]


def test_batches_are_flattened_and_old_models_replaced(tmp_path):
    flat = cameras(6, 1)
    grid = Cameras(flat.c2w.view(2, 3, 4, 4), flat.K.view(2, 3, 3, 3), 640, 400)
    save_cameras(grid, tmp_path / "model", binary=True)
    save_cameras(flat[:2], tmp_path / "model", binary=True)
    assert len(load_cameras(tmp_path / "model")) == 2
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["cameras.bin", "images.bin", "points3D.bin"]
    assert struct.unpack("<Q", (tmp_path / "model" / "points3D.bin").read_bytes()) == (0,)


BAD = {
    "suffix": (lambda d: save_cameras(cameras(1, 0), d / "a.csv"), "written as"),
    "none": (lambda d: save_cameras(cameras(1, 0)[:0], d / "a.json"), "no cameras to write"),
    "too few names": (lambda d: save_cameras(cameras(2, 0), d / "a.json", ["a"]), "as many image names"),
    "same names": (lambda d: save_cameras(cameras(2, 0), d / "a.json", ["a", "a"]), "must differ"),
    "spaces": (lambda d: save_cameras(cameras(1, 0), d / "a", ["a b"]), "spaces"),
    "a folder of other things": (lambda d: save_cameras(cameras(1, 0), d), "not replaced"),
}


@pytest.mark.parametrize("call, sentence", BAD.values(), ids=BAD.keys())
def test_what_cannot_be_written_is_refused(tmp_path, call, sentence):
    (tmp_path / "keep.me").write_text("mine")
    with pytest.raises(InputError, match=sentence):
        call(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["keep.me"]
