"""EfficientNet-lite0 as a feature pyramid (Tan and Le, arXiv 1905.11946, in its "lite" form: ReLU6, no squeezing).

The function is that of the PyPI package efficientnet-lite-pytorch with its normalisation layers in evaluation mode:
their fixed statistics are absorbed into one gain and one bias a channel, which stay trainable. So a batch of one
behaves as a batch of a hundred, and there is nothing left to freeze or fold.
"""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Expansion, kernel, stride, output channels, repeats of the stages; blocks are numbered through.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_PYRAMID = (0, 2, 4, 10, 15)  # the last block of each resolution
CHANNELS = (16, 24, 40, 112, 320)
STRIDES = (2, 4, 8, 16, 32)
SUMMARY = 1280
_EPSILON = 1e-3  # of the package's normalisation layers


class Conv(nn.Module):
    """A convolution with a gain and a bias for every output channel, padded as TensorFlow does ("same")."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.groups, self.kernel = stride, groups, kernel
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.gain = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Sides must be multiples of the stride: then "same" pads by kernel - stride, the smaller half first."""
        pad = self.kernel - self.stride
        before = pad // 2
        if pad > 2 * before:
            x, before = functional.pad(x, (before, pad - before, before, pad - before)), 0
        weight = self.weight * self.gain[:, None, None, None]
        return functional.conv2d(x, weight, self.bias, self.stride, before, groups=self.groups)


class _Block(nn.Module):
    """Widen, filter every channel, narrow; added to the input where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.expand = Conv(inputs, wide, 1) if expand > 1 else None
        self.depthwise = Conv(wide, wide, kernel, stride, groups=wide)
        self.project = Conv(wide, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        y = functional.relu6(self.expand(x)) if self.expand is not None else x
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.skip else y


class Encoder(nn.Module):
    """An image to features at strides 2, 4, 8, 16, 32, and the 1280 features that the classifier pools."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 32, 3, 2)
        blocks, inputs = [], 32
        for expand, kernel, stride, outputs, repeats in _STAGES:
            for index in range(repeats):
                blocks.append(_Block(inputs, outputs, expand, kernel, stride if index == 0 else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(inputs, SUMMARY, 1)

    def forward(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> tuple[list[Float[Tensor, "b _ _ _"]], Float[Tensor, "b 1280 _ _"]]:
        """Colours in [0, 1]; sides multiples of 32."""
        x = functional.relu6(self.stem((image * 255 - 127) / 128))
        pyramid = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _PYRAMID:
                pyramid.append(x)
        return pyramid, functional.relu6(self.head(x))


_NAMES = (
    (r"^_conv_stem$", "stem", "_bn0"),
    (r"^_blocks\.(\d+)\._expand_conv$", r"blocks.\1.expand", r"_blocks.\1._bn0"),
    (r"^_blocks\.(\d+)\._depthwise_conv$", r"blocks.\1.depthwise", r"_blocks.\1._bn1"),
    (r"^_blocks\.(\d+)\._project_conv$", r"blocks.\1.project", r"_blocks.\1._bn2"),
    (r"^_conv_head$", "head", "_bn1"),
)


def convert_imagenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's state dict as ours; its classifier (`_fc`) is left out."""
    converted = {}
    for key, weight in state.items():
        place = key.removesuffix(".weight")
        for pattern, ours, norm in _NAMES:
            match = re.match(pattern, place)
            if match is None:
                continue
            name, norm = match.expand(ours), match.expand(norm)
            gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _EPSILON)
            converted[f"{name}.weight"] = weight.clone()
            converted[f"{name}.gain"] = gain
            converted[f"{name}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return converted
