"""An array in a file whose parts are read when they are needed.

Plain reads, not a memory map: when another program truncates the file, a memory map kills the process, while a read
raises an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

AGAIN = "wait until it is whole, or copy it again"
WASTE = 1 << 22  # bytes that one large read may fetch in vain before many small reads are better


class FileArray(NDArrayOperatorsMixin):
    """Indexed and transposed like a numpy array without reading anything; `np.asarray` and arithmetic read.

    Args:
        path: file that holds the array.
        offset: bytes before its first number.
        dtype: type of the numbers.
        shape: shape of the array.
        order: "C" (last axis fastest) or "F" (first axis fastest).

    Raises:
        ValueError: if the file is too short for the array; on reading, if the file has changed since.
        OSError: if the file cannot be read.
    """

    def __init__(
        self, path: Path, offset: int, dtype: np.dtype, shape: tuple[int, ...], order: str = "C"
    ) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        steps = [self.dtype.itemsize]
        for size in (shape[::-1] if order == "C" else shape)[:-1]:
            steps.append(steps[-1] * size)
        strides = steps[::-1] if order == "C" else steps
        stat = path.stat()
        self._stamp = stat.st_size, stat.st_mtime_ns
        needed = offset + int(np.prod(shape, dtype=object)) * self.dtype.itemsize
        if stat.st_size < needed:
            raise ValueError(f"{path} has {stat.st_size} bytes, its header says {needed}")
        # numpy computes shapes and strides of views of this one byte; their contents are never accessed.
        self._origin = np.zeros(1, np.uint8)
        self._view = as_strided(self._origin, shape, tuple(strides[: len(shape)]), writeable=False)
        self._offset = offset

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of this view."""
        return self._view.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._view.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._view.size

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, index: Any) -> FileArray:
        """A view by numpy's basic indexing (integers, slices, None, an ellipsis); other indices raise TypeError."""
        parts = index if isinstance(index, tuple) else (index,)
        if not all(
            part is None or part is ... or isinstance(part, int | np.integer | slice)
            for part in parts
        ):
            raise TypeError(
                f"a part of {self.path} is chosen by numbers and slices, not by {index!r}"
            )
        return self._with(self._view[(*parts, ...)] if ... not in parts else self._view[parts])

    def transpose(self, *axes: Any) -> FileArray:
        """A view with the axes in another order."""
        return self._with(self._view.transpose(*axes))

    def squeeze(self, axis: Any = None) -> FileArray:
        """A view without axes of length 1."""
        return self._with(self._view.squeeze(axis))

    def astype(self, dtype: Any) -> np.ndarray:
        """All numbers, read and converted to `dtype`."""
        return self._read_all().astype(dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.astype(dtype or self.dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arrays = [np.asarray(item) if isinstance(item, FileArray) else item for item in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def _with(self, view: np.ndarray) -> FileArray:
        other = object.__new__(FileArray)
        other.__dict__.update(self.__dict__, _view=view)
        return other

    def _read_all(self) -> np.ndarray:
        file = os.open(self.path, os.O_RDONLY)
        try:
            stat = os.fstat(file)
            if (stat.st_size, stat.st_mtime_ns) != self._stamp:
                raise ValueError(f"{self.path} has changed since it was opened: {AGAIN}")
            return self._read(file, self._view)
        finally:
            os.close(file)

    def _read(self, file: int, view: np.ndarray) -> np.ndarray:
        """The numbers of a view, in one read where they lie close together, else in one read per part."""
        if view.size == 0:
            return np.zeros(view.shape, self.dtype)
        reach = [step * (size - 1) for step, size in zip(view.strides, view.shape, strict=True)]
        span = sum(map(abs, reach)) + self.dtype.itemsize
        if span <= max(2 * view.size * self.dtype.itemsize, WASTE):
            block = np.empty(span, np.uint8)
            first = sum(-step for step in reach if step < 0)  # axes with negative strides
            start = self._offset + _place(view) - _place(self._origin) - first
            _fill(self.path, file, block, start)
            return np.ndarray(view.shape, self.dtype, block, first, view.strides)
        axis = int(np.argmax(np.abs(reach)))
        out = np.empty(view.shape, self.dtype)
        parts, reads = np.moveaxis(view, axis, 0), np.moveaxis(out, axis, 0)
        for n in range(len(parts)):  # slices stay views; an index would access the placeholder
            reads[n : n + 1] = self._read(file, parts[n : n + 1])
        return out


def _place(view: np.ndarray) -> int:
    return int(view.__array_interface__["data"][0])


def _fill(path: Path, file: int, block: np.ndarray, at: int) -> None:
    view, done = block.data, 0
    while done < len(view):
        count = os.preadv(file, [view[done:]], at + done)
        if count == 0:
            raise ValueError(f"{path} was cut while it was read: {AGAIN}")
        done += count
