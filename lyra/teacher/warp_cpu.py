"""The warp as compiled loops: float32 on the CPU, one camera a task, the same result for any number of threads."""

import inspect
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyra.scene import Cameras

_ZERO, _ONE, _HALF, _FAR = np.float32(0), np.float32(1), np.float32(0.5), np.float32(1000)
_TINY, _FLOOR, _TIGHT = np.float32(1e-12), np.float32(1e-7), np.float32(1e-4)  # as in `warp`
_INFINITY = np.float32(np.inf)


def _kernel(function: Callable) -> Callable:
    """Compile on first use, without the GIL; the machine code is kept on disk where a folder can be written to."""
    function = inspect.unwrap(function)  # run-time type checkers wrap functions in code that cannot be compiled
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


def splat(
    points: Tensor, colours: Tensor, keep: Tensor, cameras: Cameras, sharpness: float, group: int
) -> tuple[Float[Tensor, "t 3 h w"], Bool[Tensor, "t h w"], Float[Tensor, "t h w"]]:
    """Image, mask and depth; see `warp.splat`."""
    points, colours, keep = (_array(tensor) for tensor in (points, colours, keep))
    c2w, K = _array(cameras.c2w), _array(cameras.K)
    t, height, width = len(cameras), cameras.height, cameras.width
    peaks = np.array(_each(t, lambda i: _farthest(_of(points, i), c2w[i])))
    peaks = np.maximum.reduceat(peaks, np.arange(0, t, group)).repeat(group)
    steps = (sharpness / np.maximum(np.log1p(peaks), _TINY)).astype(np.float32)
    image = np.empty((t, 3, height, width), np.float32)
    mask, depth = np.empty((t, height, width), np.bool_), np.empty((t, height, width), np.float32)

    def draw(i: int) -> None:
        canvas = np.zeros((height + 2, width + 2, 5), np.float32)
        _add_points(canvas, _of(points, i), _of(colours, i), _of(keep, i), c2w[i], K[i], steps[i])
        _divide(canvas, image[i], mask[i], depth[i])

    _each(t, draw)
    return torch.from_numpy(image), torch.from_numpy(mask), torch.from_numpy(depth)


def mesh_depth(triangles: Tensor, cameras: Cameras, view: Tensor | None) -> Float[Tensor, "t h w"]:
    """Depth of the nearest world triangle along every pixel's ray; see `warp.mesh_depth`."""
    nearest = np.full((len(cameras), cameras.height, cameras.width), np.inf, np.float32)
    c2w, K, world = _array(cameras.c2w), _array(cameras.K), _array(triangles)
    of = None if view is None else _array(view)
    _each(len(cameras), lambda i: _add_triangles(nearest[i], world if of is None else world[of == i], c2w[i], K[i]))
    return torch.from_numpy(nearest)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


def _of(sets: np.ndarray, camera: int) -> np.ndarray:
    return sets[camera] if len(sets) > 1 else sets[0]


def _each(count: int, work: Callable) -> list:
    """`work` of 0 .. count - 1 on all processors."""
    with ThreadPoolExecutor(max(1, min(count, torch.get_num_threads(), os.cpu_count() or 1))) as pool:
        return list(pool.map(work, range(count)))


@_kernel
def _farthest(points, c2w):
    """The largest depth among the points, between 0 and the limit beyond which depths count as equal."""
    peak = _ZERO
    for i in range(len(points)):
        z = _ZERO
        for k in range(3):
            z += (points[i, k] - c2w[k, 3]) * c2w[k, 2]
        peak = max(peak, min(z, _FAR))
    return peak


@_kernel
def _spot(position, size):
    """A position along one axis on the canvas, whose frame of one pixel takes what lies outside."""
    position += _HALF
    if not position >= _ZERO:
        return _ZERO
    return min(position, np.float32(size - 1))


@_kernel
def _add_points(canvas, points, colours, keep, c2w, K, step):
    """Spread the points of one camera over the canvas [h + 2, w + 2, weight r g b depth]."""
    value = np.empty(5, np.float32)
    value[0] = _ONE
    for i in range(len(points)):
        if not keep[i]:
            continue
        dx, dy, dz = points[i, 0] - c2w[0, 3], points[i, 1] - c2w[1, 3], points[i, 2] - c2w[2, 3]
        z = dx * c2w[0, 2] + dy * c2w[1, 2] + dz * c2w[2, 2]
        if not z > _ZERO:
            continue
        scale = _ONE / max(z, _TINY)
        x = (dx * c2w[0, 0] + dy * c2w[1, 0] + dz * c2w[2, 0]) * scale
        y = (dx * c2w[0, 1] + dy * c2w[1, 1] + dz * c2w[2, 1]) * scale
        column = _spot(K[0, 0] * x + K[0, 1] * y + K[0, 2], canvas.shape[1])
        row = _spot(K[1, 1] * y + K[1, 2], canvas.shape[0])
        weight = _ONE / (np.exp(step * np.log1p(min(z, _FAR))) + _FLOOR)
        value[1], value[2], value[3], value[4] = colours[i, 0], colours[i, 1], colours[i, 2], z
        x0, y0, x1, y1 = np.floor(column), np.floor(row), np.ceil(column), np.ceil(row)
        for cell_y, part_y in ((y0, _ONE - (row - y0)), (y1, _ONE - (y1 - row))):
            for cell_x, part_x in ((x0, _ONE - (column - x0)), (x1, _ONE - (x1 - column))):
                share = weight * part_x * part_y
                for k in range(5):
                    canvas[int(cell_y), int(cell_x), k] += share * value[k]


@_kernel
def _divide(canvas, image, mask, depth):
    """Sums of weighted values to means, inside the frame."""
    for row in range(len(mask)):
        for column in range(mask.shape[1]):
            total = canvas[row + 1, column + 1, 0]
            seen = total > _ZERO
            mask[row, column] = seen
            depth[row, column] = canvas[row + 1, column + 1, 4] / total if seen else _ZERO
            for k in range(3):
                mean = canvas[row + 1, column + 1, k + 1] / total if seen else -_ONE
                image[k, row, column] = min(max(mean, -_ONE), _ONE)


@_kernel
def _extent(corners, across, centre, size):
    """First pixel and end along one axis of all that a triangle can cover; see `warp._extent`."""
    low, high = _INFINITY, -_INFINITY
    unsure = _TIGHT * max(abs(across[0]), abs(across[1]), abs(across[2]))
    for i in range(3):
        k = (i + 1) % 3
        z, z_after = corners[i, 2], corners[k, 2]
        if z > _ZERO:
            spot = across[i] / z + centre
            low, high = min(low, spot), max(high, spot)
        if (z > _ZERO) != (z_after > _ZERO):
            side = across[i] + z / (z - z_after) * (across[k] - across[i])
            low = -_INFINITY if side <= unsure else low
            high = _INFINITY if side >= -unsure else high
    first = int(min(max(np.floor(low - _HALF), _ZERO), np.float32(size)))
    last = int(min(max(np.ceil(high - _HALF), -_ONE), np.float32(size - 1)))
    return first, last + 1


@_kernel
def _cross(out, a, b):
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]


@_kernel
def _add_triangles(nearest, triangles, c2w, K):
    """Lower `nearest` [h, w] to the depth of the triangles where they are nearer; see `warp.triangle_depth`."""
    corners, across, normals = np.empty((3, 3), np.float32), np.empty(3, np.float32), np.empty((4, 3), np.float32)
    for m in range(len(triangles)):
        for i in range(3):
            for j in range(3):
                corners[i, j] = _ZERO
                for k in range(3):
                    corners[i, j] += (triangles[m, i, k] - c2w[k, 3]) * c2w[k, j]
        if corners[0, 2] <= _ZERO and corners[1, 2] <= _ZERO and corners[2, 2] <= _ZERO:
            continue
        across[:] = corners[:, 0] * K[0, 0] + corners[:, 1] * K[0, 1]
        left, right = _extent(corners, across, K[0, 2], nearest.shape[1])
        across[:] = corners[:, 1] * K[1, 1]
        top, bottom = _extent(corners, across, K[1, 2], nearest.shape[0])
        if left >= right or top >= bottom:
            continue
        a, b, c = corners
        _cross(normals[0], b, c - b)
        _cross(normals[1], c, a - c)
        _cross(normals[2], a, b - a)
        _cross(normals[3], b - a, c - a)
        volume = a[0] * normals[3, 0] + a[1] * normals[3, 1] + a[2] * normals[3, 2]
        for row in range(top, bottom):
            y = (np.float32(row) + _HALF - K[1, 2]) / K[1, 1]
            shift = K[0, 2] + K[0, 1] * y - _HALF
            for column in range(left, right):
                x = (np.float32(column) - shift) / K[0, 0]
                face = normals[3, 0] * x + normals[3, 1] * y + normals[3, 2]
                inside = face != _ZERO
                for k in range(3):
                    inside &= (normals[k, 0] * x + normals[k, 1] * y + normals[k, 2]) * face >= _ZERO
                depth = volume / face
                if inside and depth > _ZERO:
                    nearest[row, column] = min(nearest[row, column], depth)
