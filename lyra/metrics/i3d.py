"""I3D (Carreira and Zisserman 2017), trained on Kinetics-400: the video features of FVD (Unterthiner et al. 2018).

The weights are not part of this package: `python -m lyra.metrics.i3d_weights` fetches and converts them once. Batch
norms are folded into the convolutions.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lyra.scene import require

_SIDE, _SHORTEST = 224, 10  # pixels; fewer frames leave nothing for the last average over two

# Stages in order: convolutions (kernel, stride, width), poolings (kernel, stride), and modules with the widths of
# branch 0 (1x1x1), 1 and 2 (1x1x1, 3x3x3), 3 (after pooling, 1x1x1).
_STAGES: tuple[tuple[str, tuple], ...] = (
    ("Conv3d_1a_7x7", (7, 2, 64)),
    ("pool_2a", ((1, 3, 3), (1, 2, 2))),
    ("Conv3d_2b_1x1", (1, 1, 64)),
    ("Conv3d_2c_3x3", (3, 1, 192)),
    ("pool_3a", ((1, 3, 3), (1, 2, 2))),
    ("Mixed_3b", (64, 96, 128, 16, 32, 32)),
    ("Mixed_3c", (128, 128, 192, 32, 96, 64)),
    ("pool_4a", ((3, 3, 3), (2, 2, 2))),
    ("Mixed_4b", (192, 96, 208, 16, 48, 64)),
    ("Mixed_4c", (160, 112, 224, 24, 64, 64)),
    ("Mixed_4d", (128, 128, 256, 24, 64, 64)),
    ("Mixed_4e", (112, 144, 288, 32, 64, 64)),
    ("Mixed_4f", (256, 160, 320, 32, 128, 128)),
    ("pool_5a", ((2, 2, 2), (2, 2, 2))),
    ("Mixed_5b", (256, 160, 320, 32, 128, 128)),
    ("Mixed_5c", (384, 192, 384, 48, 128, 128)),
)


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros as TensorFlow's SAME puts them: ceil(size / stride) outputs, the odd one at the end."""
    pads: list[int] = []
    for size, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)


class _Convolution(nn.Conv3d):
    """SAME convolution and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(_pad_same(x, self.kernel_size, self.stride)))


class _Pooling(nn.MaxPool3d):
    """SAME maximum; zeros beyond the border change nothing after a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_pad_same(x, self.kernel_size, self.stride))


class _Mixed(nn.Module):
    """An inception module: four branches side by side."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        one, three = 1, 3
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": _Convolution(channels, widths[0], one)})
        for branch, (inner, outer) in enumerate((widths[1:3], widths[3:5]), start=1):
            layers = {
                "Conv3d_0a_1x1": _Convolution(channels, inner, one),
                "Conv3d_0b_3x3": _Convolution(inner, outer, three),
            }
            self.add_module(f"Branch_{branch}", nn.ModuleDict(layers))
        self.pool = _Pooling((3, 3, 3), (1, 1, 1))
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": _Convolution(channels, widths[5], one)})

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for branch in (self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3):
            y = self.pool(x) if branch is self.Branch_3 else x
            for layer in branch.values():
                y = layer(y)
            outputs.append(y)
        return torch.cat(outputs, 1)


class I3D(nn.Module):
    """Clips in [0, 1] to 400 class logits, the features of FVD. Frozen."""

    def __init__(self) -> None:
        super().__init__()
        stages, channels = {}, 3
        for name, sizes in _STAGES:
            if name.startswith("pool"):
                stages[name] = _Pooling(*sizes)
            elif name.startswith("Mixed"):
                stages[name] = _Mixed(channels, sizes)
                channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
            else:
                stages[name] = _Convolution(channels, sizes[2], sizes[0], sizes[1])
                channels = sizes[2]
        self.stages = nn.ModuleDict(stages)
        self.logits = nn.Conv3d(channels, 400, 1)
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path) -> "I3D":
        """Read a converted weight file (see `i3d_weights`), strictly."""
        path = Path(path)
        require(path.is_file(), f"no I3D weights at {path}; fetch them with `python -m lyra.metrics.i3d_weights`")
        model = cls()
        model.load_state_dict(load_file(path))
        return model.eval()

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b 400"]:
        """Logits of clips of at least 10 frames; frames are resized bilinearly to 224 x 224, as FVD's authors do."""
        require(clips.shape[1] >= _SHORTEST, f"I3D needs clips of at least {_SHORTEST} frames, got {clips.shape[1]}")
        frames = functional.interpolate(clips.flatten(0, 1), (_SIDE, _SIDE), mode="bilinear")
        x = 2 * frames.unflatten(0, clips.shape[:2]).transpose(1, 2) - 1
        for stage in self.stages.values():
            x = stage(x)
        return self.logits(functional.avg_pool3d(x, (2, 7, 7), 1)).mean((2, 3, 4))
