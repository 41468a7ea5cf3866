"""What all scene files share: checked arrays, log and logit, packed rotations, spatial order, safe inflating."""

import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import torch

from lyra.scene import Gaussians, InputError, require

log = logging.getLogger("lyra.io")

BLOCK = 1 << 15  # rows converted at once: fits the cache, and keeps memory at the size of the scene
MAX_LOGIT = 20.0  # sigmoid(20) is 1 in float32, so opacities 0 and 1 come back as 2e-9 and exactly 1
MIN_SCALE = 1e-20  # a scale of 0 has no logarithm; squared in float32 this still is a number
_BOMB_BYTES, _BOMB_RATIO = 1 << 26, 200  # real scenes inflate 1.1 to 10 times
_SQRT_HALF = np.float32(np.sqrt(0.5))


def to_write(scene: Gaussians, path: str | os.PathLike, *, allow_empty: bool = False) -> Gaussians:
    """`scene` as contiguous float32 on the CPU; InputError if it is empty or holds values that no file can carry."""
    require(isinstance(scene, Gaussians), f"{path}: expected Gaussians to save, got {type(scene).__name__}")
    require(allow_empty or len(scene) > 0, f"{path}: the scene holds no Gaussians, so there is nothing to save")
    scene = scene.detach().to(device="cpu", dtype=torch.float32)
    bad = len(scene) - int((_usable(scene) & (scene.opacities >= 0) & (scene.opacities <= 1)).sum())
    require(
        bad == 0,
        f"{path}: {bad} of {len(scene)} Gaussians hold NaN, infinity, a negative scale or an opacity outside [0, 1]; "
        "drop them first, for example with prune()",
    )
    return scene


def _usable(scene: Gaussians) -> torch.Tensor:
    """Which Gaussians are finite with scales >= 0.

    In blocks, and row by row only where a block is not all good: four times as fast as asking the scene.
    """
    n, keep = len(scene), torch.ones(len(scene), dtype=torch.bool)
    parts = (scene.means, scene.quats, scene.opacities[:, None], scene.sh.flatten(1))
    checks = [(part.numpy(), np.isfinite) for part in parts]
    checks.append((scene.scales.numpy(), lambda scales: np.isfinite(scales) & (scales >= 0)))
    for rows in blocks(n):
        for part, check in checks:
            good = check(part[rows])
            if not good.all():
                keep[rows] &= torch.from_numpy(good.all(1))
    return keep


def to_scene(
    path: str | os.PathLike,
    means: np.ndarray,
    quats: np.ndarray,
    scales: np.ndarray,
    opacities: np.ndarray,
    sh: np.ndarray,
    seen: np.ndarray | None = None,
) -> tuple[Gaussians, torch.Tensor | None]:
    """Gaussians of what a file held, and which rows were kept (None = all).

    Rows with NaN or infinity are dropped with a warning that counts them; InputError if none is left. Quaternions
    (w, x, y, z) are normalised, those of length 0 mean no rotation; opacities are clipped to [0, 1].
    """
    n = len(means)
    require(n > 0, f"{path}: holds no Gaussians")
    quats = np.require(quats, np.float32, ["C", "W"])  # changed in place: readers hand over what they made
    length = np.sqrt(np.einsum("ni,ni->n", quats, quats))
    if (length == 0).any():
        quats[length == 0] = (1, 0, 0, 0)
        length[length == 0] = 1
    if (np.abs(length - 1) > 1e-6).any():
        with np.errstate(invalid="ignore"):  # infinities become NaN and are dropped below
            quats /= length[:, None]
    opacities = np.clip(opacities, 0, 1)
    tensors = [torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in (means, quats, scales, opacities, sh)]
    scene = Gaussians(*tensors, None if seen is None else torch.from_numpy(np.ascontiguousarray(seen, bool)))
    keep = _usable(scene)
    kept = int(keep.sum())
    if kept == n:
        return scene, None
    require(kept > 0, f"{path}: all {n} Gaussians hold NaN, infinity or a negative scale; the file is damaged")
    log.warning("%s: dropped %d of %d Gaussians that hold NaN, infinity or a negative scale", path, n - kept, n)
    return scene[keep], keep


def gathered(count: int, parts: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns of `count` rows put together from those of successive blocks, without a second copy of the whole."""
    whole, first = {}, 0
    for part in parts:
        for name, block in part.items():
            if first == 0:
                whole[name] = np.empty((count, *block.shape[1:]), block.dtype)
            whole[name][first : first + len(block)] = block
        first += len(block)
    return whole


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Successive slices of at most `size` rows that cover `count` rows."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def logit(opacities: np.ndarray) -> np.ndarray:
    """Inverse of the sigmoid, clipped to +-MAX_LOGIT."""
    with np.errstate(divide="ignore"):
        return np.clip(np.log(opacities) - np.log1p(-opacities), -MAX_LOGIT, MAX_LOGIT)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow; NaN stays NaN."""
    return 1 / (1 + np.exp(-np.clip(logits, -88, 88)))


def log_scale(scales: np.ndarray) -> np.ndarray:
    """Natural logarithm; a scale of 0 becomes ln(MIN_SCALE)."""
    return np.log(np.maximum(scales, np.float32(MIN_SCALE)))


def smallest_three(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest component's index [n] and the other three [n, 3], in order, divided by sqrt(1/2): all in [-1, 1].

    The sign is chosen so that the largest component is positive.
    """
    largest = np.abs(quats).argmax(1)
    rows = np.arange(len(quats))
    sign = np.where(quats[rows, largest] < 0, np.float32(-1), np.float32(1))
    others = (np.arange(3)[None] + (np.arange(3)[None] >= largest[:, None])).astype(np.intp)
    return largest, np.take_along_axis(quats, others, 1) * (sign / _SQRT_HALF)[:, None]


def from_smallest_three(largest: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Inverse of `smallest_three`: unit quaternions [n, 4], in the component order that was given to it."""
    quats = np.empty((len(others), 4), np.float32)
    for rows in blocks(len(others)):
        three, index = others[rows] * _SQRT_HALF, largest[rows]
        columns = (np.arange(4)[None] - (np.arange(4)[None] > index[:, None])).clip(max=2)
        quats[rows] = np.take_along_axis(three, columns, 1)
        quats[np.arange(rows.start, rows.stop), index] = np.sqrt(np.maximum(0, 1 - np.einsum("ni,ni->n", three, three)))
    return quats


def morton_order(means: np.ndarray) -> np.ndarray:
    """Indices that sort points along a Z-order curve of 2^10 cells an axis (Morton 1966), so neighbours compress."""
    if len(means) == 0:
        return np.zeros(0, np.intp)
    low = means.min(0)
    span = np.maximum((means.max(0) - low).astype(np.float64), 1e-30)
    code = np.zeros(len(means), np.uint32)
    for rows in blocks(len(means)):
        cells = ((means[rows] - low) / span * 1023).astype(np.uint32)
        for axis in range(3):
            spread = cells[:, axis]
            for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
                spread = (spread | (spread << np.uint32(shift))) & np.uint32(mask)
            code[rows] |= spread << np.uint32(axis)
    return np.argsort(code, kind="stable")


def check_inflation(path: str | os.PathLike, packed: int, unpacked: int) -> None:
    """InputError if `packed` bytes cannot or should not become `unpacked` bytes: lies about counts, zip bombs."""
    require(
        unpacked <= _BOMB_BYTES or unpacked <= packed * _BOMB_RATIO,
        f"{path}: {packed} compressed bytes claim to hold {unpacked}; the file is damaged or a decompression bomb",
    )


def inflate(path: str | os.PathLike, data: bytes | memoryview, size: int) -> bytes:
    """The gzip stream `data`, which must unpack to exactly `size` bytes; never allocates more than that."""
    check_inflation(path, len(data), size)
    stream = zlib.decompressobj(wbits=31)
    try:
        out = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise InputError(f"{path}: its compressed data is damaged ({error})") from error
    # asking for one byte more lets zlib read the checksum too
    require(
        len(out) == size and stream.eof,
        f"{path}: its compressed data is cut short or does not hold the {size} bytes that the header promises",
    )
    return out


def remaining(file: BinaryIO) -> int:
    """Bytes from the current position to the end of the file."""
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return end - here
