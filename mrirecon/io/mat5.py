"""Arrays of numbers in MATLAB files of level 5 (saved with -v6 or -v7), found without reading them.

`scipy.io.loadmat` kills the process on some damaged files (bus error in 1.17), reads variables that are not needed, and
does not list which are complex; the few elements that arrays consist of are read here instead. Source: "MAT-File
Format", The MathWorks, chapter 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

MATRIX, COMPRESSED = 14, 15  # types of elements
STORED = {  # types of elements that hold numbers
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
CLASSES = {
    **{1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single"},
    **{8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32"},
    **{14: "int64", 15: "uint64", 16: "function"},
}
IS_COMPLEX = 0x800
FRONT = 1 << 12  # bytes of an array that hold its class, size and name
LONGEST_NAME = 63
PACKED = 200  # largest plausible compression factor; larger sizes are taken for damage


@dataclass(frozen=True)
class Entry:
    """An array in a file: its name, class and size, and the position of its element."""

    name: str
    kind: str
    shape: tuple[int, ...]
    is_complex: bool
    start: int
    size: int
    compressed: bool


def entries(path: Path) -> list[Entry]:
    """The variables of a file, in their order.

    Raises:
        ValueError: if the file is damaged.
    """
    with path.open("rb") as stream:
        order = _byte_order(stream)
        return [_entry(stream, order, *place) for place in _places(stream, order)]


def load(path: Path, entry: Entry) -> np.ndarray:
    """The numbers of an array, in the order of MATLAB (Fortran's).

    Raises:
        ValueError: if the file is damaged.
    """
    with path.open("rb") as stream:
        order = _byte_order(stream)
        stream.seek(entry.start)
        content = stream.read(entry.size)
    if entry.compressed:
        most = 128 + FRONT + 16 * prod(entry.shape)
        if most > max(1 << 28, PACKED * entry.size):
            raise ValueError("an array is larger than its compressed bytes can be")
        content = zlib.decompressobj().decompress(content, most)[8:]
    parts = list(_parts(content, order))[3:]
    if len(parts) < 1 + entry.is_complex:
        raise ValueError("an array ends before its numbers")
    real, *imaginary = (_numbers(*part, order, prod(entry.shape)) for part in parts[:2])
    values = real
    if entry.is_complex:
        values = np.empty(len(real), np.result_type(real.dtype, np.complex64))
        values.real, values.imag = real, imaginary[0]
    return values.reshape(entry.shape, order="F")


def _byte_order(stream: BinaryIO) -> str:
    head = stream.read(128)
    orders = {b"IM": "<", b"MI": ">"}
    if len(head) < 128 or head[126:] not in orders:
        raise ValueError("no level 5 header")
    return orders[head[126:]]


def _tag(head: bytes, order: str) -> tuple[int, int, int]:
    """Type and size of an element, and the offset of its content: 4 where that is packed into the tag, else 8."""
    if len(head) < 8:
        raise ValueError("an element ends within its tag")
    first, second = (int(word) for word in np.frombuffer(head[:8], order + "u4"))
    if first >> 16:
        return first & 0xFFFF, first >> 16, 4
    return first, second, 8


def _places(stream: BinaryIO, order: str) -> Iterator[tuple[int, int, int]]:
    """Type, offset and size of each top-level element of a file."""
    end = stream.seek(0, 2)
    at = 128
    while at < end:
        stream.seek(at)
        kind, size, before = _tag(stream.read(8), order)
        if before != 8 or at + 8 + size > end:
            raise ValueError("an element is longer than the file")
        yield kind, at + 8, size
        at += 8 + size


def _entry(stream: BinaryIO, order: str, kind: int, start: int, size: int) -> Entry:
    stream.seek(start)
    content = stream.read(size if kind == COMPRESSED else min(size, FRONT))
    if kind == COMPRESSED:
        content = zlib.decompressobj().decompress(content, FRONT)
        inner, _, before = _tag(content, order)
        content = content[before:]
    else:
        inner = kind
    if inner != MATRIX:
        raise ValueError("an element is no array")
    parts = _parts(content, order)
    flags, dims, name = (part for _, part in zip(range(3), parts, strict=False))
    if len(flags[1]) < 4:
        raise ValueError("an array has no flags")
    word = int(np.frombuffer(flags[1][:4], order + "u4")[0])
    shape = tuple(int(n) for n in np.frombuffer(dims[1], order + "i4"))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("an array has no size")
    called = name[1].decode("latin-1")
    if len(called) > LONGEST_NAME or not called.isprintable():
        raise ValueError("an array has no name")
    return Entry(
        called,
        CLASSES.get(word & 0xFF, "unknown"),
        shape,
        bool(word & IS_COMPLEX),
        start,
        size,
        kind == COMPRESSED,
    )


def _parts(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements within an array; the last one may be truncated."""
    at = 0
    while at + 8 <= len(content):
        kind, size, before = _tag(content[at : at + 8], order)
        yield kind, content[at + before : at + before + size]
        at += 8 if before == 4 else 8 + size + -size % 8


def _numbers(kind: int, content: bytes, order: str, count: int) -> np.ndarray:
    """The `count` numbers of an element; MATLAB stores them in the smallest type that holds them."""
    if kind not in STORED:
        raise ValueError("an array holds no numbers")
    values = np.frombuffer(content, order + STORED[kind])
    if len(values) != count:
        raise ValueError("an array has another number of values than its size says")
    return values
