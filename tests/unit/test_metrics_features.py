"""Frechet distance against closed forms and scipy; scores within masks; the I3D network and its conversion."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from lyra.metrics import I3D, frechet_distance, masked_psnr, masked_ssim, psnr, ssim
from lyra.metrics.i3d import _pad_same
from lyra.metrics.i3d_weights import convert
from lyra.scene import InputError


def test_frechet_distance_of_one_number_is_the_closed_form():
    """(difference of means)^2 + (difference of deviations)^2."""
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [7.0]])
    assert frechet_distance(a, b) == pytest.approx(3.0**2 + (18**0.5 - 2**0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize("count", [9, 60])
def test_frechet_distance_equals_scipy(count):
    """Also with fewer members than features, where covariances are singular. Worst relative difference: 2e-8."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    a = torch.randn(count, 12, generator=generator, dtype=torch.float64) @ mix
    b = 0.5 + 2 * torch.randn(count + 5, 12, generator=generator, dtype=torch.float64)
    cov_a, cov_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    root = sqrtm(cov_a @ cov_b).real
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a.float().double(), b) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(InputError, match="at least 2"):
        frechet_distance(a[:1], b)


def test_scores_within_a_mask():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 30, 40, generator=generator)
    other = (image + 0.1 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    everything = torch.ones(2, 30, 40, dtype=torch.bool)
    assert torch.allclose(masked_psnr(image, other, everything), psnr(image, other))
    assert torch.allclose(masked_ssim(image, other, everything), ssim(image, other), atol=1e-6)
    mask = torch.rand(2, 30, 40, generator=generator) < 0.2
    for index in range(2):
        difference = (image[index] - other[index])[:, mask[index]].double()
        assert float(masked_psnr(image, other, mask)[index]) == pytest.approx(
            float(-10 * difference.square().mean().log10()), abs=1e-5
        )
    outside = torch.where(mask[:, None], image, other)
    assert torch.isinf(masked_psnr(outside, image, mask)).all()
    assert masked_psnr(image, other, ~everything).isnan().all()


def _tables(scale: float) -> dict:
    """Flax tables of the right shapes with random numbers."""
    generator = np.random.default_rng(2)
    params, statistics = {}, {}
    for name, tensor in I3D().state_dict().items():
        if not name.endswith(".weight"):
            continue
        path = name.removesuffix(".weight").split(".")[1:]
        table = {
            "Conv_0": {"kernel": scale * generator.standard_normal(tensor.permute(2, 3, 4, 1, 0).shape, np.float32)}
        }
        width = tensor.shape[0]
        if not path:
            table["Conv_0"]["bias"] = generator.standard_normal(width, np.float32)
            params["Logits/Conv3d_0c_1x1"] = table
            continue
        table["BatchNorm_0"] = {"bias": generator.standard_normal(width, np.float32)}
        moments = {
            "mean": generator.standard_normal((1, 1, 1, 1, width), np.float32),
            "var": generator.random((1, 1, 1, 1, width), np.float32) + 0.5,
        }
        for place, entry in ((params, table), (statistics, {"BatchNorm_0": moments})):
            if path[0].startswith("Mixed"):
                place.setdefault(path[0], {})["/".join(path[1:])] = entry
            else:
                place["/".join(path)] = entry
    return {"params": params, "batch_stats": statistics}


def test_converted_i3d_folds_batch_norms_and_tells_clips_apart():
    """The first layer equals convolution, batch norm, ReLU written out. Worst difference: 3e-6."""
    tables = _tables(0.02)
    model = I3D()
    model.load_state_dict(convert(tables))
    layer, moments = tables["params"]["Conv3d_1a_7x7"], tables["batch_stats"]["Conv3d_1a_7x7"]["BatchNorm_0"]
    x = torch.randn(1, 3, 9, 20, 21, generator=torch.Generator().manual_seed(3))
    kernel = torch.from_numpy(layer["Conv_0"]["kernel"]).permute(4, 3, 0, 1, 2)
    y = torch.nn.functional.conv3d(_pad_same(x, (7, 7, 7), (2, 2, 2)), kernel, stride=2)
    mean, var, bias = (
        torch.from_numpy(v).reshape(-1, 1, 1, 1)
        for v in (moments["mean"], moments["var"], layer["BatchNorm_0"]["bias"])
    )
    expected = ((y - mean) / (var + 1e-3).sqrt() + bias).relu()
    assert expected.shape == (1, 64, 5, 10, 11)
    assert torch.allclose(model.stages["Conv3d_1a_7x7"](x), expected, atol=1e-4)
    with pytest.raises(InputError, match="at least 10 frames"):
        model(torch.rand(1, 9, 3, 16, 16))


def test_i3d_gives_400_numbers_a_clip():
    model = I3D().eval()
    clips = torch.rand(1, 10, 3, 24, 32, generator=torch.Generator().manual_seed(4))
    assert model(clips).shape == (1, 400)


def test_missing_i3d_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="i3d_weights"):
        I3D.load(tmp_path / "absent.safetensors")
