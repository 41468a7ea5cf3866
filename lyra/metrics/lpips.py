"""LPIPS, the learned perceptual distance of Zhang et al. 2018 (version 0.1), with the AlexNet or the VGG16 trunk.

The weights are not part of this package: `python -m lyra.metrics.lpips_weights` fetches and converts them once.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lyra.scene import require

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet statistics, for inputs in [-1, 1]


class _Pool(nn.MaxPool2d):
    """A stage border: features are read just before it."""


def _alex() -> nn.Sequential:
    """The convolutions of AlexNet (Krizhevsky 2014)."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), _Pool(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), _Pool(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Identity(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Identity(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.Identity(),
    )  # fmt: skip


def _vgg() -> nn.Sequential:
    """The convolutions of VGG16 (Simonyan and Zisserman 2014)."""
    layers, channels = [], 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(_Pool(2, 2))
    return nn.Sequential(*layers)


_TRUNKS = {"alex": _alex, "vgg": _vgg}


class LPIPS(nn.Module):
    """Perceptual distance of images in [0, 1]; 0 for equal images. Differentiable, frozen, any device and dtype."""

    def __init__(self, net: str) -> None:
        super().__init__()
        require(net in _TRUNKS, f"LPIPS has the networks {sorted(_TRUNKS)}, got {net!r}")
        self.net = net
        self.trunk = _TRUNKS[net]()
        widths = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[net]
        self.heads = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path, net: str) -> "LPIPS":
        """Read a converted weight file (see `lpips_weights`), strictly."""
        path = Path(path)
        require(path.is_file(), f"no LPIPS weights at {path}; fetch them with `python -m lyra.metrics.lpips_weights`")
        return cls.from_state(load_file(path), net)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], net: str) -> "LPIPS":
        """From the tensors of such a file; float16 tensors are widened."""
        model = cls(net)
        model.load_state_dict({key: value.float() for key, value in state.items()})
        return model.eval()

    def forward(self, image: Float[Tensor, "*b 3 h w"], target: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b"]:
        """The distance of each pair."""
        maps = [difference.mean((-2, -1)) for difference in self._differences(image, target)]
        return sum(maps).reshape(image.shape[:-3])

    def spatial(self, image: Float[Tensor, "*b 3 h w"], target: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b h w"]:
        """The distance pixel by pixel: the maps of all stages, enlarged bilinearly to the image's size and summed.

        Its mean over a mask is the distance of a region. The receptive fields reach beyond the region, and the mean
        over all pixels differs a little from `forward`, because enlarging weighs cells at the border differently.
        """
        size = image.shape[-2:]
        maps = [
            functional.interpolate(difference[:, None], size, mode="bilinear")[:, 0]
            for difference in self._differences(image, target)
        ]
        return sum(maps).reshape(*image.shape[:-3], *size)

    def _differences(self, image: Tensor, target: Tensor) -> list[Float[Tensor, "n h2 w2"]]:
        """Weighted squared differences of the unit feature vectors, for every stage."""
        stages = [self._features(x.reshape(-1, *x.shape[-3:])) for x in (image, target)]
        differences = []
        for head, mine, theirs in zip(self.heads, *stages, strict=True):
            squares = (functional.normalize(mine.float(), dim=1) - functional.normalize(theirs.float(), dim=1)).square()
            differences.append((squares * head[:, None, None]).sum(1))
        return differences

    def _features(self, images: Tensor) -> list[Tensor]:
        """The last activation of every stage."""
        shift, scale = (torch.tensor(v, dtype=images.dtype, device=images.device) for v in (_SHIFT, _SCALE))
        x = (2 * images - 1 - shift[:, None, None]) / scale[:, None, None]
        stages = []
        for layer in self.trunk:
            if isinstance(layer, _Pool | nn.Identity):
                stages.append(x)
            x = layer(x)
        return stages
