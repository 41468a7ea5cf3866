"""CPU rasteriser, second stage: depth order, then the list of splats of every tile, front to back.

Both are stable counting sorts, so a list depends on the splats alone, never on the number of threads.
"""

import numpy as np

from lyra.render.kernel import kernel

_DIGIT = 11  # bits of a radix pass; three passes cover a float32
_BUCKETS = 1 << _DIGIT


@kernel
def sort_by_depth(order, keys):
    """Indices in `order` sorted by their keys (least significant digit first), equal keys in their old order."""
    n = order.size
    histogram = np.zeros((3, _BUCKETS), np.int64)
    for i in range(n):
        key = keys[order[i]]
        for digit in range(3):
            histogram[digit, (key >> np.uint32(_DIGIT * digit)) & np.uint32(_BUCKETS - 1)] += 1
    source, target = order, np.empty_like(order)
    for digit in range(3):
        position = 0
        for bucket in range(_BUCKETS):
            count = histogram[digit, bucket]
            histogram[digit, bucket] = position
            position += count
        for i in range(n):
            index = source[i]
            bucket = (keys[index] >> np.uint32(_DIGIT * digit)) & np.uint32(_BUCKETS - 1)
            target[histogram[digit, bucket]] = index
            histogram[digit, bucket] += 1
        source, target = target, source
    return source


@kernel
def count_tiles(order, boxes, columns, counts):
    """Add one to `counts` for every tile that a splat of `order` touches."""
    for n in order:
        left, right, top, bottom = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        for row in range(top, bottom):
            for column in range(left, right):
                counts[row * columns + column] += 1


@kernel
def fill_tiles(order, boxes, columns, cursors, lists):
    """Append each splat of `order` to the lists of its tiles, from `cursors` on."""
    for n in order:
        left, right, top, bottom = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        for row in range(top, bottom):
            for column in range(left, right):
                tile = row * columns + column
                lists[cursors[tile]] = n
                cursors[tile] += 1


@kernel
def pair_offsets(order, boxes, total):
    """Where the (tile, splat) pairs of each of `total` Gaussians start when they are stored Gaussian by Gaussian."""
    offsets = np.zeros(total + 1, np.int64)
    for n in order:
        left, right, top, bottom = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        offsets[n + 1] = (right - left) * (bottom - top)
    for n in range(total):
        offsets[n + 1] += offsets[n]
    return offsets
