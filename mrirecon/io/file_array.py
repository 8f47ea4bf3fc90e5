"""An array in a file, of which parts are read when asked for.

Plain reads, not a memory map: where another program cuts the file, a map ends the process, a read ends in an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.lib.stride_tricks import as_strided

AGAIN = "wait until it is whole, or copy it again"
WASTE = 1 << 22  # so many bytes are rather read in vain than left out by many small reads


class FileArray(NDArrayOperatorsMixin):
    """Views are taken as of a numpy array, without reading; `np.asarray` and arithmetic read.

    Args:
        path: of the file.
        offset: of the first number, in bytes.
        dtype: of the numbers.
        shape: of the array.
        order: C, last axis fastest, or F.

    Raises:
        ValueError: if the file has not that many bytes; at a read, if it has changed since.
        OSError: if it cannot be read.
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
        # One byte that stands for all: numpy makes the views, nobody looks at what they show.
        self._origin = np.zeros(1, np.uint8)
        self._view = as_strided(self._origin, shape, tuple(strides[: len(shape)]), writeable=False)
        self._offset = offset

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the view."""
        return self._view.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._view.ndim

    @property
    def size(self) -> int:
        """Number of numbers."""
        return self._view.size

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, index: Any) -> FileArray:
        """The part that numpy would give for integers, slices, None and an ellipsis."""
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
        """With the axes in another order."""
        return self._with(self._view.transpose(*axes))

    def squeeze(self, axis: Any = None) -> FileArray:
        """Without axes of length one."""
        return self._with(self._view.squeeze(axis))

    def astype(self, dtype: Any) -> np.ndarray:
        """All numbers, of another kind."""
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
        """The numbers of a view, in one read where they lie close together, else part by part."""
        if view.size == 0:
            return np.zeros(view.shape, self.dtype)
        reach = [step * (size - 1) for step, size in zip(view.strides, view.shape, strict=True)]
        span = sum(map(abs, reach)) + self.dtype.itemsize
        if span <= max(2 * view.size * self.dtype.itemsize, WASTE):
            block = np.empty(span, np.uint8)
            first = sum(-step for step in reach if step < 0)  # of an axis that is walked backwards
            start = self._offset + _place(view) - _place(self._origin) - first
            _fill(self.path, file, block, start)
            return np.ndarray(view.shape, self.dtype, block, first, view.strides)
        axis = int(np.argmax(np.abs(reach)))
        out = np.empty(view.shape, self.dtype)
        parts, reads = np.moveaxis(view, axis, 0), np.moveaxis(out, axis, 0)
        # As a view, never as a number: that would look at what is not there.
        for n in range(len(parts)):
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
