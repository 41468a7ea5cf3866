"""The published files: small random weights written into the released containers give the published results."""

from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from golden_cases import Case, case, cases
from test_gen3c_golden import _reference_noise, network_of
from test_tokenizer_golden import codec_of
from torch import nn

from lyra.scene import InputError
from lyra.teacher import gen3c
from lyra.teacher.convert import read_checkpoint
from lyra.teacher.cosmos import CameraRequest, Conditioning, CosmosTeacher
from lyra.teacher.sampler import KarrasSchedule
from lyra.teacher.torchscript import read_torchscript


class _Tree(nn.Module):
    """A module with these tensors at these dotted names, and nothing to compute."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        children: dict[str, dict] = {}
        for key, value in state.items():
            name, _, rest = key.partition(".")
            if rest:
                children.setdefault(name, {})[rest] = value
            elif value.is_floating_point():
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        for name, below in children.items():
            self.add_module(name, _Tree(below))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


PIPELINE = cases("gen3c_pipeline")[0].values[0]


@cache
def _parts() -> tuple[Case, Case, Case]:
    """Pipeline case, transformer case and tokenizer case that belong together."""
    pipeline = case(PIPELINE)
    found = []
    for kind, key in (("gen3c_transformer", "network_weights"), ("tokenizer", "tokenizer_weights")):
        file = pipeline.spec["files"][key]["file"]
        options = [case(p.values[0]) for p in cases(kind)]
        found.append(next(c for c in options if c.spec["files"]["weights"]["file"] == file))
    return pipeline, *found


def _write_tokenizer(folder: Path, files: tuple[str, ...]) -> None:
    """The small weights as the release has them: in two archives, in one, or as a table."""
    tokenizer = _parts()[2]
    folder.mkdir(parents=True)
    for file in files:
        halves = {"encoder.jit": ("encoder.", "quant_conv."), "decoder.jit": ("decoder.", "post_quant_conv.")}
        part = {k: v for k, v in tokenizer.weights().items() if k.startswith(halves.get(file, ""))}
        if file.endswith(".jit"):
            torch.jit.script(_Tree(part)).save(folder / file)
        else:
            torch.save(part, folder / file)
    statistics = tuple(tokenizer.tensors[name].reshape(1, -1) for name in ("mean_table", "std_table"))
    torch.save(statistics, folder / "mean_std.pt")


@pytest.fixture(scope="module")
def sizes() -> gen3c.Gen3cSizes:
    """Sizes of the small networks."""
    _, transformer, tokenizer = _parts()
    network, codec = network_of(transformer, transformer.weights())[1], codec_of(tokenizer, tokenizer.weights()).config
    return gen3c.Gen3cSizes(network, codec)


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    """A folder like that of the release."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "Gen3C-Cosmos-7B").mkdir()
    extra = {"logvar.0.weight": torch.ones(3), "net.blocks.block0._extra_state": torch.ones(1)}
    torch.save({"model": _parts()[1].weights() | extra, "step": 7}, folder / "Gen3C-Cosmos-7B/model.pt")
    _write_tokenizer(folder / gen3c.TOKENIZER_FOLDER, ("encoder.jit", "decoder.jit"))
    return folder


@pytest.fixture(scope="module")
def teacher(release, sizes) -> CosmosTeacher:
    """What is loaded from it."""
    return gen3c.load(release, dtype=torch.float32, sizes=sizes)


@pytest.fixture(scope="module")
def cond(teacher) -> Conditioning:
    """The conditioning of the pipeline case."""
    t = _parts()[0].tensors
    request = CameraRequest(t["image"][:, :, 0], t["warped"], t["mask"].float(), t["text"], t["neg_text"])
    return teacher.condition(request)


def _sample(teacher: CosmosTeacher, cond: Conditioning, steps: int) -> torch.Tensor:
    c, t = _parts()[0].config, _parts()[0].tensors
    augment = torch.from_numpy(_reference_noise(c["seed_augment"], t["noise"].shape))
    schedule = KarrasSchedule(steps)
    return teacher.sample(cond, t["noise"], schedule=schedule, guidance=c["guidance"], augment_noise=augment)


def test_released_files_give_the_published_results(teacher, cond):
    """Worst share of a tolerance as in `test_gen3c_golden`."""
    pipeline = _parts()[0]
    pipeline.check("buffer_latents", cond.buffers)
    pipeline.check("sample", _sample(teacher, cond, pipeline.config["steps"]))
    video = teacher.codec.decode(pipeline.tensors["sample"])
    pipeline.check("decoded", video[:, :, : pipeline.tensors["decoded"].shape[2]])


def _assert_equal(a: nn.Module, b: nn.Module) -> None:
    expected, found = a.state_dict(), b.state_dict()
    assert expected.keys() == found.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_converted_folder_holds_the_same_teacher(tmp_path, release, sizes, teacher):
    """Cut into pieces, with the statistics of the latents, and readable by the stock classes."""
    assert gen3c.is_gen3c(release) and not gen3c.is_gen3c(release / gen3c.TOKENIZER_FOLDER)
    gen3c.convert(release, tmp_path / "new", dtype=torch.float32, piece="300KB", sizes=sizes)
    pieces = list((tmp_path / "new/transformer").glob("*.safetensors"))
    assert len(pieces) > 2 and max(path.stat().st_size for path in pieces) < 400_000
    assert gen3c.is_gen3c(tmp_path / "new")
    again = gen3c.load(tmp_path / "new", dtype=torch.float32)
    assert again.config == teacher.config and again.codec.config == teacher.codec.config
    _assert_equal(again.network, teacher.network)
    _assert_equal(again.codec, teacher.codec)
    _assert_equal(CosmosTransformer3DModel.from_pretrained(tmp_path / "new/transformer"), teacher.network)


@pytest.mark.parametrize("files", [("autoencoder.jit",), ("model.pt",)])
def test_other_forms_of_the_tokenizer(tmp_path, release, sizes, teacher, files):
    (tmp_path / "Gen3C-Cosmos-7B").symlink_to(release / "Gen3C-Cosmos-7B")
    _write_tokenizer(tmp_path / gen3c.TOKENIZER_FOLDER, files)
    _assert_equal(gen3c.load(tmp_path, dtype=torch.float32, sizes=sizes).codec, teacher.codec)


def test_memory_choices_give_the_same_latents(release, sizes, teacher, cond):
    """On the CPU: streamed blocks are exact, 8-bit floats change latents by 4.3 % of their norm (random weights)."""
    full = _sample(teacher, cond, 1)
    low = gen3c.load(release, dtype=torch.float32, sizes=sizes, memory="low")
    assert torch.equal(full, _sample(low, cond, 1))
    lowest = gen3c.load(release, dtype=torch.float32, sizes=sizes, memory="lowest")
    assert 0 < (_sample(lowest, cond, 1) - full).norm() / full.norm() < 0.1
    assert lowest.network.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn


def test_what_does_not_fit_is_named(tmp_path, release, sizes):
    with pytest.raises(InputError, match=r"Gen3C-Cosmos-7B/model\.pt"):
        gen3c.load(tmp_path)
    with pytest.raises(InputError, match="does not fit"):
        gen3c.load(release)
    with pytest.raises(InputError, match="memory must be one of full, low, lowest"):
        gen3c.load(release, sizes=sizes, memory="none")
    (tmp_path / "Gen3C-Cosmos-7B").symlink_to(release / "Gen3C-Cosmos-7B")
    _write_tokenizer(tmp_path / gen3c.TOKENIZER_FOLDER, ("model.pt",))
    (tmp_path / gen3c.TOKENIZER_FOLDER / "mean_std.pt").unlink()
    with pytest.raises(InputError, match=r"mean_std\.pt"):
        gen3c.load(tmp_path, sizes=sizes)


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_archives_are_read_without_running_anything(tmp_path, capsys):
    """The same tensors as torch's own reader; anything but modules and numbers is refused, also in a .pt file."""
    state = {"a.0.weight": torch.randn(3, 2).T, "a.b": torch.arange(4), "c": torch.randn(2).bfloat16()}
    path = tmp_path / "tree.jit"
    torch.jit.script(_Tree(state)).save(path)
    ours = read_torchscript(path)
    theirs = torch.jit.load(path).state_dict()
    assert ours.keys() == theirs.keys() == state.keys()
    assert all(torch.equal(ours[key], state[key]) and ours[key].dtype == state[key].dtype for key in state)
    torch.save({"model": {"x": _Evil()}}, tmp_path / "bad.pt")
    torch.save(_Evil(), tmp_path / "bad.jit")
    path.write_bytes(path.read_bytes()[:-200])
    for bad, reader in (
        ("bad.jit", read_torchscript),
        ("tree.jit", read_torchscript),
        ("bad.pt", read_checkpoint),
    ):
        with pytest.raises(InputError):
            reader(tmp_path / bad)
    assert "executed" not in capsys.readouterr().out
