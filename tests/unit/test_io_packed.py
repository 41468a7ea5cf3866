"""The `.lyra4d` container against a second reader, written from docs/formats.md alone."""

import gzip
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from io_scenes import moving_scene, random_scene
from strategies import generator

from lyra.io import packed
from lyra.scene import DynamicGaussians
from lyra.scene.sh import C0


def decode(data: bytes) -> tuple[dict, list[dict[str, np.ndarray]]]:
    """Header and columns as floats, number by number as the document says."""
    assert data[:8] == b"LYRA4D01"
    (length,) = struct.unpack("<I", data[8:12])
    header = json.loads(data[12 : 12 + length])
    k, chunks = (header["sh_degree"] + 1) ** 2, []
    for chunk in header["chunks"]:
        begin = 12 + length + chunk["offset"]
        raw, n, at, columns = gzip.decompress(data[begin : begin + chunk["bytes"]]), chunk["count"], 0, {}
        layout = [("position", 3, 3), ("scale", 3, 2), ("rotation", 3, 2), ("colour", 3, 2), ("opacity", 1, 1)]
        layout += [("sh", 3 * (k - 1), 2)] + [("seen", 1, 1)] * header["seen"]
        layout += [("velocity", 3, 4)] * chunk["velocity"] + [("lifetime", 2, 4)] * chunk["lifetimes"]
        for name, components, width in layout:
            q = np.zeros((n, components), np.uint64)
            for c in range(components):
                for w in range(width):
                    plane = raw[at + (c * width + w) * n :][:n]
                    q[:, c] += np.frombuffer(plane, np.uint8).astype(np.uint64) << np.uint64(8 * w)
            at += components * width * n
            columns[name] = q
        assert at == len(raw)
        chunks.append(_floats(columns, chunk))
    return header, chunks


def _floats(q: dict[str, np.ndarray], chunk: dict) -> dict[str, np.ndarray]:
    out = {"means": np.array(chunk["origin"]) + chunk["step"] * q["position"]}
    out["scales"] = np.where(q["scale"] > 0, np.exp((q["scale"].astype(float) - 32768) / 128), 0)
    quats = np.zeros((len(out["means"]), 4))
    for i, (a, b, c) in enumerate(q["rotation"].astype(int)):
        largest = (a >> 15) | ((b >> 15) << 1)
        others = [np.sqrt(0.5) * ((v & 32767) - 16384) / 16383 for v in (a, b, c)]
        quats[i] = np.insert(others, largest, np.sqrt(max(0, 1 - sum(v * v for v in others))))
    out["quats"] = quats
    out["rgb"] = (q["colour"].astype(float) - 32768) / 512
    out["opacities"] = q["opacity"][:, 0] / 255
    out["sh"] = (q["sh"].astype(float) - 32896) / 256
    if "seen" in q:
        out["seen"] = q["seen"][:, 0]
    for name in ("velocity", "lifetime"):
        if name in q:
            out[name] = q[name].astype("<u4").view("<f4")
    return out


def scattered_lifetimes(n: int = 1500) -> DynamicGaussians:
    """Every Gaussian has a life of its own and a velocity."""
    g = generator(4)
    scene, start = random_scene(n, 4, 3), torch.rand(n, generator=g)
    end = start + 0.1 + torch.rand(n, generator=g)
    return DynamicGaussians(scene, start, end, torch.randn(n, 3, generator=g), 2.0, 24.0)


@pytest.mark.parametrize("scene", [random_scene(300, 9), moving_scene(), scattered_lifetimes()], ids=["a", "b", "c"])
def test_second_reader_agrees(scene):
    """Both readers see the same numbers (float32 rounding)."""
    data = packed.pack(scene, scale="relative", gravity=(0, 1, 0))
    header, chunks = decode(data)
    found = packed.unpack(data)
    flat = found.gaussians if isinstance(found, DynamicGaussians) else found
    assert header["count"] == len(scene) == len(flat) and header["gravity"] == [0, 1, 0]
    for name in ("means", "scales", "quats", "opacities", "seen"):
        both = np.concatenate([c[name] for c in chunks]), getattr(flat, name).numpy()
        assert np.allclose(*both, rtol=2e-6, atol=2e-6), name
    assert np.allclose(np.concatenate([c["rgb"] for c in chunks]), flat.sh[:, 0].numpy() * C0 + 0.5, atol=1e-5)
    assert np.allclose(np.concatenate([c["sh"] for c in chunks]).reshape(len(flat), -1, 3), flat.sh[:, 1:].numpy())
    low, high = header["box"]
    assert np.allclose(low, flat.means.amin(0), atol=1e-3) and np.allclose(high, flat.means.amax(0), atol=1e-3)


def test_a_moving_scene_is_seekable():
    """The chunks whose [start, end) holds t are all that is needed to show t; the still part is stored once."""
    scene = moving_scene(frames=5, n=40)
    header, chunks = decode(packed.pack(scene))
    still = [c for c in header["chunks"] if c["start"] is None and c["end"] is None]
    assert sum(c["count"] for c in still) == 80 and len(header["chunks"]) == 6
    for time in (0.0, 0.25, 0.49):
        alive = [
            part for c, part in zip(header["chunks"], chunks, strict=True)
            if (c["start"] is None or c["start"] <= time) and (c["end"] is None or time < c["end"])
        ]  # fmt: skip
        shown = np.sort(np.concatenate([part["means"][:, 0] for part in alive]))
        assert np.allclose(shown, scene.at(time).means[:, 0].sort().values, atol=1e-3)


def test_lifetimes_and_velocities_are_exact():
    scene = scattered_lifetimes()
    found = packed.unpack(packed.pack(scene))
    for part in ("start", "end"):
        assert torch.equal(getattr(scene, part).sort().values, getattr(found, part).sort().values)
    a, b = scene.velocities, found.velocities
    assert torch.equal(a[a[:, 0].argsort()], b[b[:, 0].argsort()])
    for time in (0.2, 0.9, 1.7):
        assert len(scene.at(time)) == len(found.at(time))


def test_packing_is_deterministic_and_keeps_provenance_unknown():
    scene = replace(random_scene(100), seen=None)
    assert packed.pack(scene) == packed.pack(scene)
    assert packed.unpack(packed.pack(scene)).seen is None


def test_large_scenes_are_split(monkeypatch):
    monkeypatch.setattr(packed, "_CHUNK", 128)
    scene = random_scene(1000)
    header, _ = decode(packed.pack(scene))
    assert [c["count"] for c in header["chunks"]] == [128] * 7 + [104]
    assert len(packed.unpack(packed.pack(scene))) == 1000
