"""PLY in all its shapes: layouts, byte orders, ASCII, elements and properties that are not ours."""

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from io_scenes import random_scene, worst

from lyra.io import ply, storage


def _header(path) -> list[str]:
    return path.read_bytes().split(b"end_header\n")[0].decode("ascii").splitlines()


def test_layouts(tmp_path):
    """INRIA's column order; 'full' always is 62 floats and has no provenance."""
    scene = random_scene(20, 4)
    ply.save(scene, tmp_path / "a.ply", scale="metric", gravity=(0, 1, 0))
    names = [line.split()[-1] for line in _header(tmp_path / "a.ply") if line.startswith("property")]
    rest = [f"f_rest_{i}" for i in range(9)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"), *rest, "opacity",
        *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3", "seen"),
    ]  # fmt: skip
    comments = [line for line in _header(tmp_path / "a.ply") if line.startswith("comment")]
    assert {"comment scale: metric", "comment gravity: 0 1 0", "comment axes: x right, y down, z forward"} <= {
        *comments
    }
    ply.save(scene, tmp_path / "full.ply", layout="full")
    size = (tmp_path / "full.ply").stat().st_size
    assert size - len("\n".join([*_header(tmp_path / "full.ply"), "end_header\n"])) == 20 * 248
    full = ply.load(tmp_path / "full.ply")
    assert full.seen is None and full.sh.shape == (20, 16, 3)
    assert torch.equal(full.sh[:, :4], scene.sh) and not full.sh[:, 4:].any()


def test_f_rest_is_channel_major(tmp_path):
    scene = random_scene(7, 16, seen=False)
    ply.save(scene, tmp_path / "a.ply")
    body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
    rows = np.frombuffer(body, "<f4").reshape(7, 62)
    assert np.array_equal(rows[:, 9:54].reshape(7, 3, 15), scene.sh[:, 1:].numpy().transpose(0, 2, 1))


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_foreign_elements_and_properties(tmp_path, order):
    """Lists before and inside the vertices, extra elements on both sides, doubles, any column order."""
    scene = random_scene(9, 4, seen=False)
    plain = tmp_path / "plain.ply"
    ply.save(scene, plain)
    rows = np.frombuffer(plain.read_bytes().split(b"end_header\n", 1)[1], "<f4").reshape(9, 26)
    names = [line.split()[-1] for line in _header(plain) if line.startswith("property")][::-1]
    kind = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    lines = ["ply", f"format {kind} 1.0", "comment made elsewhere", "element camera 2", "property double fx"]
    lines += ["element face 3", "property list uchar int vertex_indices", "property float area"]
    lines += ["element vertex 9", "property list uchar short tags"]
    lines += [f"property {'double' if name == 'x' else 'float'} {name}" for name in names]
    lines += ["element color_space 1", "property uchar value", "end_header", ""]
    values = [("d", [1.0]), ("d", [2.0])]
    for i in range(3):
        values.append((f"B{i}if", [i, *range(i), 0.5]))
    for i, row in enumerate(rows):
        code = f"B{i % 3}h" + "".join("d" if name == "x" else "f" for name in names)
        values.append((code, [i % 3, *range(i % 3), *row[::-1].tolist()]))
    values.append(("B", [1]))
    if order:
        body = b"".join(struct.pack(order + code.replace("0i", "").replace("0h", ""), *v) for code, v in values)
    else:
        body = "".join(" ".join(map(repr, v)) + "\n" for _, v in values).encode()
    (tmp_path / "odd.ply").write_bytes("\n".join(lines).encode() + body)
    errors = worst(scene, ply.load(tmp_path / "odd.ply"))
    assert max(errors.values()) < 1e-6


def test_extra_scalar_properties_are_skipped(tmp_path):
    """The fast path with columns in between; CRLF line ends."""
    scene = random_scene(11, 1, seen=False)
    ply.save(scene, tmp_path / "a.ply")
    rows = np.frombuffer((tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1], "<f4").reshape(11, 17)
    names = [line.split()[-1] for line in _header(tmp_path / "a.ply") if line.startswith("property")]
    record = np.zeros(11, [("id", "<u2"), *((name, "<f4") for name in names[:2]), ("confidence", "<f8"),
                           *((name, "<f4") for name in names[2:])])  # fmt: skip
    for i, name in enumerate(names):
        record[name] = rows[:, i]
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 11", "property ushort id"]
    lines += [f"property float {n}" for n in names[:2]] + ["property double confidence"]
    lines += [f"property float {n}" for n in names[2:]] + ["end_header", ""]
    (tmp_path / "b.ply").write_bytes("\r\n".join(lines).encode() + record.tobytes())
    assert max(worst(scene, ply.load(tmp_path / "b.ply")).values()) < 1e-6


def test_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "BLOCK", 64)
    scene = random_scene(1000, 9)
    ply.save(scene, tmp_path / "a.ply")
    found = ply.load(tmp_path / "a.ply")
    assert max(worst(scene, found).values()) < 1e-6 and torch.equal(found.seen, scene.seen)


def test_saved_twice_is_the_same_bytes(tmp_path):
    """Writing what was read changes nothing but the last bits of exp and log."""
    scene = random_scene(100, 4)
    ply.save(scene, tmp_path / "a.ply")
    ply.save(ply.load(tmp_path / "a.ply"), tmp_path / "b.ply")
    assert max(worst(scene, ply.load(tmp_path / "b.ply")).values()) < 1e-6


def test_gradients_and_double_precision_are_no_obstacle(tmp_path):
    scene = random_scene(5).to(torch.float64)
    scene = replace(scene, means=scene.means.requires_grad_())
    ply.save(scene, tmp_path / "a.ply")
    assert ply.load(tmp_path / "a.ply").means.dtype == torch.float32
