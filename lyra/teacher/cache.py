"""The 3D cache: what the input frames show, as coloured points that can be warped to any camera (GEN3C, Lyra Sec. 3).

Two defences against stretched edges: points at depth edges are not splatted, and a coarse mesh over those edges hides
background that would shine through them ("foreground masking", Lyra App. B).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from lyra.scene import Cameras, require
from lyra.teacher.warp import Warped, mesh_depth, splat

_POINTS = 2**23  # points times cameras warped at a time, which bounds the memory


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

    def warp(self, cameras: Cameras, *, per_frame: bool = False) -> Warped:
        """What t cameras see of the cache: of all its frames, or with `per_frame` camera i of frame i only.

        The second is for videos, whose frames show different moments. Cameras are warped some at a time, as many as
        fit into about 1 GB.
        """
        frames, t = len(self.points), len(cameras)
        require(
            not per_frame or frames == t,
            f"warping frame by frame needs one camera for each of the {frames} frames, got {t}",
        )
        visible = self.points[..., 0].numel() // (frames if per_frame else 1)
        step = max(1, _POINTS // visible // self.options.group) * self.options.group
        parts = [
            (self._frames(start, start + step) if per_frame else self)._warp(cameras[start : start + step], per_frame)
            for start in range(0, t, step)
        ]
        return Warped(*(torch.cat(each) for each in zip(*((p.image, p.mask, p.depth) for p in parts), strict=True)))

    def _frames(self, first: int, last: int) -> "Cache":
        return Cache(self.points[first:last], self.image[first:last], self.edge[first:last], self.options)

    def _warp(self, cameras: Cameras, per_frame: bool) -> Warped:
        options, sets = self.options, len(self.points) if per_frame else 1
        keep = ~self.edge if options.drop_edges else torch.ones_like(self.edge)
        colours = self.image.movedim(1, -1).reshape(sets, -1, 3)
        points = self.points.reshape(sets, -1, 3)
        warped = splat(points, colours, keep.reshape(sets, -1), cameras, options.sharpness, options.group)
        return self._hide_background(warped, cameras, per_frame) if options.hide_background else warped

    def _hide_background(self, warped: Warped, cameras: Cameras, per_frame: bool) -> Warped:
        """Remove pixels that lie behind the mesh over the depth edges."""
        triangles, frame = self.edge_mesh()
        mesh = mesh_depth(triangles, cameras, frame if per_frame else None)
        slack = self.options.epsilon * (mesh if self.options.relative_epsilon else 1)
        mask = warped.mask & ~(mesh + slack < warped.depth)
        image = torch.where(mask[:, None], warped.image, -1)
        return Warped(image, mask, torch.where(mask, warped.depth, 0))

    def edge_mesh(self) -> tuple[Float[Tensor, "m 3 3"], Int64[Tensor, " m"]]:
        """World triangles over the depth edges, on the point grid coarsened by mesh_stride, and their frames."""
        stride = self.options.mesh_stride
        size = (self.points.shape[1] // stride, self.points.shape[2] // stride)
        grid = functional.interpolate(self.points.movedim(-1, 1), size, mode="bilinear").movedim(1, -1)
        edge = functional.interpolate(self.edge[:, None].float(), size, mode="nearest")[:, 0] > 0
        corners = [(slice(None), rows, columns) for rows in _SIDES for columns in _SIDES]
        touched = torch.stack([edge[corner] for corner in corners]).any(0)
        frame, row, column = touched.nonzero(as_tuple=True)
        a, b, c, d = (grid[corner][frame, row, column] for corner in corners)
        return torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)]), frame.repeat(2)


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
