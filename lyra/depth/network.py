"""The depth network: EfficientNet-lite0 features, a light decoder, and a head for the field of view.

It predicts depth in a canonical camera, log(z / f) with f the focal length divided by the geometric mean of the image's
sides: how large a thing looks fixes z / f, so depth and focal length need not agree on a guess (the canonical camera of
Metric3D, arXiv 2307.10984, with the focal length predicted instead of given).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lyra.depth.encoder import CHANNELS, SUMMARY, Encoder

MULTIPLE = 32  # the sides of the network's input


@dataclass(frozen=True)
class DepthConfig:
    """Decoder channels at strides 32, 16, 8, 4, 2; `pixels` is the area that images are brought to."""

    widths: tuple[int, int, int, int, int] = (192, 128, 96, 64, 32)
    pixels: int = 256 * 448


@dataclass(frozen=True, eq=False)
class Prediction:
    """Canonical log depth, sky logit (both at the input's size) and log of the normalised focal length."""

    log_depth: Float[Tensor, "b h w"]
    sky: Float[Tensor, "b h w"]
    log_focal: Float[Tensor, " b"]


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, width // 16), width)


class _Up(nn.Module):
    """Twice the size, joined with the encoder's features, then two convolutions, the second one residual."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.join = nn.Conv2d(inputs + skip, outputs, 3, padding=1)
        self.join_norm = _norm(outputs)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.refine_norm = _norm(outputs)

    def forward(self, x: Float[Tensor, "b c h w"], skip: Float[Tensor, "b s h2 w2"]) -> Float[Tensor, "b d h2 w2"]:
        x = functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = functional.relu(self.join_norm(self.join(torch.cat([x, skip], 1))))
        return functional.relu(x + self.refine_norm(self.refine(x)))


class DepthNetwork(nn.Module):
    """Images in [0, 1] with sides that are multiples of 32 to a `Prediction`."""

    def __init__(self, config: DepthConfig | None = None) -> None:
        super().__init__()
        self.config = config or DepthConfig()
        widths = self.config.widths
        self.encoder = Encoder()
        self.context = nn.Linear(SUMMARY, widths[0])
        self.bottom = nn.Conv2d(CHANNELS[-1], widths[0], 1)
        self.bottom_norm = _norm(widths[0])
        skips = CHANNELS[-2::-1]
        self.ups = nn.ModuleList(_Up(*parts) for parts in zip(widths, skips, widths[1:], strict=False))
        self.depth_sky = nn.Conv2d(widths[-1], 2, 3, padding=1)
        self.upsampling = nn.Conv2d(widths[-1], 4 * 9, 3, padding=1)
        self.focal = nn.Sequential(nn.Linear(SUMMARY, 128), nn.ReLU(), nn.Linear(128, 1))
        with torch.no_grad():
            for layer, bias in ((self.depth_sky, (1.2, -2.0)), (self.focal[-1], (0.0,))):
                layer.weight.mul_(0.1)
                layer.bias.copy_(torch.tensor(bias))

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Predict; the results are float32 whatever the network computes in."""
        pyramid, summary = self.encoder(image)
        pooled = summary.mean((2, 3))
        x = self.bottom(pyramid[-1]) + self.context(pooled)[:, :, None, None]
        x = functional.relu(self.bottom_norm(x))
        for up, skip in zip(self.ups, pyramid[-2::-1], strict=True):
            x = up(x, skip)
        both = _convex_upsampling(self.depth_sky(x).float(), self.upsampling(x).float())
        return Prediction(both[:, 0], both[:, 1], self.focal(pooled)[:, 0].float())


def _convex_upsampling(coarse: Float[Tensor, "b c h w"], weights: Float[Tensor, "b 36 h w"]) -> Tensor:
    """Twice the size: every fine pixel is a learned convex mix of the 3x3 coarse ones around it (RAFT, arXiv
    2003.12039), so that depth edges can stay sharp."""
    b, c, h, w = coarse.shape
    share = weights.view(b, 1, 9, 2, 2, h, w).softmax(2)
    around = functional.unfold(functional.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3)
    fine = (share * around.view(b, c, 9, 1, 1, h, w)).sum(2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(b, c, 2 * h, 2 * w)
