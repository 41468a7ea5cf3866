"""Reference backend: the specification. Every Gaussian against every pixel, in plain torch, any dtype and device.

Its cost grows with Gaussians x pixels, so it is for tests and small pictures. Gradients are autograd's own.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lyra.render.rules import BLUR, FRUSTUM_MARGIN, MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, View
from lyra.scene import rotations

_PAIRS = 2**21  # Gaussians x pixels worked on at a time


def project(
    means: Float[Tensor, "n 3"], quats: Float[Tensor, "n 4"], scales: Float[Tensor, "n 3"], view: View
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"], Float[Tensor, "n 2 2"]]:
    """Pixel positions, depths and 2D covariances in px^2 of Gaussians in front of the camera (Zwicker et al. 2001)."""
    x, y, z = rotations.transform_points(view.w2c, means).unbind(-1)
    focal = torch.stack([view.K[0, 0], view.K[1, 1]])
    centre = view.K[:2, 2]
    size = torch.tensor([view.width, view.height], dtype=means.dtype, device=means.device)
    slopes = torch.stack([x / z, y / z], -1)
    margin = FRUSTUM_MARGIN * size
    held = slopes.clamp(min=(-centre - margin) / focal, max=(size - centre + margin) / focal)

    jacobian = torch.zeros(len(means), 2, 3, dtype=means.dtype, device=means.device)
    jacobian[:, 0, 0], jacobian[:, 0, 2] = focal[0] / z, -focal[0] * held[:, 0] / z
    jacobian[:, 1, 1], jacobian[:, 1, 2] = focal[1] / z, -focal[1] * held[:, 1] / z
    factor = jacobian @ view.w2c[:3, :3] @ (rotations.quat_to_matrix(quats) * scales[:, None, :])
    blur = BLUR * torch.eye(2, dtype=means.dtype, device=means.device)
    return focal * slopes + centre, z, factor @ factor.transpose(-1, -2) + blur


def _visible(means: Tensor, opacities: Tensor, view: View) -> Bool[Tensor, " n"]:
    """Which Gaussians are between the depth limits and not too faint."""
    z = rotations.transform_points(view.w2c, means)[:, 2]
    return (z >= view.near) & (z <= view.far) & (opacities >= MIN_ALPHA)


def _composite(
    pixels: Float[Tensor, "p 2"],
    xy: Float[Tensor, "n 2"],
    inverse: Float[Tensor, "n 2 2"],
    opacities: Float[Tensor, " n"],
    values: Float[Tensor, "n c"],
) -> Float[Tensor, "c p"]:
    """Front-to-back alpha blending of `values` at the pixels; the Gaussians come in depth order."""
    dx, dy = pixels[:, 0] - xy[:, None, 0], pixels[:, 1] - xy[:, None, 1]
    a, b, c = inverse[:, None, 0, 0], inverse[:, None, 0, 1], inverse[:, None, 1, 1]
    sigma = (0.5 * a * dx + b * dy) * dx + 0.5 * c * dy * dy
    alpha = (opacities[:, None] * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, torch.zeros_like(alpha))
    log_pass = torch.log1p(-alpha)
    log_after = torch.cumsum(log_pass, 0)
    reached = torch.exp(log_after) > MIN_TRANSMITTANCE
    weights = torch.where(reached, alpha * torch.exp(log_after - log_pass), torch.zeros_like(alpha))
    return values.T @ weights


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    view: View,
) -> Float[Tensor, "5 h w"]:
    """Premultiplied r, g, b, accumulated depth and alpha of one view, in the dtype of the means.

    All values must be finite. Works on some pixels at a time and does so again in the backward pass.
    """
    view = replace(view, w2c=view.w2c.to(means), K=view.K.to(means))
    keep = _visible(means.detach(), opacities.detach(), view)
    xy, depth, covariance = project(means[keep], quats[keep], scales[keep], view)
    # gsplat sorts float32 depths, so depths closer than that are equal here too
    order = torch.argsort(depth.detach().float(), stable=True)
    values = torch.cat([colors[keep], depth[:, None], torch.ones_like(depth)[:, None]], -1)[order]
    xy, inverse, opacities = xy[order], torch.linalg.inv(covariance[order]), opacities[keep][order]
    x = torch.arange(view.width, dtype=means.dtype, device=means.device) + 0.5
    y = torch.arange(view.height, dtype=means.dtype, device=means.device) + 0.5
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
    parts = [
        checkpoint(_composite, some, xy, inverse, opacities, values, use_reentrant=False)
        for some in pixels.split(max(1, _PAIRS // max(1, len(order))))
    ]
    return torch.cat(parts, 1).reshape(5, view.height, view.width)
