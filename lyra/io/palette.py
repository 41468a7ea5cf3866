"""Codebooks for SOG: 256 numbers for many numbers, a palette of vectors for many vectors, in seconds."""

import numpy as np

_BINS = 1 << 16


def codebook(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """256 float32 levels in ascending order and the nearest one's index (uint8) for every value.

    One-dimensional k-means (Lloyd 1982) on a fine histogram. Half of the first levels follow the cube root of the
    density, the optimum for many levels (Panter and Dite 1951), half are even, so that rare values keep their worth.
    """
    flat = values.reshape(-1).astype(np.float64)
    low, high = flat.min(), flat.max()
    if high <= low:
        return np.full(256, low, np.float32), np.zeros(values.shape, np.uint8)
    width = (high - low) / _BINS
    bins = np.minimum((flat - low) / width, _BINS - 1).astype(np.intp)
    weight = np.bincount(bins, minlength=_BINS).astype(np.float64)
    total = np.bincount(bins, weights=flat, minlength=_BINS)
    smooth = np.convolve(weight, np.ones(257) / 257, "same")
    mass = np.cumsum(np.cbrt(smooth) / np.cbrt(smooth).sum() + 1 / _BINS)
    starts = np.interp((np.arange(256) + 0.5) / 256 * mass[-1], mass, np.arange(_BINS))
    levels = low + (starts + 0.5) * width
    centres = low + (np.arange(_BINS) + 0.5) * width
    for _ in range(5):
        nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, centres)
        count = np.bincount(nearest, weights=weight, minlength=256)
        mean = np.bincount(nearest, weights=total, minlength=256) / np.maximum(count, 1)
        levels = np.sort(np.where(count > 0, mean, levels))
    book = levels.astype(np.float32)
    codes = np.searchsorted((book[1:] + book[:-1]) / 2, values.reshape(-1)).astype(np.uint8)
    return book, codes.reshape(values.shape)


def palette(vectors: np.ndarray, levels: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """At most 2^levels entries [m, d] and the index (uint32) of the entry that stands for every vector [n, d].

    Few vectors are their own entries. More are split `levels` times at the median of the widest of their first 12
    principal directions (a k-d tree), and the means of the groups are the entries.
    """
    n, size = len(vectors), 1 << levels
    if n <= size:
        return vectors, np.arange(n, dtype=np.uint32)
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    positions = centred @ directions[:, -12:]
    rows = np.resize(np.arange(n), -(-n // size) * size)[None]  # repeats the first ones so that halves are equal
    for _ in range(levels):
        part = positions[rows]
        widest = part.var(1).argmax(1)
        column = np.take_along_axis(part, widest[:, None, None], 2)[..., 0]
        order = np.argpartition(column, rows.shape[1] // 2, axis=1)
        rows = np.take_along_axis(rows, order, 1).reshape(2 * len(rows), -1)
    labels = np.empty(n, np.uint32)
    labels[rows] = np.arange(size, dtype=np.uint32)[:, None]
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=size)
    used = counts > 0
    starts = (np.cumsum(counts) - counts)[used]
    entries = np.zeros((size, vectors.shape[1]), np.float32)
    entries[used] = np.add.reduceat(vectors[order], starts, 0) / counts[used, None]
    return entries, labels
