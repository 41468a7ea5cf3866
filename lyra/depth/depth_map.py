"""What every depth source returns: depth along z, the camera's K, and where there is anything."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import require

Scale = Literal["metric", "relative"]


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Depth of one image.

    `depth` is along the camera axis (z, not distance), in metres if `scale` is "metric"; "relative" depth has the
    median 1 over the valid pixels. Where `valid` is False (sky, or unknown) depth is infinite. `K` is in pixels of this
    image.
    Raises InputError if shapes do not fit or a valid depth is not positive and finite.
    """

    depth: Float[Tensor, "h w"]
    K: Float[Tensor, "3 3"]
    valid: Bool[Tensor, "h w"]
    scale: Scale = "metric"

    def __post_init__(self) -> None:
        shape = tuple(self.depth.shape)
        require(
            len(shape) == 2 and tuple(self.valid.shape) == shape and tuple(self.K.shape) == (3, 3),
            f"a depth map needs depth and valid [h, w] and K [3, 3], got {list(shape)}, {list(self.valid.shape)} and "
            f"{list(self.K.shape)}",
        )
        require(self.scale in ("metric", "relative"), f'scale must be "metric" or "relative", got {self.scale!r}')
        seen = self.depth[self.valid]
        require(
            bool((seen.isfinite() & (seen > 0)).all()), "a depth map's valid depths must all be positive and finite"
        )

    @classmethod
    def of(
        cls,
        depth: Float[Tensor, "h w"],
        K: Float[Tensor, "3 3"],
        valid: Bool[Tensor, "h w"],
        scale: Scale,
    ) -> "DepthMap":
        """From any depth: what is not positive and finite becomes invalid, relative depth is brought to median 1."""
        valid = valid & depth.isfinite() & (depth > 0)
        if scale == "relative" and bool(valid.any()):
            depth = depth / depth[valid].median()
        return cls(torch.where(valid, depth, torch.inf), K, valid, scale)


def centred_K(focal: float | Tensor, height: int, width: int) -> Float[Tensor, "3 3"]:
    """Square pixels and a centred lens; `focal` in pixels."""
    K = torch.eye(3)
    K[0, 0] = K[1, 1] = torch.as_tensor(focal, dtype=torch.float32)
    K[0, 2], K[1, 2] = width / 2, height / 2
    return K


def check_image(image: Tensor) -> None:
    """InputError unless `image` is [3, h, w] with finite colours in [0, 1]."""
    require(
        image.ndim == 3 and image.shape[0] == 3 and min(image.shape[1:]) >= 8 and image.is_floating_point(),
        f"depth needs a colour image [3, h, w] of at least 8x8 pixels in [0, 1], got {image.dtype} {list(image.shape)}",
    )
    low, high = image.amin(), image.amax()
    require(
        bool(image.isfinite().all()) and float(low) >= -1e-3 and float(high) <= 1.001,
        f"depth needs colours in [0, 1], got values from {float(low):.3g} to {float(high):.3g}",
    )


def check_K(K: Tensor) -> None:
    """InputError unless `K` is a usable [3, 3] matrix of intrinsics."""
    usable = tuple(K.shape) == (3, 3) and bool(K.isfinite().all()) and float(K[0, 0]) > 0 and float(K[1, 1]) > 0
    require(usable, f"K must be [3, 3] in pixels with positive focal lengths, got {K.tolist()}")
