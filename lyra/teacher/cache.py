"""The 3D cache: what the input frames show, as coloured points that can be warped to any camera (GEN3C, Lyra Sec. 3).

Two defences against stretched edges: points at depth edges are not splatted, and a coarse mesh over those edges hides
background that would shine through them ("foreground masking", Lyra App. B).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras, require
from lyra.scene.rotations import transform_points
from lyra.teacher.warp import Warped, splat, triangle_depth


@dataclass(frozen=True)
class CacheOptions:
    """How a cache is built and warped.

    Depth is clamped to max_depth, where pixels without depth (sky) are put. Edges are pixels whose window has
    (max - min) / mean >= edge_ratio. Background farther than the mesh by more than `epsilon` is hidden, relative to the
    mesh's depth (the published code: absolute, in whatever unit the depth has). `group` is explained at `splat`.
    """

    max_depth: float = 100.0
    edge_ratio: float = 0.05
    edge_window: int = 5
    drop_edges: bool = True
    hide_background: bool = True
    mesh_stride: int = 4
    epsilon: float = 0.02
    relative_epsilon: bool = True
    sharpness: float = 50.0
    group: int = 1


@dataclass(frozen=True, eq=False)
class Cache:
    """Points of v source frames: world positions, colours in [-1, 1], and which of them lie on a depth edge."""

    points: Float[Tensor, "v h w 3"]
    image: Float[Tensor, "v 3 h w"]
    edge: Bool[Tensor, "v h w"]
    options: CacheOptions

    @classmethod
    def from_depth(
        cls,
        image: Float[Tensor, "v 3 h w"],
        depth: Float[Tensor, "v h w"],
        cameras: Cameras,
        options: CacheOptions | None = None,
    ) -> "Cache":
        """Unproject source frames; depth along z, where not finite or beyond max_depth the pixel counts as sky."""
        options = options or CacheOptions()
        v, _, h, w = image.shape
        require(
            tuple(depth.shape) == (v, h, w) and cameras.shape == (v,) and (cameras.height, cameras.width) == (h, w),
            f"a cache needs depth and cameras for its {v} images of {w}x{h}, got depth {list(depth.shape)} and "
            f"{list(cameras.shape)} cameras of {cameras.width}x{cameras.height}",
        )
        far = options.max_depth
        depth = torch.nan_to_num(depth, nan=far, posinf=far, neginf=far).clamp(0, far)
        return cls(cameras.unproject(depth), image, depth_edges(depth, options), options)

    def warp(self, cameras: Cameras) -> Warped:
        """What t cameras see of the cache."""
        options = self.options
        keep = ~self.edge if options.drop_edges else torch.ones_like(self.edge)
        colours = self.image.movedim(1, -1).reshape(-1, 3)
        points = self.points.reshape(-1, 3)
        warped = splat(points, colours, keep.reshape(-1), cameras, options.sharpness, options.group)
        return self._hide_background(warped, cameras) if options.hide_background else warped

    def _hide_background(self, warped: Warped, cameras: Cameras) -> Warped:
        """Remove pixels that lie behind the mesh over the depth edges."""
        triangles = self.edge_mesh()
        mask = warped.mask.clone()
        w2c = cameras.w2c
        for index in range(len(cameras)):
            corners = transform_points(w2c[index], triangles.reshape(-1, 3)).reshape(-1, 3, 3)
            mesh = triangle_depth(corners, cameras.K[index], cameras.height, cameras.width)
            slack = self.options.epsilon * (mesh if self.options.relative_epsilon else 1)
            mask[index] &= ~(mesh + slack < warped.depth[index])
        image = torch.where(mask[:, None], warped.image, -1)
        return Warped(image, mask, torch.where(mask, warped.depth, 0))

    def edge_mesh(self) -> Float[Tensor, "m 3 3"]:
        """World triangles over the depth edges, on the point grid coarsened by mesh_stride."""
        stride = self.options.mesh_stride
        size = (self.points.shape[1] // stride, self.points.shape[2] // stride)
        grid = functional.interpolate(self.points.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
        edge = functional.interpolate(self.edge[:, None].float(), size, mode="nearest")[:, 0] > 0
        corners = [(slice(None), rows, columns) for rows in _SIDES for columns in _SIDES]
        touched = torch.stack([edge[corner] for corner in corners]).any(0)
        a, b, c, d = (grid[corner][touched] for corner in corners)
        return torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)])


_SIDES = (slice(None, -1), slice(1, None))


def depth_edges(depth: Float[Tensor, "v h w"], options: CacheOptions) -> Bool[Tensor, "v h w"]:
    """Pixels whose neighbourhood spans a relative depth range of at least edge_ratio.

    The mean is taken over the zero-padded window, as published: pixels at the image border see a smaller one.
    """
    window, pad = options.edge_window, options.edge_window // 2
    high = functional.max_pool2d(depth[:, None], window, 1, pad)
    low = -functional.max_pool2d(-depth[:, None], window, 1, pad)
    mean = functional.avg_pool2d(depth[:, None], window, 1, pad)
    return ((high - low) / mean.clamp_min(1e-12) >= options.edge_ratio)[:, 0]
