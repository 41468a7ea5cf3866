"""From the head's numbers to Gaussians: every activation of the decoder is here. Float32 (or float64) throughout."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lyra.decoder.config import DecoderConfig
from lyra.decoder.guide import along_rays
from lyra.scene import Cameras, Gaussians, rotations

DISTANCE_SHIFT = -1.65  # of the linear depth range
SCALE_CAP = 0.3
SCALE_SHIFT = math.log(SCALE_CAP) - 1
FOOTPRINTS = (0.05, 0.5, 16.0)  # smallest, first and largest standard deviation of scales="pixel"
_SPLIT = (1, 3, 3, 4, 1)  # distance, colour, scale, rotation, opacity


def build(config: DecoderConfig) -> nn.ConvTranspose3d:
    """The transposed convolution from tokens to Gaussians; the released one has kernel (9, 2, 2), stride (8, 2, 2).

    It starts near zero with the identity rotation: grey, at the middle of the depth range, of medium scale.
    """
    time, space = config.codec_time // config.time_stride, config.patch * config.codec_space // config.stride
    border = time // 2
    layer = nn.ConvTranspose3d(
        config.width,
        config.out_channels,
        (2 * border + 1, space, space),
        stride=(time, space, space),
        padding=(border, 0, 0),
    )
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=0.1 / math.sqrt(config.width))
        nn.init.zeros_(layer.bias)
        layer.bias[7] = 1.0  # w of the quaternion
    return layer


def decode(
    raw: Float[Tensor, "v ch t h w"],
    cameras: Cameras,
    config: DecoderConfig,
    keep: float | None,
    scale: float,
    guide: Float[Tensor, "v t h w"] | None = None,
) -> Gaussians:
    """Gaussians on the rays of cameras (v, t) of the full image size, in their world.

    Order: trajectory, frame, row, column; with `keep`, that share of them with the highest opacity, most opaque first.
    `scale` is the unit of depth, sizes and offsets in the world. `guide` is log depth along z in that unit, which the
    head's distances then correct.
    """
    every = cameras[:, :: config.time_stride].resize(*raw.shape[-2:])
    origins, directions = (x.reshape(-1, 3) for x in every.rays())
    footprints = (2 / (every.K[..., 0, 0] + every.K[..., 1, 1]))[..., None, None].expand(every.shape + raw.shape[-2:])
    numbers = raw.movedim(1, -1).reshape(-1, raw.shape[1])
    if guide is not None:
        base = along_rays(guide, every).reshape(-1, 1)
        numbers = torch.cat([log_distance(numbers[:, :1] + base, config), numbers[:, 1:]], -1)
    index = None if keep is None else most_opaque(numbers[:, sum(_SPLIT) - 1], keep)
    rows = [x if index is None else x[index] for x in (numbers, origins, directions, footprints.reshape(-1))]
    frame = rotations.matrix_to_quat(cameras.c2w[0, 0, :3, :3])
    return activate(*rows, frame, config, scale)


def most_opaque(opacity: Float[Tensor, " n"], keep: float) -> Int[Tensor, " k"]:
    """The rows of the kept share, by falling opacity. Their number is int(n (1 - (1 - keep))), rounded as published."""
    return opacity.topk(int(len(opacity) * (1 - (1 - keep)))).indices


def activate(
    numbers: Float[Tensor, "n ch"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    footprints: Float[Tensor, " n"],
    frame: Float[Tensor, "4"],
    config: DecoderConfig,
    scale: float,
) -> Gaussians:
    """The activations. `directions` are unit vectors, `footprints` the size of a pixel at distance 1, and `frame` is
    the rotation (w, x, y, z) of the decoder's axes in the world."""
    distance, colour, size, turn, opacity, *offset = numbers.split([*_SPLIT, *([3] if config.offsets else [])], -1)
    if config.guide:
        depth = distance.exp()
    elif config.depth == "linear":
        share = torch.sigmoid(distance + DISTANCE_SHIFT)
        depth = config.near * (1 - share) + config.far * share
    else:
        depth = log_range(distance, config.near, 1.0, config.far)
    pixel = depth * footprints[:, None]
    if config.scales == "absolute":
        sizes = (size + SCALE_SHIFT).exp().clamp_max(SCALE_CAP)
    else:
        sizes = pixel * log_range(size, *FOOTPRINTS)
    means = origins + directions * (depth * scale)
    if offset:
        means = means + torch.tanh(offset[0]) * (config.offsets * scale * pixel) @ rotations.quat_to_matrix(frame).T
    quats = rotations.quat_multiply(frame.expand_as(turn), functional.normalize(turn, dim=-1))
    opacities = torch.sigmoid(opacity + config.opacity_shift).squeeze(-1)
    return Gaussians.from_rgb(means, quats, sizes * scale, opacities, 0.5 * torch.tanh(colour) + 0.5)


def log_distance(x: Float[Tensor, "n 1"], config: DecoderConfig) -> Float[Tensor, "n 1"]:
    """Log distances within the range of depths."""
    return x.clamp(math.log(config.near), math.log(config.far))


def log_range(x: Float[Tensor, "*b"], low: float, start: float, high: float) -> Float[Tensor, "*b"]:
    """Values between `low` and `high`, even in their logarithm, that are `start` at x = 0."""
    span = math.log(high / low)
    share = math.log(start / low) / span
    return low * (span * torch.sigmoid(x + math.log(share / (1 - share)))).exp()
