"""CPU backend: a tile rasteriser in numba, with a hand-written backward pass.

Its own threads run the kernels, which hold no interpreter lock. So there is no numba threading layer to clash with, and
several Python threads may render at once. A forked process starts threads of its own; there call
torch.set_num_threads(1) first, as data loaders do, because torch's own thread pool does not survive a fork. The result
does not depend on the number of threads, which is the smaller of torch's and numba's (NUMBA_NUM_THREADS).

Memory: a view keeps nothing for the backward pass but the inputs; that pass projects, sorts and draws again. While it
runs, a Gaussian takes 80 bytes and each (tile, splat) pair 4 bytes, 44 in the backward pass.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lyra.render import cpu_bins, cpu_project, cpu_tiles
from lyra.render.rules import View
from lyra.scene import require

_MAX_SIDE = 32767  # beyond it float32 pixel coordinates are coarser than 1/256 px
_CHUNK = 16384  # Gaussians projected by one task

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _threads() -> int:
    """How many threads to use."""
    return max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


def _run(task: Callable, arguments: Iterable[tuple]) -> list:
    """`task` for every tuple of arguments, on the threads of this process; results in order."""
    threads, arguments = _threads(), list(arguments)
    if threads == 1 or len(arguments) == 1:
        return [task(*each) for each in arguments]
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="lyra-render")
    return [future.result() for future in [_pools[key].submit(task, *each) for each in arguments]]


@dataclass(frozen=True, eq=False)
class _Scene:
    """A view's splats and the splats of each tile: all that drawing needs."""

    splats: np.ndarray  # [n, 16], rows of visible Gaussians only
    boxes: np.ndarray  # [n, 4], the tiles they touch: first and last column, first and last row, half open
    order: np.ndarray  # visible Gaussians by depth
    bins: tuple[int, np.ndarray, np.ndarray]  # tile columns; splats of tile 0, tile 1, ...; where each list starts


def _camera_row(view: View) -> np.ndarray:
    """The numbers of a view in the order of `cpu_project`."""
    w2c, K = view.w2c.detach().double(), view.K.detach().double()
    lens = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], view.width, view.height, view.near, view.far]
    return np.array([*w2c[:3].flatten().tolist(), *map(float, lens)], np.float64)


def _prepare(inputs: tuple[np.ndarray, ...], view: View) -> _Scene:
    """Project, sort by depth and sort into tiles."""
    n = inputs[0].shape[0]
    camera = _camera_row(view)
    splats = np.empty((n, cpu_project.SPLAT), np.float32)
    boxes = np.empty((n, 4), np.int16)
    keys, visible = np.empty(n, np.uint32), np.empty(n, np.int32)
    chunks = [(start, min(start + _CHUNK, n)) for start in range(0, n, _CHUNK)]
    counts = _run(cpu_project.project, [(*chunk, inputs, camera, splats, boxes, keys, visible) for chunk in chunks])
    parts = [visible[start : start + count] for (start, _), count in zip(chunks, counts, strict=True)]
    order = cpu_bins.sort_by_depth(np.concatenate(parts), keys)

    columns, rows = -(-view.width // cpu_project.TILE), -(-view.height // cpu_project.TILE)
    pieces = np.array_split(order, _threads())
    hits = np.zeros((len(pieces), columns * rows), np.int32)
    _run(cpu_bins.count_tiles, [(piece, boxes, columns, hits[k]) for k, piece in enumerate(pieces)])
    starts = np.concatenate([[0], np.cumsum(hits.sum(0, dtype=np.int64))])
    cursors = starts[:-1] + np.cumsum(hits, 0, dtype=np.int64) - hits
    lists = np.empty(starts[-1], np.int32)
    _run(cpu_bins.fill_tiles, [(piece, boxes, columns, cursors[k], lists) for k, piece in enumerate(pieces)])
    return _Scene(splats, boxes, order, (columns, lists, starts))


def _tile_rows(scene: _Scene) -> list[np.ndarray]:
    """The tiles in rows: one task each."""
    columns, _, starts = scene.bins
    return [np.arange(k, k + columns) for k in range(0, starts.size - 1, columns)]


class _Rasterize(torch.autograd.Function):
    """(means, quats, scales, opacities, colours) -> image [5, h, w] of one view."""

    @staticmethod
    def forward(ctx, view: View, *tensors: Tensor) -> Tensor:
        inputs = tuple(t.detach().numpy() for t in tensors)
        scene = _prepare(inputs, view)
        image = np.empty((5, view.height, view.width), np.float32)
        _run(cpu_tiles.draw_tiles, [(tiles, scene.splats, scene.bins, image) for tiles in _tile_rows(scene)])
        ctx.view = view
        ctx.save_for_backward(*tensors)
        return torch.from_numpy(image)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = tuple(t.detach().numpy() for t in ctx.saved_tensors)
        scene = _prepare(inputs, ctx.view)
        offsets = cpu_bins.pair_offsets(scene.order, scene.boxes, inputs[0].shape[0])
        pairs = np.zeros((scene.bins[1].size, cpu_project.GRADIENTS), np.float32)
        shared = (scene.splats, scene.boxes, scene.bins, offsets, gradient.contiguous().numpy(), pairs)
        _run(cpu_tiles.undraw_tiles, [(tiles, *shared) for tiles in _tile_rows(scene)])
        outputs = tuple(np.zeros_like(each) for each in inputs)
        pieces = np.array_split(np.sort(scene.order), 4 * _threads())
        shared = (inputs, _camera_row(ctx.view), scene.splats, offsets, pairs, outputs)
        _run(cpu_project.project_backward, [(piece, *shared) for piece in pieces])
        return None, *map(torch.from_numpy, outputs)


def rasterize(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, " n"],
    colors: Float[Tensor, "n 3"],
    view: View,
) -> Float[Tensor, "5 h w"]:
    """Premultiplied r, g, b, accumulated depth and alpha of one view, in float32. n >= 1; all values finite.

    Gradients reach the five tensors, not the camera. Raises InputError for images over 32767 px a side.
    """
    require(
        max(view.width, view.height) <= _MAX_SIDE,
        f"the cpu renderer draws at most {_MAX_SIDE} pixels a side, got {view.width}x{view.height}: render in crops",
    )
    tensors = [t.float().contiguous() for t in (means, quats, scales, opacities, colors)]
    return _Rasterize.apply(view, *tensors)
