"""Codebooks for SOG: 256 numbers for many numbers, a palette of vectors for many vectors, in seconds."""

import numpy as np

from lyra.io.storage import blocks

_BINS = 1 << 16
_SAMPLE = 1 << 17  # vectors that tell the principal directions
_CACHED = 1 << 14  # rows of 12 float32 that fit the cache of a core


def codebook(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """256 float32 levels in ascending order and the nearest one's index (uint8) for every value.

    One-dimensional k-means (Lloyd 1982) on a fine histogram. Half of the first levels follow the cube root of the
    density, the optimum for many levels (Panter and Dite 1951), half are even, so that rare values keep their worth.
    """
    flat = values.reshape(-1)
    low, high = np.float64(flat.min()), np.float64(flat.max())
    if high <= low:
        return np.full(256, low, np.float32), np.zeros(values.shape, np.uint8)
    width = (high - low) / _BINS
    weight, total = np.zeros(_BINS), np.zeros(_BINS)
    for part in blocks(len(flat)):
        some = flat[part].astype(np.float64)
        bins = np.minimum((some - low) / width, _BINS - 1).astype(np.intp)
        weight += np.bincount(bins, minlength=_BINS)
        total += np.bincount(bins, weights=some, minlength=_BINS)
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
    codes = np.empty(len(flat), np.uint8)
    for part in blocks(len(flat)):
        codes[part] = np.searchsorted((book[1:] + book[:-1]) / 2, flat[part])
    return book, codes.reshape(values.shape)


def palette(vectors: np.ndarray, levels: int = 16, order: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """At most 2^levels entries [m, d] and the index (uint32) of the entry that stands for every vector [n, d].

    The indices are those of vectors[order], where `order` [n] is given; memory is not taken for such a copy. Few
    vectors are their own entries. More are split `levels` times at the median of the widest of their first 12
    principal directions (a k-d tree), and the means of the groups are the entries.
    """
    n, size = len(vectors), 1 << levels
    order = np.arange(n) if order is None else order
    if n <= size:
        return vectors[order], np.arange(n, dtype=np.uint32)
    rows = np.resize(order, -(-n // size) * size)  # repeats the first ones so that halves are equal
    labels = np.empty(n, np.uint32)
    labels[_leaves(_principal(vectors), rows, levels)] = np.arange(size, dtype=np.uint32)[:, None]
    return _means(vectors, labels, size), labels[order]


def _principal(vectors: np.ndarray) -> np.ndarray:
    """The vectors' coordinates [n, 12 or fewer] along the directions in which a sample of them varies most."""
    sample = vectors[:: -(-len(vectors) // _SAMPLE)]
    sample = sample - sample.mean(0)
    return vectors @ np.linalg.eigh(sample.T @ sample)[1][:, -12:]


def _leaves(positions: np.ndarray, rows: np.ndarray, levels: int) -> np.ndarray:
    """`rows` split `levels` times: [2^levels, len(rows) / 2^levels]. Depth first, so that the small groups stay in the
    processor's cache."""
    if levels > 0 and len(rows) > _CACHED:
        halves = _halves(positions, rows[None])
        return np.concatenate([_leaves(positions, half, levels - 1) for half in halves])
    near, groups = np.take(positions, rows, 0), np.arange(len(rows))[None]
    for _ in range(levels):
        groups = _halves(near, groups)
    return rows[groups]


def _halves(positions: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Every group of rows [m, g] split at the median of its widest direction: [2 m, g / 2]."""
    part = np.take(positions, groups, 0)
    widest = part.var(1).argmax(1)
    column = np.take_along_axis(part, widest[:, None, None], 2)[..., 0]
    order = np.argpartition(column, groups.shape[1] // 2, axis=1)
    return np.take_along_axis(groups, order, 1).reshape(2 * len(groups), -1)


def _means(vectors: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """The mean [size, d] of the vectors of every label; 0 where there is none."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=size)
    used = np.flatnonzero(counts)
    ends = np.cumsum(counts)[used]
    starts, means = ends - counts[used], np.zeros((size, vectors.shape[1]), np.float32)
    for part in blocks(len(used), 1 << 12):
        some = vectors[order[starts[part][0] : ends[part][-1]]]
        sums = np.add.reduceat(some, starts[part] - starts[part][0], 0)
        means[used[part]] = sums / counts[used[part], None]
    return means
