"""Low-rank changes of a denoiser: without effect at first, merged as they are attached, bound to what they change."""

from dataclasses import replace

import pytest
import torch
from denoiser_cases import NETWORK, tiny_codec
from torch import nn

from lyra.scene import InputError
from lyra.teacher import adapter
from lyra.teacher.adapter import LowRank, attach, merged
from lyra.teacher.codec import VideoCodec
from lyra.teacher.cosmos import CosmosTeacher, build, forward
from lyra.weights import load_folder
from lyra.weights.storage import SMALLEST

RANK = 96  # so that factors are large enough to be stored as integers: 96 x 48 numbers


@pytest.fixture(scope="module")
def base() -> nn.Module:
    """A random network, in which no layer is zero."""
    torch.manual_seed(0)
    return build(NETWORK).eval()


def learnt(base: nn.Module, rank: int = RANK) -> nn.Module:
    """The network with changes that have an effect."""
    torch.manual_seed(1)
    network = attach(base, rank)
    with torch.no_grad():
        for layer in (module for module in network.modules() if isinstance(module, LowRank)):
            layer.up.normal_(std=0.05)
    return network


def factors(network: nn.Module) -> dict[str, torch.Tensor]:
    """What an attached network learns."""
    return {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}


def made(network: nn.Module) -> torch.Tensor:
    """What a network makes of fixed latents, buffers and text."""
    g = torch.Generator().manual_seed(2)
    x, known, buffers, text = (
        torch.randn(2, channels, 1, 4, 6, generator=g) for channels in (4, 1, NETWORK.buffer_channels, 64)
    )
    return forward(network, x, known, buffers, text.flatten(2).transpose(1, 2)[:, :16], 1.5, NETWORK.fps)


def test_an_attached_adapter_changes_nothing_at_first(base):
    network = attach(base, 4)
    assert torch.equal(made(network), made(base))
    names = {name.rpartition(".")[0] for name in factors(network)}
    assert len(names) == 2 + 2 * (4 + 4 + 2) and not any("norm" in name or "time" in name for name in names)
    assert all(p.requires_grad for p in base.parameters())


def test_merged_weights_make_what_the_attached_ones_make_and_leave_the_base(base):
    before = {name: value.clone() for name, value in base.state_dict().items()}
    network = learnt(base)
    whole = merged(base, factors(network))
    assert (made(network) - made(base)).abs().max() > 0.1
    assert torch.allclose(made(whole), made(network), atol=1e-5)  # worst measured: 0
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert whole.state_dict().keys() == before.keys()


@pytest.mark.parametrize("silent", [("to_out",), ("to_out", "to_v")])
def test_a_base_that_never_read_text_can_learn_to_unless_its_values_are_zero(base, silent):
    """The way out alone is zero after training on videos; zero values besides leave nothing to start with."""
    quiet = merged(base, {name: torch.zeros_like(value) for name, value in factors(attach(base, 1)).items()})
    for name, value in quiet.state_dict().items():
        if "attn2" in name and any(part in name for part in silent):
            value.zero_()
    network = attach(quiet, 4)
    made(network).square().mean().backward()
    moved = any(bool(p.grad.any()) for name, p in network.named_parameters() if "attn2" in name and p.requires_grad)
    assert moved == ("to_v" not in silent)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    """An untrained codec."""
    return tiny_codec()


@pytest.mark.parametrize("precision", ["float32", "int7"])
def test_what_is_saved_is_loaded_onto_its_base(base, codec, tmp_path, precision):
    """Errors relative to the largest number of a row; worst measured with int7 7.94e-3 (0.5 / 63 = 7.94e-3),
    and 0.038 standard deviations of what the network makes."""
    network = learnt(base)
    CosmosTeacher(codec, base, NETWORK).save(tmp_path / "denoiser", "float32")
    adapter.save(tmp_path / "first_frame", factors(network), tmp_path / "denoiser", precision)
    loaded = adapter.load(tmp_path / "first_frame", tmp_path / "denoiser", codec)
    assert loaded.config == NETWORK and not loaded.network.training
    _, stored = load_folder(tmp_path / "first_frame")
    assert torch.equal(made(loaded.network), made(merged(base, stored)))
    limit = {"float32": 0.0, "int7": 0.5 / 63 * 1.01}[precision]
    for name, value in factors(network).items():
        assert value.numel() >= SMALLEST or "proj_out" in name or "patch" in name
        assert bool(((stored[name] - value).abs() <= limit * value.abs().amax(1, keepdim=True)).all()), name
    worst = (made(loaded.network) - made(network)).abs().max()
    assert worst <= {"float32": 1e-6, "int7": 0.05}[precision] * made(network).std(), worst


def test_an_adapter_of_other_weights_is_refused(base, codec, tmp_path):
    CosmosTeacher(codec, base, NETWORK).save(tmp_path / "a", "float32")
    CosmosTeacher(codec, merged(base, factors(learnt(base, 2))), NETWORK).save(tmp_path / "b", "float32")
    adapter.save(tmp_path / "first_frame", factors(attach(base, 2)), tmp_path / "a")
    with pytest.raises(InputError, match="trained on another denoiser"):
        adapter.load(tmp_path / "first_frame", tmp_path / "b", codec)


def test_factors_of_another_network_are_refused(base):
    mine = factors(attach(base, 2))
    with pytest.raises(InputError, match="changes 12 layers"):
        merged(base, factors(attach(build(replace(NETWORK, blocks=1)), 2)))
    with pytest.raises(InputError, match=r"another network: \S+ is \["):
        merged(base, factors(attach(build(replace(NETWORK, head_dim=12)), 2)))
    for damaged in (mine["proj_out.up"][:1], mine["proj_out.up"][0], torch.zeros(())):
        with pytest.raises(InputError, match="another network: proj_out is"):
            merged(base, mine | {"proj_out.up": damaged})
