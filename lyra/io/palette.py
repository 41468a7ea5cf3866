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


def palette(vectors: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `size` entries [m, d] and the entry (uint32) that stands for every vector [n, d].

    Up to `size` vectors are their own entries. More are split in halves at the median of the widest direction until
    `size` groups are left, whose means are the entries (a k-d tree).
    """
    n = len(vectors)
    if n <= size:
        return vectors, np.arange(n, dtype=np.uint32)
    groups = [np.arange(n)]
    while 2 * len(groups) <= size:
        halves = []
        for rows in groups:
            part = vectors[rows]
            column = part[:, int(part.var(0).argmax())]
            order = np.argpartition(column, len(rows) // 2)
            halves += [rows[order[: len(rows) // 2]], rows[order[len(rows) // 2 :]]]
        groups = halves
    labels = np.empty(n, np.uint32)
    for i, rows in enumerate(groups):
        labels[rows] = i
    order = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))[:-1]])
    entries = np.add.reduceat(vectors[order], starts, 0) / np.bincount(labels)[:, None]
    return entries.astype(np.float32), labels
