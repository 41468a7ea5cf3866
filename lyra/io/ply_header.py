"""The PLY container: its header, and numbers out of its body whatever the byte order and the surrounding elements."""

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from lyra.io.storage import remaining
from lyra.scene import InputError, require

_MAX_HEADER = 1 << 20
_CODES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class Element:
    """`count` rows of the named properties; `types` holds a NumPy code each, or (length code, item code) of a list."""

    name: str
    count: int
    properties: tuple[str, ...]
    types: tuple[str | tuple[str, str], ...]

    @property
    def has_lists(self) -> bool:
        return any(isinstance(code, tuple) for code in self.types)

    @property
    def min_row_bytes(self) -> int:
        """Bytes of a row whose lists are empty: the whole row where there are no lists."""
        return sum(np.dtype(code[0] if isinstance(code, tuple) else code).itemsize for code in self.types)


@dataclass(frozen=True)
class Header:
    """`order` is "<" or ">" for binary bodies and "" for ASCII."""

    order: str
    elements: tuple[Element, ...]

    def element(self, name: str) -> Element | None:
        return next((e for e in self.elements if e.name == name), None)


def read_header(file: BinaryIO, path: str | os.PathLike) -> Header:
    """Parse the header and leave `file` at the body; InputError if it is no PLY header."""
    start = file.read(_MAX_HEADER)
    require(re.match(rb"ply\s*\n", start) is not None, f"{path}: is not a PLY file (it has no first line 'ply')")
    end = re.search(rb"\nend_header[ \t\r]*\n", start)
    require(end is not None, f"{path}: its PLY header is cut short or damaged (no line 'end_header')")
    file.seek(end.end())
    order, elements = None, []
    for line in start[: end.start()].decode("latin-1").splitlines()[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        try:
            if words[0] == "format":
                order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[words[1]]
            elif words[0] == "element":
                elements.append((words[1], int(words[2]), [], []))
                require(elements[-1][1] >= 0, f"{path}: its PLY header promises {words[2]} {words[1]} rows")
            elif words[0] == "property":
                code = (_CODES[words[2]], _CODES[words[3]]) if words[1] == "list" else _CODES[words[1]]
                elements[-1][2].append(words[-1])
                elements[-1][3].append(code)
            else:
                raise KeyError(words[0])
        except (KeyError, IndexError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: its PLY header has a line that makes no sense: {line[:80]!r}") from error
    require(order is not None, f"{path}: its PLY header names no format")
    done = tuple(Element(name, count, tuple(names), tuple(types)) for name, count, names, types in elements)
    for element in done:
        unique = len(set(element.properties)) == len(element.properties)
        require(unique, f"{path}: its PLY header names a property of '{element.name}' twice")
    return Header(order, done)


class Body:
    """Reads the elements of a PLY body one after the other, in the order of the header."""

    def __init__(self, file: BinaryIO, header: Header, path: str | os.PathLike):
        self._file, self._order, self._path = file, header.order, path
        self._tokens = None

    def _check(self, element: Element) -> None:
        """The file must be long enough for the promised rows, before anything is allocated for them."""
        least = element.count * (element.min_row_bytes if self._order else 2 * len(element.types))
        left = remaining(self._file) + (0 if self._order else 1)
        require(
            least <= left,
            f"{self._path}: promises {element.count} '{element.name}' rows ({least} bytes) but only {left} bytes are "
            "left; the file is cut short or its header is wrong",
        )

    def blocks(self, element: Element, rows: int):
        """Yield structured arrays of at most `rows` rows with the scalar properties of `element`."""
        self._check(element)
        if not self._order or element.has_lists:
            yield from self._slow(element)
            return
        record = np.dtype(
            [(n, self._order + c) for n, c in zip(element.properties, element.types, strict=True)] or "V0"
        )
        left = element.count
        while left:
            block = np.fromfile(self._file, record, min(rows, left))
            require(len(block) > 0, f"{self._path}: ended in the middle of its '{element.name}' rows")
            left -= len(block)
            yield block

    def skip(self, element: Element) -> None:
        """Step over an element that nobody asked for."""
        if self._order and not element.has_lists:
            self._check(element)
            self._file.seek(element.count * element.min_row_bytes, os.SEEK_CUR)
            return
        for _ in self.blocks(element, 1):
            pass

    def _slow(self, element: Element):
        """Row by row, for ASCII files and for rows with lists; one block of all rows."""
        scalars = [n for n, c in zip(element.properties, element.types, strict=True) if not isinstance(c, tuple)]
        rows = np.zeros((element.count, len(scalars)))
        read_row = self._binary_row if self._order else self._ascii_row
        for i in range(element.count):
            rows[i] = read_row(element)
        if scalars:
            yield np.ascontiguousarray(rows).view([(name, "<f8") for name in scalars])[:, 0]

    def _ascii_row(self, element: Element) -> list[float]:
        words = self._file.readline().split()
        values, at = [], 0
        try:
            for code in element.types:
                if isinstance(code, tuple):
                    at += 1 + int(words[at])
                else:
                    values.append(float(words[at]))
                    at += 1
            require(at == len(words), "")
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{self._path}: a row of '{element.name}' does not hold the {len(element.types)} promised values"
            ) from error
        return values

    def _binary_row(self, element: Element) -> list[float]:
        values = []
        for code in element.types:
            if isinstance(code, tuple):
                length = int(self._numbers(code[0], 1)[0])
                size = length * np.dtype(code[1]).itemsize
                require(
                    length >= 0 and size <= remaining(self._file),
                    f"{self._path}: a list in '{element.name}' claims {length} items, more than the file holds",
                )
                self._file.seek(size, os.SEEK_CUR)
            else:
                values.append(float(self._numbers(code, 1)[0]))
        return values

    def _numbers(self, code: str, count: int) -> np.ndarray:
        data = self._file.read(np.dtype(code).itemsize * count)
        whole = len(data) == np.dtype(code).itemsize * count
        require(whole, f"{self._path}: ended in the middle of a row")
        return np.frombuffer(data, self._order + code)
