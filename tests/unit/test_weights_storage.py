"""Weights folders: what comes back, how far it may differ, and that nothing damaged or mixed is read."""

import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from lyra import weights
from lyra.scene import InputError
from lyra.weights import fingerprint, load_folder, save_folder
from lyra.weights.storage import quantise

CONFIG = {"width": 8, "scale": [1.5, 2.0], "name": "tiny"}


def network(seed: int = 0) -> dict[str, torch.Tensor]:
    """A bit of everything: a matrix, a kernel, small things, a large value, integers, bfloat16."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    return {
        "matrix": normal(96, 64),
        "kernel": normal(32, 16, 3, 3) * 0.02,
        "bias": normal(96),
        "small.weight": normal(8, 8),
        "loud": normal(64, 64) * 1e5,
        "half": normal(64, 80).bfloat16(),
        "count": torch.tensor(7),
        "on": torch.tensor([True, False]),
    }


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int7"])
def test_what_is_saved_comes_back(tmp_path, precision):
    tensors = network()
    save_folder(tmp_path / "new", tensors, CONFIG, precision)
    config, loaded = load_folder(tmp_path / "new")
    assert config == CONFIG
    assert loaded.keys() == tensors.keys()
    for name in ("bias", "small.weight", "loud"):
        assert torch.equal(loaded[name], tensors[name])
    assert loaded["count"] == 7 and loaded["count"].dtype == torch.int64 and loaded["on"].tolist() == [True, False]
    # worst measured relative errors of the rows: 4.9e-4 (float16, half a unit of 11 bits), 4.0e-3 (int8, 0.5 / 127)
    limits = {"float32": 0.0, "float16": 2**-11, "int8": 0.5 / 127 * 1.01, "int7": 0.5 / 63 * 1.01}
    limit = limits[precision]
    for name in ("matrix", "kernel", "half"):
        wanted = tensors[name].float().flatten(1)
        error = (loaded[name].flatten(1) - wanted).abs()
        assert loaded[name].dtype == torch.float32 and loaded[name].shape == tensors[name].shape
        assert bool((error <= limit * wanted.abs().amax(1, keepdim=True)).all())


def test_integers_are_less_than_a_quarter_of_float32(tmp_path):
    tensors = {"w": torch.randn(512, 512, generator=torch.Generator().manual_seed(0))}
    sizes = {}
    for precision in ("float32", "float16", "int8", "int7"):
        save_folder(tmp_path / precision, tensors, CONFIG, precision)
        sizes[precision] = (tmp_path / precision / "model.safetensors").stat().st_size
    assert sizes["float16"] < 0.51 * sizes["float32"] and sizes["int8"] < 0.24 * sizes["float32"]
    assert sizes["int7"] < 0.88 * sizes["int8"]  # measured: 0.87


def test_a_network_computes_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[m for _ in range(4) for m in (torch.nn.Linear(128, 128), torch.nn.SiLU())])
    x = torch.randn(64, 128)
    wanted = net(x).detach()
    worst = {}
    for precision in ("float16", "int8"):
        save_folder(tmp_path / precision, net.state_dict(), CONFIG, precision)
        net.load_state_dict(load_folder(tmp_path / precision)[1])
        worst[precision] = float((net(x).detach() - wanted).norm() / wanted.norm())
    assert worst["float16"] < 5e-4 and worst["int8"] < 2e-2  # measured: 2.0e-4 and 8.2e-3


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-12, 6e4), st.integers(0, 1000))
def test_rounding_to_rows_stays_within_half_a_step(size, seed):
    value = size * torch.randn(7, 33, generator=torch.Generator().manual_seed(seed))
    value[3] = 0
    integers, scale = quantise(value)
    step = scale.double()[:, None]
    assert bool(((integers.double() * step - value.double()).abs() <= 0.5001 * step).all())
    assert bool((integers[3] == 0).all())


def test_same_tensors_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_folder(tmp_path / name, network(), CONFIG, "int8")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    save_folder(tmp_path / "b", network(1), CONFIG, "int8")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_shapes_and_storage_are_in_the_header(tmp_path):
    save_folder(tmp_path, network(), CONFIG, "int8")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        layout = json.loads(file.metadata()["lyra-weights-1"])["layout"]
    assert layout["kernel"] == {"stored": "int8", "shape": [32, 16, 3, 3]}
    assert layout["bias"] == {"stored": "float32", "shape": [96]}


def test_plain_safetensors_are_read_too(tmp_path):
    save_file({"w": torch.ones(3, 3).half()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert torch.equal(load_folder(tmp_path)[1]["w"], torch.ones(3, 3))


def test_damage_is_one_sentence(tmp_path):
    save_folder(tmp_path, network(), CONFIG)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 1
    for broken, message in ((whole[:-500], "damaged"), (b"not weights", "damaged"), (b"", "damaged"),
                            (bytes(flipped), "checksum")):  # fmt: skip
        path.write_bytes(broken)
        with pytest.raises(InputError, match=message):
            load_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot be read"), ("[]", "not a JSON object"), ("{}", "not saved together")]
)
def test_a_config_that_does_not_belong(tmp_path, text, message):
    save_folder(tmp_path, network(), CONFIG)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        load_folder(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_folder(tmp_path)
    with pytest.raises(InputError, match="not 'eyes'"):
        weights.folder("mini", "eyes")


def test_bad_values_are_not_saved(tmp_path):
    save_folder(tmp_path, network(), CONFIG)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="matrix holds NaN"):
        save_folder(tmp_path, {"matrix": torch.full((2, 2), torch.nan)}, CONFIG)
    with pytest.raises(InputError, match="not int4"):
        save_folder(tmp_path, network(), CONFIG, "int4")
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_failed_write_leaves_the_old_folder(tmp_path, monkeypatch):
    save_folder(tmp_path, network(), CONFIG)
    real = os.replace

    def full(source, target):
        if "config" in str(target):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        save_folder(tmp_path, network(), CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert load_folder(tmp_path)[0] == CONFIG


def test_models_of_ones_own(tmp_path, monkeypatch):
    save_folder(tmp_path / "mine" / "codec", network(), CONFIG)
    assert weights.folder(tmp_path / "mine", "codec") == tmp_path / "mine" / "codec"
    assert weights.has(tmp_path / "mine", "codec") and not weights.has(tmp_path / "mine", "depth")
    monkeypatch.setenv("LYRA_MODELS", str(tmp_path))
    assert weights.folder("mine", "codec") == tmp_path / "mine" / "codec"
    with pytest.raises(InputError, match=r"no weights of the depth of mine .*codec/, denoiser/, depth/, decoder/"):
        weights.folder("mine", "depth")
