"""The embedded depth network: its encoder against the package it comes from, sizes, cameras, storage, upsampling."""

import math

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lyra import depth
from lyra.depth.depth_map import DepthMap, centred_K
from lyra.depth.encoder import CHANNELS, STRIDES, Encoder, convert_imagenet
from lyra.depth.mini import MiniDepth, network_size
from lyra.depth.network import DepthConfig, DepthNetwork
from lyra.depth.upsample import upsample_guided
from lyra.scene import InputError

SMALL = DepthConfig(widths=(16, 16, 16, 16, 16), pixels=64 * 96)


@pytest.fixture(scope="module")
def model():
    """A network with random weights whose output varies over the image."""
    torch.manual_seed(0)
    return MiniDepth(DepthNetwork(SMALL))


def test_encoder_is_the_packages_network():
    torch.manual_seed(1)
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.6)
            nn.init.normal_(layer.bias, 0, 0.1)
    ours = Encoder()
    ours.load_state_dict(convert_imagenet(theirs.state_dict()))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        pyramid, summary = ours(image)
        expected = theirs.extract_features((image * 255 - 127) / 128)
    assert [p.shape[1] for p in pyramid] == list(CHANNELS)
    assert [64 // p.shape[2] for p in pyramid] == list(STRIDES)
    assert float(expected.std()) > 0.1
    assert torch.allclose(summary, expected, atol=1e-5)  # worst of 3 seeds: 1.1e-6


@given(st.integers(8, 5000), st.integers(8, 5000))
def test_network_sizes_have_the_area_and_the_aspect(height, width):
    rows, columns = network_size(height, width, 256 * 448)
    assert rows % 32 == columns % 32 == 0
    assert 0.7 < rows * columns / (256 * 448) < 1.4
    if 0.25 <= width / height <= 4:
        assert abs(math.log(columns / rows * height / width)) < 0.2


@pytest.mark.parametrize("size", [(64, 96), (150, 90), (40, 200), (8, 8)])
def test_any_size_gives_a_map_of_that_size(model, size):
    found = model(torch.rand(3, *size))
    assert found.depth.shape == found.valid.shape == size and found.scale == "metric"
    assert torch.equal(found.depth.isfinite(), found.valid)
    assert (float(found.K[0, 2]), float(found.K[1, 2])) == (size[1] / 2, size[0] / 2)
    assert float(found.K[0, 0]) == float(found.K[1, 1]) > 0


def test_a_given_lens_replaces_the_focal_length_and_scales_depth(model):
    image = torch.rand(3, 64, 96)
    free = model(image)
    longer = free.K.clone()
    longer[:2, :2] *= 2
    given_K = model(image, longer)
    assert torch.equal(given_K.K, longer) and torch.equal(given_K.valid, free.valid)
    ratio = given_K.depth[free.valid] / free.depth[free.valid]
    assert torch.allclose(ratio, torch.tensor(2.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float16", 1e-4), ("int8", 2e-3)]
)  # worst of 3 seeds: 1.2e-5, 3.1e-4
def test_saved_weights_give_the_same_depth(model, tmp_path, precision, tolerance):
    image = torch.rand(3, 64, 96)
    model.save(tmp_path / "depth", precision)
    again = depth.load(tmp_path / "depth")
    first, second = model(image), again(image)
    both = first.valid & second.valid
    assert float(both.float().mean()) > 0.9
    error = (first.depth[both] / second.depth[both]).log().abs()
    assert float(error.mean()) < tolerance


def test_wrong_input_is_explained(model, tmp_path):
    for image in (torch.rand(3, 4, 96), torch.full((3, 64, 96), 2.0), torch.full((3, 64, 96), torch.nan)):
        with pytest.raises(InputError, match="depth needs"):
            model(image)
    with pytest.raises(InputError, match="K must be"):
        model(torch.rand(3, 64, 96), torch.zeros(3, 3))
    with pytest.raises(InputError):
        depth.load(tmp_path / "nothing_here")
    model.save(tmp_path / "a")
    other = MiniDepth(DepthNetwork(DepthConfig(widths=(32, 16, 16, 16, 16), pixels=64 * 96)))
    other.save(tmp_path / "b")
    (tmp_path / "a/config.json").write_text((tmp_path / "b/config.json").read_text())
    with pytest.raises(InputError):
        depth.load(tmp_path / "a")


def test_maps_are_checked_and_relative_ones_have_median_one():
    K = centred_K(10.0, 4, 5)
    values = torch.linspace(2, 40, 20).view(4, 5)
    values[0, 0] = math.nan
    found = DepthMap.of(values, K, torch.ones(4, 5, dtype=torch.bool), "relative")
    assert not found.valid[0, 0] and int((~found.valid).sum()) == 1
    assert float(found.depth[found.valid].median()) == pytest.approx(1)
    with pytest.raises(InputError, match="positive"):
        DepthMap(values, K, torch.ones(4, 5, dtype=torch.bool))


def test_upsampling_keeps_constants_ramps_and_follows_colour_edges():
    guide = torch.rand(3, 8, 12)
    image = torch.rand(3, 24, 36)
    flat = upsample_guided(torch.full((1, 8, 12), 3.0), guide, image)
    assert torch.allclose(flat, torch.tensor(3.0), atol=1e-5)
    grey = torch.full_like(image, 0.5)
    ramp = torch.arange(12.0).expand(1, 8, 12)
    found = upsample_guided(ramp, grey[:, :8, :12], grey)[0, 12]
    assert torch.allclose(found[2:-2], ((torch.arange(36) + 0.5) / 3 - 0.5)[2:-2], atol=1e-4)
    step = (torch.arange(12) >= 6).float().expand(1, 8, 12)
    edge = (torch.arange(36) >= 19).float().expand(3, 24, 36)  # the true edge lies between two coarse pixels
    found = upsample_guided(step, step.expand(3, 8, 12), edge)[0, 12]
    assert torch.allclose(found, edge[0, 0], atol=0.01)
