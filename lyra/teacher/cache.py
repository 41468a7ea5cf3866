"""The 3D cache: what the input frames show, as coloured points that can be warped to any camera (GEN3C, Lyra Sec. 3).

Two defences against stretched edges: points at depth edges are not splatted, and a coarse mesh over those edges hides
background that would shine through them ("foreground masking", Lyra App. B).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

    What is None follows from the image's width, see `complete`.
    """

    max_depth: float = 100.0
    edge_ratio: float | None = None
    edge_window: int | None = None
    drop_edges: bool = True
    hide_background: bool = True
    mesh_stride: int | None = None
    epsilon: float = 0.02
    relative_epsilon: bool = True
    sharpness: float = 50.0
    group: int = 1

    @classmethod
    def for_width(cls, width: int) -> "CacheOptions":
        """The default options, complete, for images of this width."""
        return cls().complete(width)

    def complete(self, width: int) -> "CacheOptions":
        """Edge options where none are given: as published at 1280 pixels, and what means the same to other widths.

        The window is measured in pixels: at 448 the published one would span three times the angle and take walls and
        ceilings seen at a slant for edges.
        """
        window = self.edge_window or max(3, 2 * round(2 * width / 1280) + 1)
        ratio = self.edge_ratio or min(0.05 * (window - 1) / 4 * 1280 / width, 0.2)
        stride = self.mesh_stride or max(2, round(4 * width / 1280))
        return replace(self, edge_ratio=ratio, edge_window=window, mesh_stride=stride)


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
        options = (options or CacheOptions()).complete(cameras.width)
        v, _, h, w = image.shape
        require(
            tuple(depth.shape) == (v, h, w) and cameras.shape == (v,) and (cameras.height, cameras.width) == (h, w),
            f"a cache needs depth and cameras for its {v} images of {w}x{h}, got depth {list(depth.shape)} and "
            f"{list(cameras.shape)} cameras of {cameras.width}x{cameras.height}",
        )
        far = options.max_depth
        depth = torch.nan_to_num(depth, nan=far, posinf=far, neginf=far).clamp(0, far)
        return cls(_unproject(cameras, depth), image, depth_edges(depth, options), options)

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
        options, sets = self.options, frames if per_frame else 1
        step = max(1, _POINTS // visible // options.group) * options.group
        keep = ~self.edge if options.drop_edges else torch.ones_like(self.edge)
        table = (self.points, self.image.movedim(1, -1), keep[..., None])
        points, colours, keep = (each.reshape(sets, -1, each.shape[-1]) for each in table)
        mesh = self.edge_mesh() if options.hide_background else None
        parts = []
        for start in range(0, t, step):
            now = slice(start, start + step)
            seen = now if per_frame else slice(None)
            part = cameras[now]
            warped = splat(points[seen], colours[seen], keep[seen, :, 0], part, options.sharpness, options.group)
            if mesh is not None:
                warped = self._hide_background(warped, part, *_seen_in(now, *mesh, per_frame=per_frame))
            parts.append((warped.image, warped.mask, warped.depth))
        return Warped(*(torch.cat(each) for each in zip(*parts, strict=True))) if len(parts) > 1 else Warped(*parts[0])

    def frames(self, first: int, last: int) -> "Cache":
        """The cache of a stretch of its source frames."""
        return Cache(self.points[first:last], self.image[first:last], self.edge[first:last], self.options)

    def joined(self, other: "Cache") -> "Cache":
        """One cache of the frames of both; options are those of this one."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("points", "image", "edge"))
        return Cache(*(torch.cat(pair) for pair in pairs), self.options)

    def _hide_background(self, warped: Warped, cameras: Cameras, triangles: Tensor, view: Tensor | None) -> Warped:
        """Remove pixels that lie behind the mesh over the depth edges."""
        mesh = mesh_depth(triangles, cameras, view)
        slack = self.options.epsilon * (mesh if self.options.relative_epsilon else 1)
        hidden = mesh + slack < warped.depth
        image, depth = warped.image.masked_fill_(hidden[:, None], -1), warped.depth.masked_fill_(hidden, 0)
        return Warped(image, warped.mask & ~hidden, depth)

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


def warp_buffers(
    caches: Sequence[Cache], cameras: Cameras, *, per_frame: bool = False
) -> tuple[Float[Tensor, "1 t n 3 h w"], Float[Tensor, "1 t n 1 h w"]]:
    """Images and masks of n caches, newest first, as a `CameraRequest` takes them."""
    seen = [cache.warp(cameras, per_frame=per_frame) for cache in caches]
    images = torch.stack([each.image for each in seen], 1)
    masks = torch.stack([each.mask for each in seen], 1)
    return images[None], masks[None, :, :, None].to(images)


def with_newest(caches: Sequence[Cache], newest: Cache, limit: int) -> list[Cache]:
    """The buffers after one more frame: newest first; a full row loses its newest, never the first (GEN3C)."""
    return [newest, *(caches if len(caches) < limit else caches[1:])]


def _seen_in(
    cameras: slice, triangles: Float[Tensor, "m 3 3"], frame: Int64[Tensor, " m"], *, per_frame: bool
) -> tuple[Float[Tensor, "k 3 3"], Int64[Tensor, " k"] | None]:
    """The part of the edge mesh for a stretch of cameras: all of it, or that of their own frames."""
    if not per_frame:
        return triangles, None
    chosen = (frame >= cameras.start) & (frame < cameras.stop)
    return triangles[chosen], frame[chosen] - cameras.start


_SIDES = (slice(None, -1), slice(1, None))


def _unproject(cameras: Cameras, depth: Float[Tensor, "v h w"]) -> Float[Tensor, "v h w 3"]:
    """As `Cameras.unproject`, without matrix products, which are coarse where TF32 is on."""
    grid, K = cameras.pixel_grid(), cameras.K[:, None, None]
    y = (grid[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
    x = (grid[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
    c2w = cameras.c2w[:, None, None, :3]
    return (x[..., None] * c2w[..., 0] + y[..., None] * c2w[..., 1] + c2w[..., 2]) * depth[..., None] + c2w[..., 3]


def depth_edges(depth: Float[Tensor, "v h w"], options: CacheOptions) -> Bool[Tensor, "v h w"]:
    """Pixels whose neighbourhood spans a relative depth range of at least edge_ratio; `options` must be complete.

    The mean is taken over the zero-padded window, as published: pixels at the image border see a smaller one.
    """
    window, pad = options.edge_window, options.edge_window // 2
    high = functional.max_pool2d(depth[:, None], window, 1, pad)
    low = -functional.max_pool2d(-depth[:, None], window, 1, pad)
    mean = functional.avg_pool2d(depth[:, None], window, 1, pad)
    return ((high - low) / mean.clamp_min(1e-12) >= options.edge_ratio)[:, 0]
