"""PSNR and SSIM against scikit-image; LPIPS against its definition; the weight reader refuses everything but arrays."""

import pickle

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lyra.metrics import LPIPS, psnr, ssim
from lyra.metrics.lpips_weights import convert, read_tables
from lyra.scene import InputError


def _pair(seed: int, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.nn.functional.interpolate(torch.rand(2, 3, 6, 8, generator=generator), (37, 52), mode="bicubic")
    image = image.clamp(0, 1)
    return image, (image + noise * torch.randn(image.shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_psnr_and_ssim_equal_scikit_image(noise):
    """Worst differences: 4e-6 dB, 5e-8."""
    image, other = _pair(0, noise)
    for index in range(2):
        a, b = (x[index].permute(1, 2, 0).double().numpy() for x in (image, other))
        assert float(psnr(image, other)[index]) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = structural_similarity(a, b, data_range=1, channel_axis=2, **options)
        assert float(ssim(image, other)[index]) == pytest.approx(expected, abs=1e-6)


def test_equal_images_are_perfect():
    image, _ = _pair(1, 0.0)
    assert torch.isinf(psnr(image, image)).all()
    assert ssim(image, image) == pytest.approx([1.0, 1.0], abs=1e-6)


def _random_lpips(net: str) -> LPIPS:
    """The network with small random weights and non-negative heads."""
    generator = torch.Generator().manual_seed(2)
    model = LPIPS(net)
    for name, parameter in model.named_parameters():
        spread = torch.rand if name.startswith("heads") else torch.randn
        fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 10
        parameter.copy_(spread(parameter.shape, generator=generator) / fan**0.5)
    return model.eval()


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_a_distance_that_grows_with_damage(net):
    model = _random_lpips(net)
    size = {"alex": (64, 72), "vgg": (32, 40)}[net]
    image = torch.nn.functional.interpolate(_pair(3, 0.0)[0], size, mode="bilinear")
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(4))
    little, much = (image + 0.02 * noise).clamp(0, 1), (image + 0.3 * noise).clamp(0, 1)
    assert (model(image, image) == 0).all()
    assert torch.allclose(model(image, little), model(little, image))
    assert (model(image, much) > 3 * model(image, little)).all() and (model(image, little) > 0).all()


def test_lpips_is_differentiable_and_keeps_batch_shapes():
    model = _random_lpips("alex")
    image = torch.rand(2, 2, 3, 64, 64, requires_grad=True)
    distance = model(image, torch.rand(2, 2, 3, 64, 64))
    assert distance.shape == (2, 2)
    distance.sum().backward()
    assert image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_converted_tables_give_the_same_network(net):
    """Through the pickled flax layout (kernels [h, w, in, out]) and back."""
    model = _random_lpips(net)
    trunk = {"alex": "AlexNet_0", "vgg": "VGG16_0"}[net]
    convolutions = [layer for layer in model.trunk if isinstance(layer, torch.nn.Conv2d)]
    tables = {trunk: {}}
    for index, layer in enumerate(convolutions):
        kernel = layer.weight.permute(2, 3, 1, 0).numpy().copy()
        tables[trunk][f"Conv_{index}"] = {"kernel": kernel, "bias": layer.bias.numpy()}
    for index, head in enumerate(model.heads):
        tables[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": head.numpy().reshape(1, 1, -1, 1)}}
    content = pickle.dumps(tables, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    again = LPIPS.from_state(convert(read_tables(content), trunk), net)
    image, other = (torch.rand(1, 3, 48, 48) for _ in range(2))
    assert torch.equal(again(image, other), model(image, other))


class _Harmful:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("content", [pickle.dumps(_Harmful()), pickle.dumps(np.float64), b"", b"\x80\x04K\x01"])
def test_other_pickles_are_refused(content, capsys):
    with pytest.raises(InputError):
        read_tables(content)
    assert capsys.readouterr().out == ""


def test_missing_weights_and_unknown_networks_are_named(tmp_path):
    with pytest.raises(InputError, match="lpips_weights"):
        LPIPS.load(tmp_path / "absent.safetensors", "vgg")
    with pytest.raises(InputError, match="squeeze"):
        LPIPS("squeeze")
