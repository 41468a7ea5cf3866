"""Gaussians and cameras in; colour, depth and alpha out, with gradients.

One function, three backends with the same rules (`rules`): `reference`, the readable specification; `cpu`, fast and
without a compiler at install; `cuda`, gsplat. A backend only splats the colours of one view. What they share lives
here: which Gaussians count, view-dependent colour, background and expected depth.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lyra.render.choose import backends, choose
from lyra.render.rules import EMPTY_ALPHA, View
from lyra.scene import Cameras, Gaussians, require, rotations, sh

__all__ = ["Rendering", "backends", "render"]


class Rendering(NamedTuple):
    """Pictures of all cameras: display-referred sRGB over the background, depth along z in world units, alpha."""

    rgb: Float[Tensor, "*b 3 h w"]
    depth: Float[Tensor, "*b 1 h w"]
    alpha: Float[Tensor, "*b 1 h w"]


def render(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Float[Tensor, "*b 3"] | None = None,
    *,
    backend: str = "auto",
    near: float = 0.01,
    far: float = 1e10,
) -> Rendering:
    """Draw the Gaussians seen by each camera (Kerbl et al. 2023, Eq. 3, with the rules of gsplat 1.5.3).

    `cameras` have any batch shape *b, also none; `background` is [3] or [*b, 3] in sRGB (black if None). The depth is
    the expected one, sum of weight x z over alpha; 0 where nothing is drawn. Colours may exceed 1; they are not
    clamped. Gaussians outside [near, far] world units along z, with a number that is not finite, without extent or
    rotation (all scales or the whole quaternion 0) are left out.

    Gradients reach means, quats, scales, opacities, sh and background; cameras are constants. Values are float32 (the
    reference keeps float64), whatever autocast says. Views are drawn one after another, and the backward pass draws
    again what it needs: on the CPU a view keeps 12 bytes a Gaussian where colour depends on the view, else nothing.

    Raises InputError for an unknown or unavailable backend, a wrong background, limits without 0 < near < far,
    skewed lenses (K[0, 1]), or cameras that ask for gradients.
    """
    rasterize = choose(backend, gaussians.means.device)
    _check(cameras, background, near, far)
    with torch.autocast(gaussians.means.device.type, enabled=False):
        scene = _drawable(gaussians, keep_double=backend == "reference")
        w2c = rotations.invert_rigid(cameras.c2w.detach().double()).reshape(-1, 4, 4)
        K = cameras.K.detach().double().reshape(-1, 3, 3)
        images = []
        for k in range(len(w2c)):
            view = View(w2c[k], K[k], cameras.width, cameras.height, near, far)
            images.append(_draw(rasterize, scene, view, cameras.centers.detach().reshape(-1, 3)[k]))
        image = torch.stack(images) if images else scene.means.new_zeros(0)
        image = image.reshape(*cameras.shape, 5, cameras.height, cameras.width)
        rgb, depth, alpha = image.split([3, 1, 1], -3)
        if background is not None:
            rgb = rgb + (1 - alpha) * background.to(rgb)[..., None, None]
        return Rendering(rgb, depth / alpha.clamp_min(EMPTY_ALPHA), alpha)


def _check(cameras: Cameras, background: Tensor | None, near: float, far: float) -> None:
    """Refuse what the rasterisers cannot draw."""
    require(0 < near < far, f"render: depth limits must satisfy 0 < near < far, got near={near}, far={far}")
    if background is not None:
        wanted = {(3,), (*cameras.shape, 3)}
        require(
            tuple(background.shape) in wanted,
            f"render: background must be {' or '.join(str(list(s)) for s in sorted(wanted, key=len))}, "
            f"got {list(background.shape)}",
        )
    skew = (cameras.K[..., 0, 1] / cameras.K[..., 0, 0]).abs()
    require(
        bool((skew < 1e-6).all()), "render: lenses with skew (K[0, 1] other than 0) cannot be drawn; undistort first"
    )
    require(
        not (torch.is_grad_enabled() and (cameras.c2w.requires_grad or cameras.K.requires_grad)),
        "render: there are no gradients to cameras; detach c2w and K",
    )


def _drawable(gaussians: Gaussians, keep_double: bool) -> Gaussians:
    """The Gaussians that can be drawn, in float32 (or float64 if kept)."""
    fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
    # whole-tensor checks first, an order of magnitude cheaper than a mask: a sum shows any NaN or infinity
    suspect = ~sum(t.detach().sum() for t in fields).isfinite()
    suspect |= (gaussians.scales[:, 0] == 0).any() | (gaussians.quats[:, 0] == 0).any()
    if suspect:
        good = gaussians.finite() & gaussians.scales.bool().any(-1) & gaussians.quats.bool().any(-1)
        gaussians = gaussians if good.all() else gaussians[good]
    double = keep_double and gaussians.means.dtype == torch.float64
    return gaussians.to(torch.float64 if double else torch.float32)


def _draw(rasterize: Callable, scene: Gaussians, view: View, center: Float[Tensor, "3"]) -> Float[Tensor, "5 h w"]:
    """One view: its colours, then the backend."""
    fields = (scene.means, scene.quats, scene.scales, scene.opacities, scene.sh)
    if len(scene) == 0:
        nothing = sum(t.sum() for t in fields)  # keeps the picture in the autograd graph
        return nothing + scene.means.new_zeros(5, view.height, view.width)
    if scene.sh_degree > 0 and torch.is_grad_enabled():
        colors = checkpoint(_colors, scene.means, scene.sh, center, use_reentrant=False)
    else:
        colors = _colors(scene.means, scene.sh, center)
    return rasterize(*fields[:4], colors, view)


def _colors(means: Float[Tensor, "n 3"], coefficients: Float[Tensor, "n k 3"], center: Float[Tensor, "3"]) -> Tensor:
    """Colours [n, 3] seen from a camera centre."""
    if coefficients.shape[1] == 1:
        return sh.sh_to_rgb(coefficients[:, 0]).clamp_min(0)  # the same from everywhere, and several times faster
    return sh.evaluate(coefficients, rotations.normalize(means - center.to(means)))


class _Callable(ModuleType):
    """A module that can be called: importing this package puts it in the place of the function `lyra.render`."""

    def __call__(self, *args, **kwargs) -> Rendering:
        return render(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
