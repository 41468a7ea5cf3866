"""Where to look from when a scene comes without cameras."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lyra.scene import rotations
from lyra.scene.cameras import Cameras
from lyra.scene.errors import require
from lyra.scene.gaussians import Gaussians


def weighted_quantile(values: Float[Tensor, " n"], weights: Float[Tensor, " n"], q: float) -> Float[Tensor, ""]:
    """The value below which the share `q` of the total weight lies, n >= 1."""
    order = values.argsort()
    reached = weights[order].double().cumsum(0)
    return values[order[torch.searchsorted(reached, q * reached[-1]).clamp(max=len(values) - 1)]]


def focus(gaussians: Gaussians) -> tuple[Float[Tensor, "3"], float]:
    """The middle of a scene and the radius about it that holds 90 % of its substance, in world units.

    Substance is opacity; medians and quantiles ignore far-off specks. Raises InputError if nothing opaque is there.
    """
    solid = gaussians[gaussians.finite() & (gaussians.opacities > 0)]
    require(len(solid) > 0, "the scene has no visible Gaussians, so there is nothing to look at")
    middle = torch.stack([weighted_quantile(axis, solid.opacities, 0.5) for axis in solid.means.unbind(-1)])
    distance = (solid.means - middle).norm(dim=-1)
    size = float(solid.scales.amax(-1).median())
    return middle, max(float(weighted_quantile(distance, solid.opacities, 0.9)), size, 1e-6)


def first_view(
    gaussians: Gaussians, fov_x_deg: float = 60.0, width: int = 1280, height: int = 704
) -> tuple[Cameras, float]:
    """A camera (shape []) that shows the scene, and the depth at which its subject lies.

    If a quarter or more of the substance is in view of the camera at the origin looking along +z (as in every
    scene made by Lyra), that camera is taken and the depth is the median one in its view. Otherwise the camera steps
    back along -z until the sphere of `focus` fits.
    """
    solid = gaussians[gaussians.finite() & (gaussians.opacities > 0)].detach()
    middle, radius = focus(solid)
    origin = Cameras.from_fov(torch.eye(4).to(solid.means), fov_x_deg, width, height)
    pixels, z = origin.project(solid.means)
    size = torch.tensor([width, height]).to(pixels)
    shown = (z > 0) & (pixels >= 0).all(-1) & (pixels < size).all(-1)
    if float(solid.opacities[shown].sum()) >= 0.25 * float(solid.opacities.sum()):
        return origin, float(weighted_quantile(z[shown], solid.opacities[shown], 0.5))
    half = math.atan(math.tan(math.radians(fov_x_deg) / 2) * min(1.0, height / width))
    distance = radius / math.sin(half)
    back = torch.tensor([0.0, 0.0, -distance]).to(middle)
    c2w = rotations.compose(torch.eye(3).to(middle), middle + back)
    return Cameras.from_fov(c2w, fov_x_deg, width, height), distance
