"""Bring the depth of a generated frame to the scale of the 3D cache (GEN3C's continuation beyond one clip).

A depth network knows depth only up to an unknown map that may vary over the image. Where the cache shows something in
the same frame, its depth is known: first one line in inverse depth is fitted, then a smooth scale map.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import Cameras, require

_LEAST = 0.01  # share of the frame that must be known from the cache
_QUANTILES = (0.1, 0.9)
_STEPS, _RATE, _SMOOTH = 100, 1e-3, 0.1


def align_depth(
    depth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], known: Float[Tensor, "h w"], camera: Cameras
) -> Float[Tensor, "h w"]:
    """`depth` (along z, any scale) as it fits the cache's depth `known` (0 where the cache shows nothing).

    `camera` is one camera of shape [] that took the frame. Pixels that are not valid come back infinite. Raises
    InputError if less than a hundredth of the frame is known both ways.
    """
    both = valid & (known > 0) & depth.isfinite() & (depth > 0)
    share = float(both.float().mean())
    require(
        share >= _LEAST,
        f"only {100 * share:.1f} % of the frame shows what is known from before, so its depth cannot be put to scale; "
        "choose a path that turns more slowly",
    )
    safe = torch.where(valid & depth.isfinite() & (depth > 0), depth, depth[both].max())
    rigid = fit_inverse(safe, known, both)
    scale = fit_scale_map(rigid, known, both, camera)
    return torch.where(valid, rigid * scale, torch.inf)


def fit_inverse(
    depth: Float[Tensor, "h w"], known: Float[Tensor, "h w"], both: Bool[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """Depth with 1 / depth = a / depth_old + b, least squares over the middle 80 % of both inverse depths.

    If the line would put something at or behind the camera, the ratio of the medians is used instead.
    """
    x, y = (1 / values[both].double() for values in (depth, known))
    middle = _middle(x) & _middle(y)
    x, y = (values[middle] if int(middle.sum()) >= 2 else values for values in (x, y))
    a = ((x - x.mean()) * (y - y.mean())).mean() / (x - x.mean()).square().mean().clamp_min(1e-12 * x.square().mean())
    inverse = a * (1 / depth.double() - x.mean()) + y.mean()
    if a > 0 and bool((inverse > 0).all()):
        return (1 / inverse).to(depth)
    return depth * (x.median() / y.median()).to(depth)


def _middle(values: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    ordered = values.sort().values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in _QUANTILES)
    return (values >= low) & (values <= high)


@torch.enable_grad()
def fit_scale_map(
    depth: Float[Tensor, "h w"], known: Float[Tensor, "h w"], both: Bool[Tensor, "h w"], camera: Cameras
) -> Float[Tensor, "h w"]:
    """Factors a pixel that bring points onto the known ones and vary little: 100 steps of Adam from 1.

    The loss is the mean absolute error of the points' coordinates plus 0.1 times the mean difference between the map
    and its 3x3 mean.
    """
    ahead = Cameras(torch.eye(4, dtype=depth.dtype, device=depth.device), camera.K, camera.width, camera.height)
    reach = ahead.unproject(torch.ones_like(depth)).abs().sum(-1)  # |x| + |y| + |z| of a ray with z = 1
    weight = torch.where(both, reach / (3 * both.sum()), 0)
    scale = torch.ones_like(depth, requires_grad=True)
    adam = torch.optim.Adam([scale], _RATE)
    for _ in range(_STEPS):
        adam.zero_grad()
        rough = (_mean_of_three(_mean_of_three(scale, 0), 1) - scale).abs().mean()
        loss = (weight * (depth * scale - known).abs()).sum() + _SMOOTH * rough
        loss.backward()
        adam.step()
    return scale.detach()


def _mean_of_three(values: Float[Tensor, "h w"], axis: int) -> Float[Tensor, "h w"]:
    """The mean of each value and its two neighbours along one axis; the border is repeated."""
    count = values.shape[axis]
    wide = torch.cat([values.narrow(axis, 0, 1), values, values.narrow(axis, count - 1, 1)], axis)
    return (wide.narrow(axis, 0, count) + values + wide.narrow(axis, 2, count)) / 3
