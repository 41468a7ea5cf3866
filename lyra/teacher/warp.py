"""Forward warping: coloured points into new cameras by soft z-buffered splatting, and a small triangle z-buffer.

The splatting is GEN3C's: every point spreads to its four neighbouring pixels with a bilinear weight divided by
exp(sharpness log(1 + z) / max log(1 + z)), so near points win softly.

Two implementations of the same function: this file in plain torch, all cameras of a call at once (CUDA, and anything
that needs gradients or double precision), and compiled loops for float32 on the CPU (`warp_cpu`). Projections are
written out instead of using matrix products, which lose ten bits where training has switched TF32 on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lyra.scene import Cameras, require

_CANDIDATES = 2**22  # (triangle, pixel) pairs tested at a time, which bounds the memory
_TIGHT = 1e-4  # below this share of its size, the side on which a triangle leaves the image is unsure


@dataclass(frozen=True, eq=False)
class Warped:
    """What the points show in t cameras: image in [-1, 1] with -1 in holes, mask, depth along z with 0 in holes."""

    image: Float[Tensor, "t 3 h w"]
    mask: Bool[Tensor, "t h w"]
    depth: Float[Tensor, "t h w"]


def splat(
    points: Float[Tensor, "s n 3"],
    colours: Float[Tensor, "s n 3"],
    keep: Bool[Tensor, "s n"],
    cameras: Cameras,
    sharpness: float = 50.0,
    group: int = 1,
) -> Warped:
    """Splat world points with colours in [-1, 1] into t cameras; s is 1 (all see the same points) or t (each its own).

    Points with `keep` False are left out, but still count for the depth by which weights are normalised; `group`
    consecutive cameras share that depth (the published code warps two at a time).
    """
    _check(cameras, len(points))
    compiled = _compiled(points, colours, cameras.c2w)
    if compiled:
        return Warped(*compiled.splat(points, colours, keep, cameras, sharpness, group))
    sums = _point_sums(points, colours, keep, cameras, sharpness, group)
    total = sums[:, 0]
    mask = total > 0
    mean = sums[:, 1:] / torch.where(mask, total, 1)[:, None]
    image = torch.where(mask[:, None], mean[:, :3].clamp(-1, 1), -1)
    return Warped(image, mask, torch.where(mask, mean[:, 3], 0))


def mesh_depth(
    triangles: Float[Tensor, "m 3 3"], cameras: Cameras, view: Int64[Tensor, " m"] | None = None
) -> Float[Tensor, "t h w"]:
    """Depth z of the nearest world triangle along the ray of every pixel centre, infinite where there is none.

    With `view`, every triangle is seen by that camera only; without, by all of them.
    """
    _check(cameras, 1)
    compiled = _compiled(triangles, cameras.c2w)
    if compiled:
        return compiled.mesh_depth(triangles, cameras, view)
    if view is None:
        corners = to_camera(cameras, triangles.reshape(1, -1, 3)).reshape(-1, 3, 3)
        view = torch.arange(len(cameras), device=triangles.device).repeat_interleave(len(triangles))
    else:
        offset = triangles - cameras.centers[view, None]
        corners = _turn(cameras.c2w[view], offset)
    return triangle_depth(corners, view, cameras)


def _check(cameras: Cameras, sources: int) -> None:
    require(len(cameras.shape) == 1, f"warping needs one row of cameras, got the shape {list(cameras.shape)}")
    require(
        sources in (1, len(cameras)),
        f"each camera its own points: {len(cameras)} sets are needed for {len(cameras)} cameras, got {sources}",
    )


def _compiled(*tensors: Tensor) -> ModuleType | None:
    """The compiled loops where they serve these tensors (float32 on the CPU, no gradients) and numba is installed."""
    for tensor in tensors:
        wanted = torch.is_grad_enabled() and tensor.requires_grad
        if tensor.device.type != "cpu" or tensor.dtype != torch.float32 or wanted:
            return None
    try:
        from lyra.teacher import warp_cpu
    except ImportError:
        return None
    return warp_cpu


def to_camera(cameras: Cameras, points: Float[Tensor, "s n 3"]) -> Float[Tensor, "t n 3"]:
    """World points in the axes of t cameras; s is 1 or t."""
    return _turn(cameras.c2w, points - cameras.centers[:, None])


def _turn(c2w: Float[Tensor, "t 4 4"], offset: Float[Tensor, "t n 3"]) -> Float[Tensor, "t n 3"]:
    """R^T offset."""
    x, y, z = offset.split(1, -1)
    return x * c2w[:, None, 0, :3] + y * c2w[:, None, 1, :3] + z * c2w[:, None, 2, :3]


def _point_sums(
    points: Tensor, colours: Tensor, keep: Tensor, cameras: Cameras, sharpness: float, group: int
) -> Float[Tensor, "t 5 h w"]:
    """Sums of weights and of weighted red, green, blue and depth at pixel centres."""
    t, height, width = len(cameras), cameras.height, cameras.width
    x, y, depth = to_camera(cameras, points).unbind(-1)
    weights = _nearness(depth, sharpness, group) * (keep & (depth > 0))
    safe = torch.where(depth.abs() < 1e-12, 1e-12, depth)
    x, y, K = x / safe, y / safe, cameras.K[..., None]
    columns = _neighbours(K[:, 0, 0] * x + K[:, 0, 1] * y + K[:, 0, 2], width)
    rows = _neighbours(K[:, 1, 1] * y + K[:, 1, 2], height)
    # The canvas has a frame of one pixel, into which everything outside is pushed.
    cells = (height + 2) * (width + 2)
    planes = [weights.new_zeros(t * cells) for _ in range(5)]  # sums of rows of five are slow on CPUs
    start = cells * torch.arange(t, device=points.device)[:, None]
    for column, part_x in columns:
        for row, part_y in rows:
            index = (start + row * (width + 2) + column).flatten()
            share = weights * part_x * part_y
            planes[0].index_add_(0, index, share.flatten())
            for plane, value in zip(planes[1:], (*colours.unbind(-1), depth), strict=True):
                plane.index_add_(0, index, (share * value).flatten())
    return torch.stack(planes).reshape(5, t, height + 2, width + 2)[..., 1:-1, 1:-1].transpose(0, 1)


def _nearness(depth: Float[Tensor, "t n"], sharpness: float, group: int) -> Float[Tensor, "t n"]:
    """The weights of the soft z-buffer."""
    nearness = torch.log1p(depth.clamp(0, 1000))
    peak = nearness.amax(1)
    if group > 1:
        peak = torch.cat([part.amax().expand(len(part)) for part in peak.split(group)])
    return 1 / ((sharpness * nearness / peak.clamp_min(1e-12)[:, None]).exp() + 1e-7)


def _neighbours(positions: Float[Tensor, "t n"], size: int) -> list[tuple[Int64[Tensor, "t n"], Float[Tensor, "t n"]]]:
    """The canvas cells before and after each position along one axis (pixels), with their bilinear weights."""
    spots = torch.nan_to_num(positions + 0.5, nan=0.0).clamp(0, size + 1)
    low, high = spots.floor(), spots.ceil()
    return [(low.long(), 1 - (spots - low)), (high.long(), 1 - (high - spots))]


def triangle_depth(
    corners: Float[Tensor, "p 3 3"], view: Int64[Tensor, " p"], cameras: Cameras
) -> Float[Tensor, "t h w"]:
    """Depth z of the nearest triangle along every pixel's ray, infinite where there is none.

    Corners are in the axes of camera `view`. Inside tests and depth are linear forms over the image (Olano and Greer
    1997, triangles in homogeneous coordinates), which also hold for triangles that reach behind the camera.
    """
    height, width = cameras.height, cameras.width
    nearest = corners.new_full((len(cameras) * height * width,), torch.inf)
    K = cameras.K[view]
    left, wide, top, tall = (*_extent(corners, K, 0, width), *_extent(corners, K, 1, height))
    forms, volume = _forms(corners, K, left, top)
    area = wide * tall
    starts = area.cumsum(0) - area
    origin = (view * height + top) * width + left
    for first, last, before, count in _spans(area):
        chosen = torch.arange(first, last, device=corners.device)
        pair = chosen.repeat_interleave(area[first:last], output_size=count)
        inside = torch.arange(before, before + count, device=corners.device) - starts[pair]
        row = torch.div(inside, wide[pair], rounding_mode="floor")
        column = inside - row * wide[pair]
        form = forms[pair]
        value = form[..., 0] + column[:, None] * form[..., 1] + row[:, None] * form[..., 2]
        depth = volume[pair] / value[:, 3]
        hit = (value[:, :3] * value[:, 3:] >= 0).all(-1) & (value[:, 3] != 0) & (depth > 0)
        index = origin[pair] + row * width + column
        nearest.scatter_reduce_(0, index, torch.where(hit, depth, torch.inf), "amin")
    return nearest.reshape(len(cameras), height, width)


def _extent(corners: Tensor, K: Tensor, axis: int, size: int) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " p"]]:
    """First pixel and number of pixels along one axis of all that a triangle can cover in the image.

    Where an edge crosses the plane z = 0, the triangle runs off to infinity on the side of the crossing.
    """
    after = corners.roll(-1, 1)
    z, z_after = corners[..., 2], after[..., 2]
    front, crossing = z > 0, (z > 0) != (z_after > 0)
    share = z / torch.where(crossing, z - z_after, 1)
    across, across_after = ((p * K[:, None, axis, :2]).sum(-1) for p in (corners[..., :2], after[..., :2]))
    side = across + share * (across_after - across)
    unsure = _TIGHT * across.abs().amax(1, keepdim=True)
    spot = across / torch.where(front, z, 1) + K[:, None, axis, 2]
    low = torch.where(front, spot, torch.inf).amin(1)
    low = torch.where((crossing & (side <= unsure)).any(1), -torch.inf, low)
    high = torch.where(front, spot, -torch.inf).amax(1)
    high = torch.where((crossing & (side >= -unsure)).any(1), torch.inf, high)
    start = (low - 0.5).floor().clamp(0, size).long()
    end = (high - 0.5).ceil().clamp(-1, size - 1).long()
    return start, (end - start + 1).clamp_min(0)


def _forms(corners: Tensor, K: Tensor, left: Tensor, top: Tensor) -> tuple[Float[Tensor, "p 4 3"], Float[Tensor, " p"]]:
    """Value at pixel (left, top), change a column and change a row of four linear forms; and depth times the last.

    The first three have the sign of the fourth where the pixel's ray passes inside of the three edges.
    """
    a, b, c = corners.unbind(1)
    normals = [torch.linalg.cross(p, q - p) for p, q in ((b, c), (c, a), (a, b))]
    face = torch.linalg.cross(b - a, c - a)
    normals = torch.stack([*normals, face], 1)
    y = (top + 0.5 - K[:, 1, 2]) / K[:, 1, 1]
    x = (left + 0.5 - K[:, 0, 2] - K[:, 0, 1] * y) / K[:, 0, 0]
    start = normals[..., 0] * x[:, None] + normals[..., 1] * y[:, None] + normals[..., 2]
    a_column = normals[..., 0] / K[:, None, 0, 0]
    a_row = (normals[..., 1] - a_column * K[:, None, 0, 1]) / K[:, None, 1, 1]
    return torch.stack([start, a_column, a_row], -1), (a * face).sum(-1)


def _spans(area: Int64[Tensor, " p"]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of triangles with at most _CANDIDATES pixels: first, last + 1, pixels before, pixels."""
    ends = area.cumsum(0).cpu()  # the only wait for the device
    first, before = 0, 0
    while first < len(ends) and before < int(ends[-1]):
        last = max(first + 1, int(torch.searchsorted(ends, before + _CANDIDATES, right=True)))
        yield first, last, before, int(ends[last - 1]) - before
        first, before = last, int(ends[last - 1])
