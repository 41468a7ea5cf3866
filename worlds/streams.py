"""Integer streams: differences, zigzag, byte planes, LZMA. The ground layer of every pack payload.

Differences are zigzag coded (0, -1, 1, -2 ... -> 0, 1, 2, 3 ...). A stream of n rows and k columns of w bytes is
written plane by plane: byte 0 of column 0 of all rows, byte 1 of column 0, ... so that LZMA meets like with like.
"""

import lzma

import numpy as np

_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22, "pb": 0}]


def compress(data: bytes) -> bytes:
    """Raw LZMA2 at its strongest; the filter is a constant of the format."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def decompress(data: bytes) -> bytes:
    """The inverse of `compress`. lzma.LZMAError if the data are damaged."""
    return lzma.decompress(data, lzma.FORMAT_RAW, filters=_FILTERS)


class StreamWriter:
    """Collects integer streams; `data` is what they come to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    @property
    def data(self) -> bytes:
        """All streams so far, one after the other."""
        return b"".join(self._parts)

    def unsigned(self, values: np.ndarray) -> list[int]:
        """Append unsigned integers [n, k]; returns [n, k, bytes a value], which the reader needs."""
        values = np.ascontiguousarray(values, np.uint64)
        top = int(values.max()) if values.size else 0
        width = max(1, (top.bit_length() + 7) // 8)
        for column in values.T:
            for byte in range(width):
                self._parts.append(((column >> np.uint64(8 * byte)) & np.uint64(255)).astype(np.uint8).tobytes())
        return [*values.shape, width]

    def deltas(self, values: np.ndarray) -> list[int]:
        """Append signed integers [n, k] as zigzag coded differences along the rows."""
        steps = np.diff(values.astype(np.int64), axis=0, prepend=0)
        return self.unsigned((steps << 1) ^ (steps >> 63))


class StreamReader:
    """Reads back, in order, what a `StreamWriter` collected. ValueError if the data end early."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    def unsigned(self, shape: list[int]) -> np.ndarray:
        """The next stream, i64 [n, k]."""
        rows, columns, width = shape
        planes = self._data[self._at : self._at + rows * columns * width].reshape(columns, width, rows)
        self._at += planes.size
        values = planes[:, 0].astype(np.int64)
        for byte in range(1, width):
            values |= planes[:, byte].astype(np.int64) << (8 * byte)
        return values.T

    def deltas(self, shape: list[int]) -> np.ndarray:
        """The next stream of differences, summed up again: i64 [n, k]."""
        codes = self.unsigned(shape)
        return np.cumsum((codes >> 1) ^ -(codes & 1), axis=0)
