"""Forward warping: coloured points into new cameras by soft z-buffered splatting, and a small triangle z-buffer.

The splatting is GEN3C's: every point spreads to its four neighbouring pixels with a bilinear weight divided by
exp(sharpness log(1 + z) / max log(1 + z)), so near points win softly. Plain torch, CPU and CUDA, float32.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lyra.scene import Cameras, require

_CANDIDATES = 2**22  # (triangle, pixel) pairs tested at a time, which bounds the memory


@dataclass(frozen=True, eq=False)
class Warped:
    """What the points show in t cameras: image in [-1, 1] with -1 in holes, mask, depth along z with 0 in holes."""

    image: Float[Tensor, "t 3 h w"]
    mask: Bool[Tensor, "t h w"]
    depth: Float[Tensor, "t h w"]


def splat(
    points: Float[Tensor, "n 3"],
    colours: Float[Tensor, "n 3"],
    keep: Bool[Tensor, " n"],
    cameras: Cameras,
    sharpness: float = 50.0,
    group: int = 1,
) -> Warped:
    """Splat world points with colours in [-1, 1] into t cameras.

    Points with `keep` False are left out, but still count for the depth by which weights are normalised; `group`
    consecutive cameras share that depth (the published code warps two at a time).
    """
    require(len(cameras.shape) == 1, f"warping needs one row of cameras, got the shape {list(cameras.shape)}")
    size = (cameras.height, cameras.width)
    views = []
    for start in range(0, len(cameras), group):
        part = cameras[start : start + group]
        pixels, depth = part.project(points.expand(len(part), -1, -1))
        nearness = torch.log1p(depth.clamp(0, 1000))
        weights = 1 / ((sharpness * nearness / nearness.max()).exp() + 1e-7)
        weights = weights * (keep & (depth > 0))
        for view in range(len(part)):
            values = torch.cat([colours, depth[view, :, None]], -1)
            views.append(_splat_one(pixels[view] - 0.5, weights[view], values, size))
    total, values = (torch.stack(parts) for parts in zip(*views, strict=True))
    mask = total > 0
    mean = torch.where(mask[..., None], values / torch.where(mask, total, torch.ones_like(total))[..., None], 0)
    image = torch.where(mask[..., None], mean[..., :3].clamp(-1, 1), -1)
    return Warped(image.movedim(-1, 1), mask, mean[..., 3])


def _splat_one(
    positions: Float[Tensor, "n 2"], weights: Float[Tensor, " n"], values: Float[Tensor, "n k"], size: tuple[int, int]
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w k"]]:
    """Sums of weights and of weighted values at pixel centres; positions in pixels, (0, 0) the first centre."""
    height, width = size
    # The canvas has a frame of one pixel, into which everything outside is pushed.
    limit = positions.new_tensor([width + 1, height + 1])
    spots = torch.nan_to_num(positions + 1, nan=0.0).clamp(min=torch.zeros_like(limit), max=limit)
    indices, shares = [], []
    for x, part_x in _neighbours(spots[:, 0]):
        for y, part_y in _neighbours(spots[:, 1]):
            indices.append((y * (width + 2) + x).long())
            shares.append(weights * part_x * part_y)
    index = torch.cat(indices)
    sums = []
    for value in (torch.ones_like(weights), *values.unbind(-1)):  # one-dimensional sums: those of rows are slow on CPUs
        canvas = value.new_zeros((height + 2) * (width + 2))
        canvas.index_add_(0, index, torch.cat([share * value for share in shares]))
        sums.append(canvas.reshape(height + 2, width + 2)[1:-1, 1:-1])
    return sums[0], torch.stack(sums[1:], -1)


def _neighbours(spots: Float[Tensor, " n"]) -> list[tuple[Float[Tensor, " n"], Float[Tensor, " n"]]]:
    """The pixels before and after each position along one axis, with their bilinear weights."""
    low, high = spots.floor(), spots.ceil()
    return [(low, 1 - (spots - low)), (high, 1 - (high - spots))]


def triangle_depth(
    corners: Float[Tensor, "m 3 3"], K: Float[Tensor, "3 3"], height: int, width: int
) -> Float[Tensor, "h w"]:
    """Depth z of the nearest triangle along the ray of every pixel centre, infinite where there is none.

    Corners are in camera axes. Each triangle is intersected with the rays inside its bounding box only (Moeller and
    Trumbore 1997); a triangle that reaches behind the camera is tested against all rays.
    """
    nearest = torch.full((height * width,), torch.inf, dtype=corners.dtype, device=corners.device)
    corners = corners[(corners[..., 2] > 0).any(-1)]
    if len(corners) == 0:
        return nearest.reshape(height, width)
    left, top, wide, tall = _boxes(corners, K, height, width)
    areas = wide * tall
    ends = areas.cumsum(0)
    first = 0
    while first < len(corners):
        before = ends[first] - areas[first]
        last = max(first + 1, int(torch.searchsorted(ends, before + _CANDIDATES, right=True)))
        chosen = torch.arange(first, last, device=corners.device)
        triangle = chosen.repeat_interleave(areas[first:last])
        inside = torch.arange(len(triangle), device=corners.device) - (ends - areas - before)[triangle]
        column = left[triangle] + inside % wide[triangle]
        row = top[triangle] + torch.div(inside, wide[triangle], rounding_mode="floor")
        depth = _hit(corners[triangle], K, column, row)
        nearest.scatter_reduce_(0, row * width + column, depth, "amin")
        first = last
    return nearest.reshape(height, width)


def _boxes(corners: Tensor, K: Tensor, height: int, width: int) -> list[Int64[Tensor, " m"]]:
    """Left, top, width and height in pixels of what each triangle can cover (at least one pixel, inside the image)."""
    z = corners[..., 2]
    projected = corners @ K.T / torch.where(z > 1e-6, z, torch.ones_like(z))[..., None]
    behind = (z <= 1e-6).any(-1)
    boxes = []
    for axis, size in ((0, width), (1, height)):
        low = (projected[..., axis].amin(-1) - 0.5).floor().clamp(0, size - 1)
        high = (projected[..., axis].amax(-1) - 0.5).ceil().clamp(0, size - 1)
        low, high = torch.where(behind, 0, low).long(), torch.where(behind, size - 1, high).long()
        boxes += [low, high - low + 1]
    return [boxes[0], boxes[2], boxes[1], boxes[3]]


def _hit(corners: Tensor, K: Tensor, column: Tensor, row: Tensor) -> Float[Tensor, " k"]:
    """Depth at which the ray through a pixel centre meets its triangle, infinite if it misses."""
    y = (row.to(K) + 0.5 - K[1, 2]) / K[1, 1]
    x = (column.to(K) + 0.5 - K[0, 2] - K[0, 1] * y) / K[0, 0]
    ray = torch.stack([x, y, torch.ones_like(x)], -1)
    origin, edge1, edge2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    cross = torch.linalg.cross(ray, edge2)
    area = (edge1 * cross).sum(-1)
    scale = 1 / torch.where(area.abs() > 1e-12, area, torch.full_like(area, torch.nan))
    u = -(origin * cross).sum(-1) * scale
    other = torch.linalg.cross(-origin, edge1)
    v = (ray * other).sum(-1) * scale
    depth = (edge2 * other).sum(-1) * scale
    return torch.where((u >= 0) & (v >= 0) & (u + v <= 1) & (depth > 0), depth, torch.inf)
