"""Damaged, lying and hostile scene files: one sentence that names the file, soon, without eating memory.

The cases are generated: every format is cut at many places, emptied, renamed, given lying headers and bombs.
"""

import gzip
import io as bytes_io
import json
import os
import struct
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from splat_scenes import room

from lyra import io
from lyra.scene import DynamicGaussians, Gaussians, InputError

SUFFIXES = [".ply", ".spz", ".splat", ".sog", ".glb", ".lyra4d"]
MEMORY = 64 << 20  # bytes that a refusal may use; the files are below 100 kB


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """One good file a format."""
    folder, files = tmp_path_factory.mktemp("whole"), {}
    for suffix in SUFFIXES:
        io.save(room(100, 4), folder / f"a{suffix}")
        files[suffix] = (folder / f"a{suffix}").read_bytes()
    return files


def refused(path) -> str:
    """Load `path`, which must be refused within a second and MEMORY by one sentence; returns the sentence."""
    before = sorted(p.name for p in path.parent.iterdir())
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(InputError) as caught:
            io.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and len(sentence) < 400, sentence
    assert time.process_time() - began < 1 and peak < MEMORY, (time.process_time() - began, peak)
    assert sorted(p.name for p in path.parent.iterdir()) == before
    return sentence


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_short(tmp_path, whole, suffix, share):
    data = whole[suffix]
    cut = int(len(data) * share)
    cut -= suffix == ".splat" and cut % 32 == 0  # a .splat has no length: whole rows are a whole file
    (tmp_path / f"a{suffix}").write_bytes(data[: max(cut, 1)])
    refused(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".usdc", ".usda", ".usdz"])
@pytest.mark.parametrize("kind", ["empty", "text", "zeros", "noise", "folder", "absent", "secret"])
def test_not_a_scene(tmp_path, suffix, kind):
    if suffix.startswith(".usd"):
        pytest.importorskip("pxr", reason="needs the extra usd")
    path = tmp_path / f"a{suffix}"
    contents = {
        "empty": b"",
        "text": b"Not a scene at all, just some words.\n" * 32,
        "zeros": bytes(4096),
        "noise": np.random.default_rng(1).integers(0, 256, 4096, np.uint8).tobytes(),
    }
    if kind == "folder":
        path.mkdir()
    elif kind == "secret":
        path.symlink_to("/proc/self/mem")  # opens, but cannot be read, not even by root
    elif kind != "absent":
        path.write_bytes(contents[kind])
    refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("other", SUFFIXES)
def test_suffix_of_another_format(tmp_path, whole, suffix, other):
    if suffix != other:
        (tmp_path / f"a{suffix}").write_bytes(whole[other] + bytes(-len(whole[other]) % 32 + 1))
        refused(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".splat"])
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_crash(tmp_path, whole, suffix, seed):
    """Random damage is either found, or yields finite Gaussians; nothing else may be raised."""
    g = np.random.default_rng(seed)
    data = bytearray(whole[suffix])
    for _ in range(1 + seed % 4):
        data[int(g.integers(0, min(len(data), 600) if seed % 2 else len(data)))] ^= int(g.integers(1, 256))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(data))
    try:
        found = io.load(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        flat = found.gaussians if isinstance(found, DynamicGaussians) else found
        assert isinstance(flat, Gaussians) and len(flat) > 0 and bool(flat.finite().all())


def _ply(header: list[str], body: bytes = b"") -> bytes:
    return "\n".join(["ply", *header, "end_header", ""]).encode() + body


FLOATS = [f"property float {name}" for name in (
    "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2",
    "rot_3",
)]  # fmt: skip
LITTLE, ASCII = "format binary_little_endian 1.0", "format ascii 1.0"
NAN = np.full(14, np.nan, "<f4").tobytes()
LYING_PLY = {
    "ten million rows": _ply([LITTLE, "element vertex 10000000", *FLOATS], NAN),
    "2^62 rows": _ply([LITTLE, f"element vertex {2**62}", *FLOATS], NAN),
    "ten million text rows": _ply([ASCII, "element vertex 10000000", *FLOATS], b"1 " * 14),
    "no rows": _ply([LITTLE, "element vertex 0", *FLOATS]),
    "minus one row": _ply([LITTLE, "element vertex -1", *FLOATS]),
    "rows in words": _ply([LITTLE, "element vertex many", *FLOATS]),
    "only NaN": _ply([LITTLE, "element vertex 2", *FLOATS], NAN * 2),
    "infinite scales": _ply([LITTLE, "element vertex 1", *FLOATS], np.full(14, 1e30, "<f4").tobytes()),
    "no format": _ply(["element vertex 1", *FLOATS], NAN),
    "unknown format": _ply(["format binary_middle_endian 1.0", "element vertex 1", *FLOATS], NAN),
    "unknown type": _ply([LITTLE, "element vertex 1", "property quaternion rot"], NAN),
    "property before element": _ply([LITTLE, "property float x", "element vertex 1"], NAN),
    "no vertex": _ply([LITTLE, "element face 1", "property float x"], NAN),
    "point cloud": _ply([LITTLE, "element vertex 1", *FLOATS[:3]], NAN),
    "no opacity": _ply([LITTLE, "element vertex 1", *(f for f in FLOATS if "opacity" not in f)], NAN),
    "five f_rest": _ply([LITTLE, "element vertex 1", *FLOATS, *(f"property float f_rest_{i}" for i in range(5))], NAN),
    "twice x": _ply([LITTLE, "element vertex 1", FLOATS[0], *FLOATS], NAN * 2),
    "x is a list": _ply([LITTLE, "element vertex 1", "property list uchar float x", *FLOATS[1:]], NAN * 2),
    "huge list": _ply([LITTLE, "element vertex 1", "property list uint float t", *FLOATS], b"\xff" * 80),
    "negative list": _ply([LITTLE, "element vertex 1", "property list int float t", *FLOATS], b"\xff" * 80),
    "huge element before": _ply(
        [LITTLE, "element face 999999999", "property list uchar int v", "element vertex 1", *FLOATS], NAN
    ),
    "too few words": _ply([ASCII, "element vertex 1", *FLOATS], b"1 2 3 4 5 6 7 8 9 10 11 12 13            \n"),
    "words": _ply([ASCII, "element vertex 1", *FLOATS], b"a b c d e f g h i j k l m n\n"),
    "header without end": b"ply\n" + b"comment x\n" * 200_000,
    "endless line": b"ply\n" + b"x" * 1_000_000,
    "compressed without chunks": _ply([LITTLE, "element vertex 1", "property uint packed_position"], NAN),
    "compressed, too few chunks": _ply(
        [
            LITTLE, "element chunk 1",
            *(f"property float {m}_{w}{a}" for w in ("", "scale_") for m in ("min", "max") for a in "xyz"),
            "element vertex 300", *(f"property uint packed_{n}" for n in ("position", "rotation", "scale", "color")),
        ],
        bytes(48 + 300 * 16),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING_PLY)
def test_lying_ply(tmp_path, case):
    (tmp_path / "a.ply").write_bytes(LYING_PLY[case])
    refused(tmp_path / "a.ply")


def _spz(count: int, degree: int = 0, version: int = 3, fraction: int = 12, size: int = 200) -> bytes:
    head = struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, fraction, 0, 0)
    return gzip.compress(head + bytes(size))


LYING_SPZ = {
    "no rows": _spz(0),
    "four billion rows": _spz(2**32 - 1),
    "ten million rows": _spz(10_000_000),
    "one row too many": _spz(11),
    "one row too few": _spz(9),
    "degree 9": _spz(10, degree=9),
    "version 0": _spz(10, version=0),
    "version 77": _spz(10, version=77),
    "fraction 200": _spz(10, fraction=200),
    "bomb": gzip.compress(struct.pack("<4sIIBBBB", b"NGSP", 3, 4_000_000, 0, 12, 0, 0) + bytes(80_000_000)),
    "other gzip": gzip.compress(b"hello" * 100),
    "bad checksum": _spz(10)[:-8] + bytes(8),
    "version 4, lying table": struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 10**9, 0, 12, 0, 5, 32) + b"\xff" * 200,
    "version 4, no table": struct.pack("<4sIIBBBBI12x", b"NGSP", 4, 10, 0, 12, 0, 5, 2**31),
    "version 9 bare": struct.pack("<4sIIBBBBI12x", b"NGSP", 9, 10, 0, 12, 0, 5, 32),
}


@pytest.mark.parametrize("case", LYING_SPZ)
def test_lying_spz(tmp_path, case):
    (tmp_path / "a.spz").write_bytes(LYING_SPZ[case])
    refused(tmp_path / "a.spz")


def _edited_4d(data: bytes, edit) -> bytes:
    (length,) = struct.unpack_from("<I", data, 8)
    header = json.loads(data[12 : 12 + length])
    edit(header)
    text = json.dumps(header).encode()
    return data[:8] + struct.pack("<I", len(text)) + text + data[12 + length :]


def _set(*keys):
    """An edit that puts the last of `keys` at the path of the others."""

    def edit(tree):
        *path, last, value = keys
        for key in path:
            tree = tree[key]
        if value is ...:
            del tree[last]
        else:
            tree[last] = value

    return edit


LYING_4D = {
    "other version": _set("version", 2), "degree 7": _set("sh_degree", 7), "degree in words": _set("sh_degree", "one"),
    "count": _set("count", 99), "no chunks": _set("chunks", []), "chunks gone": _set("chunks", ...),
    "chunks null": _set("chunks", None), "ten million": _set("chunks", 0, "count", 10_000_000),
    "2^60": _set("chunks", 0, "count", 2**60), "minus": _set("chunks", 0, "count", -5),
    "fraction": _set("chunks", 0, "count", 99.5), "offset": _set("chunks", 0, "offset", 4),
    "bytes": _set("chunks", 0, "bytes", 10**9), "bytes short": _set("chunks", 0, "bytes", 50),
    "origin": _set("chunks", 0, "origin", [0, 0]), "origin null": _set("chunks", 0, "origin", [None] * 3),
    "step NaN": _set("chunks", 0, "step", float("nan")), "step inf": _set("chunks", 0, "step", float("inf")),
    "start text": _set("chunks", 0, "start", "soon"), "velocity": _set("chunks", 0, "velocity", True),
    "lifetimes": _set("chunks", 0, "lifetimes", True), "flag text": _set("chunks", 0, "velocity", "no"),
    "seen": _set("seen", False), "seen text": _set("seen", "yes"), "duration": _set("duration", "long"),
    "duration 0": _set("duration", -1), "ends first": lambda h: (_set("duration", 1)(h), _set("fps", 1)(h),
    _set("chunks", 0, "start", 2)(h), _set("chunks", 0, "end", 1)(h)),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING_4D)
def test_lying_lyra4d(tmp_path, whole, case):
    (tmp_path / "a.lyra4d").write_bytes(_edited_4d(whole[".lyra4d"], LYING_4D[case]))
    refused(tmp_path / "a.lyra4d")


@pytest.mark.parametrize("text", [b"[]", b"{}", b"null", b"{" * 100_000, b"\xff\xfe", b'{"format": 1', b"[" * 100_000])
def test_headers_that_are_no_headers(tmp_path, text):
    (tmp_path / "a.lyra4d").write_bytes(b"LYRA4D01" + struct.pack("<I", len(text)) + text)
    refused(tmp_path / "a.lyra4d")
    padded = text + b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(padded), len(padded), b"JSON")
    (tmp_path / "a.glb").write_bytes(head + padded)
    refused(tmp_path / "a.glb")
    with zipfile.ZipFile(tmp_path / "a.sog", "w") as archive:
        archive.writestr("meta.json", text)
    refused(tmp_path / "a.sog")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "sequence.json").write_bytes(text)
    refused(tmp_path / "frames")


def _edited_glb(data: bytes, edit) -> bytes:
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    edit(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


PRIMITIVE = ("meshes", 0, "primitives", 0)
LYING_GLB = {
    "count": _set("accessors", 0, "count", 10_000_000), "no count": _set("accessors", 0, "count", 0),
    "minus": _set("accessors", 0, "count", -1), "type": _set("accessors", 0, "type", "MAT4"),
    "component": _set("accessors", 0, "componentType", 1), "view": _set("accessors", 0, "bufferView", 99),
    "offset": _set("bufferViews", 0, "byteOffset", 10**12), "stride": _set("bufferViews", 0, "byteStride", 1),
    "stride text": _set("bufferViews", 0, "byteStride", "x"), "other buffer": _set("bufferViews", 0, "buffer", 1),
    "no extension": _set(*PRIMITIVE, "extensions", {}), "attributes": _set(*PRIMITIVE, "attributes", {}),
    "no rotation": _set(*PRIMITIVE, "attributes", "KHR_gaussian_splatting:ROTATION", ...),
    "accessor": _set(*PRIMITIVE, "attributes", "POSITION", 999), "mesh": _set("nodes", 0, "mesh", 7),
    "loop": _set("nodes", 0, "children", [0]), "scene": _set("scene", 5), "nodes": _set("nodes", {}),
    "shear": _set("nodes", 0, {"mesh": 0, "matrix": [1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}),
    "stretch": _set("nodes", 0, "scale", [1, 2, 3]), "flat": _set("nodes", 0, "scale", [0, 0, 0]),
    "rotation": _set("nodes", 0, "rotation", [1]), "NaN": _set("nodes", 0, "translation", [float("nan")] * 3),
    "sparse": _set("accessors", 0, "sparse", {}), "shorter": _set("accessors", 1, "count", 50),
}  # fmt: skip


@pytest.mark.parametrize("case", LYING_GLB)
def test_lying_glb(tmp_path, whole, case):
    (tmp_path / "a.glb").write_bytes(_edited_glb(whole[".glb"], LYING_GLB[case]))
    refused(tmp_path / "a.glb")


def _edited_sog(data: bytes, edit=None, **members) -> bytes:
    out = bytes_io.BytesIO()
    with zipfile.ZipFile(bytes_io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = members.get(name.split(".")[0], old.read(name))
            if name == "meta.json" and edit is not None:
                meta = json.loads(content)
                edit(meta)
                content = json.dumps(meta).encode()
            if content is not None:
                new.writestr(name, content)
    return out.getvalue()


def _webp(width: int, height: int) -> bytes:
    out = bytes_io.BytesIO()
    Image.new("RGBA", (width, height), (1, 2, 3, 255)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def _png_bomb() -> bytes:
    """60,000 x 60,000 pixels in the header, nothing behind it."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


LYING_SOG = {
    "version 1": {"edit": _set("version", 1)}, "count": {"edit": _set("count", 10_000_000)},
    "none": {"edit": _set("count", 0)}, "count text": {"edit": _set("count", "100")},
    "codebook": {"edit": _set("scales", "codebook", [1, 2])}, "no codebook": {"edit": _set("sh0", "codebook", ...)},
    "words": {"edit": _set("sh0", "codebook", ["x"] * 256)}, "range": {"edit": _set("means", "mins", [0])},
    "NaN range": {"edit": _set("means", "mins", [float("nan")] * 3)}, "bands": {"edit": _set("shN", "bands", 9)},
    "absent file": {"edit": _set("means", "files", ["nope.webp", "nope.webp"])},
    "palette width": {"edit": _set("shN", "bands", 3)}, "no means": {"means_l": None}, "no meta": {"meta": None},
    "damaged image": {"quats": b"RIFF1234WEBP"}, "empty image": {"sh0": b""}, "small image": {"scales": _webp(4, 4)},
    "rotation tags": {"quats": _webp(12, 12)[:-1] + b"\0"}, "image bomb": {"means_u": _png_bomb()},
    "labels": {"shN_labels": _webp(12, 12)}, "zip bomb": {"means_l": bytes(100 << 20)},
    "large meta": {"meta": b" " * (2 << 20)},
}  # fmt: skip


@pytest.mark.parametrize("case", LYING_SOG)
def test_lying_sog(tmp_path, whole, case):
    (tmp_path / "a.sog").write_bytes(_edited_sog(whole[".sog"], **LYING_SOG[case]))
    refused(tmp_path / "a.sog")


@pytest.mark.parametrize("case", ["empty", "gap", "escape", "fps", "none", "damaged frame", "no frames"])
def test_lying_sequences(tmp_path, case):
    folder = tmp_path / "frames"
    io.save(DynamicGaussians.from_frames([room(20), room(20, seed=1)], 5.0), folder)
    marker = json.loads((folder / "sequence.json").read_text())
    if case == "empty":
        for file in folder.iterdir():
            file.unlink()
    elif case == "gap":
        (folder / "0001.ply").unlink()
    elif case == "damaged frame":
        (folder / "0001.ply").write_bytes(b"ply\n")
    else:
        edit = {
            "escape": _set("frames", 0, "file", "../secret.ply"), "fps": _set("fps", 0), "none": _set("frames", []),
            "no frames": _set("frames", ...),
        }[case]  # fmt: skip
        edit(marker)
        (folder / "sequence.json").write_text(json.dumps(marker))
    assert str(folder) in refused(folder)


@pytest.mark.parametrize("row", ["nan", "negative", "turns"])
def test_splat_rows_that_make_no_sense(tmp_path, whole, row):
    rows = np.frombuffer(whole[".splat"], np.uint8).reshape(-1, 32).copy()
    if row == "turns":
        rows[:, 28:] = 128
    else:
        rows[:, 12:16] = np.frombuffer(np.float32({"nan": np.nan, "negative": -1}[row]).tobytes(), np.uint8)
    (tmp_path / "a.splat").write_bytes(rows.tobytes())
    refused(tmp_path / "a.splat")


def test_output_folder_stays_untouched(tmp_path):
    """Every refused save leaves the folder as it was, file by file."""
    (tmp_path / "keep.txt").write_text("mine")
    bad = room(10)
    bad = Gaussians(bad.means * torch.nan, bad.quats, bad.scales, bad.opacities, bad.sh)
    for suffix in [*SUFFIXES, ".xyz", ""]:
        for scene in (bad, Gaussians.empty()):
            with pytest.raises(InputError):
                io.save(scene, tmp_path / f"out{suffix}")
    assert os.listdir(tmp_path) == ["keep.txt"]
