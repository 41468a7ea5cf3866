"""How far a camera may travel before it hits something or leaves what one depth map has shown.

A path is a function of an amount in [0, 1] (0: stay with the view the depth belongs to). The largest amount is sought
for which every camera
1. keeps `clearance` from the surfaces seen, and is not behind one of them where the view could see, and
2. sees known content in at least the share `coverage` of its image.

Content is what the depth map shows, as points. Pixels without depth (sky) count as known and infinitely far. An image
is judged on a grid of about 28 cells along its longer side with four sample points a side in each: a cell is covered if
a point falls into it, so gaps opened by parallax count as unknown, and content magnified more than four times does too.
Obstacles keep the nearest depth of each block of samples, so thin ones are not lost.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import rotations
from lyra.scene.cameras import Cameras
from lyra.scene.errors import require

_CELLS, _SAMPLES = 28, 4
_SCAN, _BISECT = 16, 6


def shrink(cameras: Cameras, amount: float) -> Cameras:
    """The path drawn towards its first camera: every centre and every turn reaches only the share `amount` of its own.

    A loop stays a loop. Turns go the short way round, so this suits paths that stay within half a turn of their first
    camera; for a full orbit let the amount set the angle instead.
    """
    first = cameras.c2w[0].double()
    relative = rotations.invert_rigid(first) @ cameras.c2w.double()
    quats = rotations.matrix_to_quat(relative[:, :3, :3])
    unit = torch.zeros_like(quats)
    unit[:, 0] = 1
    share = torch.full((len(cameras),), amount, dtype=quats.dtype, device=quats.device)
    turned = rotations.quat_to_matrix(rotations.slerp(unit, quats, share))
    c2w = first @ rotations.compose(turned, amount * relative[:, :3, 3])
    return replace(cameras, c2w=c2w.to(cameras.c2w))


def limit(
    path: Cameras | Callable[[float], Cameras],
    view: Cameras,
    depth: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"] | None = None,
    *,
    clearance: float | None = None,
    coverage: float = 0.7,
) -> tuple[Cameras, float]:
    """The path shortened until it is safe, and the amount in [0, 1] that was left of it (see the module).

    `path` gives the cameras [t] for an amount; a list of cameras is drawn in by `shrink`. `depth` is that of the single
    camera `view`, in world units along its axis; `valid` says where it can be trusted (None: where finite and
    positive). `clearance` is in world units (None: a tenth of the median depth). Amount 0 is returned as it is, even
    where it does not satisfy the limits.
    """
    make = (lambda amount: shrink(path, amount)) if isinstance(path, Cameras) else path
    require(view.shape == (), f"the depth must belong to one camera, got {list(view.shape)}")
    require(
        tuple(depth.shape) == (view.height, view.width),
        f"the depth must be {[view.height, view.width]} pixels like its camera, got {list(depth.shape)}",
    )
    require(0 <= coverage <= 1, f"the share of the view to keep covered must lie in [0, 1], got {coverage}")
    good = depth.isfinite() & (depth > 0)
    good = good if valid is None else good & valid
    if not bool(good.any()):
        return make(1.0), 1.0
    if clearance is None:
        clearance = 0.1 * float(depth[good].median())
    require(0 <= clearance < math.inf, f"the clearance must be a distance of 0 or more, got {clearance}")
    view = view.to(torch.float32)
    reach = _free_reach(make, view, _nearest(depth.float(), good), clearance)
    points = _samples(view, depth.float(), good)

    def covered(amount: float) -> bool:
        return _coverage(make(amount).to(torch.float32), points) >= coverage

    if reach == 0 or covered(reach):
        return make(reach), reach
    low, high = 0.0, reach
    for _ in range(_BISECT):
        middle = (low + high) / 2
        low, high = (middle, high) if covered(middle) else (low, middle)
    return make(low), low


def covered_share(
    cameras: Cameras, view: Cameras, depth: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]
) -> Float[Tensor, " t"]:
    """The share of each camera's image that shows content known from `view`, as `limit` judges it."""
    good = depth.isfinite() & (depth > 0) & valid
    return _covered_shares(cameras.to(torch.float32), _samples(view.to(torch.float32), depth.float(), good))


def _steps(size: int, longer: int) -> int:
    """Pixels between two samples."""
    return max(1, round(longer / (_CELLS * _SAMPLES)))


def _nearest(depth: Float[Tensor, "h w"], good: Bool[Tensor, "h w"]) -> Float[Tensor, "h2 w2"]:
    """The nearest depth in each block of pixels; infinite where a block has none."""
    step = _steps(depth.shape[0], max(depth.shape))
    masked = torch.where(good, -depth, -torch.inf)
    return -torch.nn.functional.max_pool2d(masked[None, None], step, ceil_mode=True)[0, 0]


def _free_reach(
    make: Callable[[float], Cameras], view: Cameras, nearest: Float[Tensor, "h2 w2"], clearance: float
) -> float:
    """The largest scanned amount before the first one at which a camera comes too close or goes behind a surface."""
    step = _steps(view.height, max(view.height, view.width))
    rows, columns = nearest.shape
    small = view.crop(0, 0, view.height, view.width).resize(rows, columns)
    # Blocks are `step` pixels wide even where the last one hangs over the border.
    small = replace(small, K=torch.cat([view.K[:2] / step, view.K[2:]]))
    obstacles = small.unproject(nearest.nan_to_num(posinf=0.0))[nearest.isfinite()]
    centers = torch.stack([make(i / _SCAN).centers.float() for i in range(1, _SCAN + 1)])
    pixels, z = small.project(centers.flatten(0, 1))
    inside = (z > 0) & (pixels >= 0).all(-1) & (pixels[:, 0] < columns) & (pixels[:, 1] < rows)
    x, y = torch.where(inside[:, None], pixels, torch.zeros_like(pixels)).long().unbind(-1)
    behind = inside & (z > nearest[y, x])
    # Distances through a matrix product, about the view's centre so that float32 is enough for what is near.
    origin = view.centers
    gap = torch.cdist(
        centers.flatten(0, 1) - origin, obstacles - origin, compute_mode="use_mm_for_euclid_dist"
    ).amin(-1)  # fmt: skip
    bad = (behind | (gap < clearance)).view(_SCAN, -1).any(-1)
    return (int(bad.int().argmax()) if bool(bad.any()) else _SCAN) / _SCAN


def _samples(view: Cameras, depth: Float[Tensor, "h w"], good: Bool[Tensor, "h w"]) -> Float[Tensor, "n 3"]:
    """World points of the sampled pixels; those without depth are put a thousand times as far as the farthest."""
    step = _steps(view.height, max(view.height, view.width))
    far = 1000 * float(depth[good].max())
    filled = torch.where(good, depth, far)
    return view.unproject(filled)[step // 2 :: step, step // 2 :: step].reshape(-1, 3)


def _covered_shares(cameras: Cameras, points: Float[Tensor, "n 3"]) -> Float[Tensor, " t"]:
    size = _steps(cameras.height, max(cameras.height, cameras.width)) * _SAMPLES
    rows, columns = max(1, cameras.height // size), max(1, cameras.width // size)
    P = cameras.K @ cameras.w2c[:, :3]
    u, v, z = (P[:, :, :3] @ points.T + P[:, :, 3:]).unbind(1)
    column = (u / z * (columns / cameras.width)).floor()
    row = (v / z * (rows / cameras.height)).floor()
    inside = (z > 0) & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    frame = torch.arange(len(cameras), device=u.device)[:, None] * (rows * columns)
    cell = (frame + row.nan_to_num() * columns + column.nan_to_num())[inside].long()
    seen = torch.zeros(len(cameras) * rows * columns, device=u.device)
    seen[cell] = 1
    return seen.view(len(cameras), -1).mean(-1)


def _coverage(cameras: Cameras, points: Float[Tensor, "n 3"]) -> float:
    return float(_covered_shares(cameras, points).min())
