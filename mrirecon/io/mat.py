"""MATLAB files: level 5 (saved with -v6 or -v7), read whole, and v7.3, which is HDF5 with reversed axes, read by slice.

A MATLAB array does not state what its axes are: two axes are taken for readout and phase of one slice and coil, more
must be named by the user. Only numeric arrays are read, never structs, cells, objects or functions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mrirecon.io import mat5
from mrirecon.io.arrays import NO_HEADER, arrange, arranged_scan, check_complex
from mrirecon.io.hdf5 import check_stored, is_hdf5, names, read_array, reading
from mrirecon.io.layout import PLANE, USUAL, Arrangement, Layout, is_complex_record, size_text
from mrirecon.io.mask_arrays import refuse_mask
from mrirecon.scan import Scan

USUAL_NAMES = ("kspace", "k_space", "ksp", "kdata", "kspace_data", "k", "data", "raw", "rawdata")
NUMBERS = {"double", "single", "float64", "float32", "complex", "logical", "bool"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
SWAPPED = {"coil": "slice", "slice": "coil"}
DAMAGED = "the MATLAB file is truncated or damaged: save it again"


Read = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Variable:
    """A variable of a file: its name, its size as in MATLAB, and its class."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def is_array(self) -> bool:
        """Whether it is a numeric array with at least two axes longer than 1."""
        return self.kind in NUMBERS and sum(size > 1 for size in self.shape) >= 2

    @property
    def dtype(self) -> np.dtype:
        named = {"complex": np.complex64, "logical": np.bool_}
        return np.dtype(named.get(self.kind, self.kind))

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}{' ' * bool(self.shape)}{size_text(self.shape)})"


def read_mat(path: Path, layout: Layout = USUAL) -> Scan:
    """A scan from the k-space array of a MATLAB file: the one called `layout.variable`, or the only complex one.

    Raises:
        ValueError: if the file is damaged, has no or several complex arrays, or one whose axes must be named.
    """
    source, path = str(path), path.absolute()
    file = _Hdf5(source, path) if is_hdf5(path) else _Level5(source, path)
    variable = _chosen(source, file.variables, layout)
    if variable.kind != "complex" and prod(variable.shape) <= 1 << 24:
        refuse_mask(source, file.load(variable))
    check_complex(source, variable.name, variable.shape, variable.dtype)
    named = layout if layout.axes else replace(layout, axes=_usual_axes(source, variable))
    arrangement = arrange(source, variable.shape, variable.dtype, named, {})
    notes = [NO_HEADER]
    if layout.variable is None and len(file.variables) > 1:
        notes.append(f"{variable.name} is taken for k-space (--variable names another array)")
    if layout.axes is None:
        notes.append(
            f"the axes of {variable.name} ({size_text(variable.shape)} in MATLAB) are taken for {named.axes} (--axes)"
        )
    return arranged_scan(
        source, "mat", arrangement, file.reader(variable, arrangement), notes=tuple(notes)
    )


class _Level5:
    """A file saved with -v6 or -v7, whose arrays are read as a whole."""

    def __init__(self, source: str, path: Path) -> None:
        self.source, self.path = source, path
        with self._checked():
            self.entries = {entry.name: entry for entry in mat5.entries(path)}
        self.variables = [
            Variable(entry.name, entry.shape, "complex" if entry.is_complex else entry.kind)
            for entry in self.entries.values()
        ]

    def reader(self, variable: Variable, arrangement: Arrangement) -> Read:
        array = self.load(variable)
        return lambda volume, index: arrangement.read(array, volume, index)

    def load(self, variable: Variable) -> np.ndarray:
        with self._checked():
            return mat5.load(self.path, self.entries[variable.name])

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, zlib.error) as error:
            raise ValueError(f"{self.source}: {DAMAGED}") from error


class _Hdf5:
    """A file saved with -v7.3: HDF5 datasets with reversed axes and complex numbers stored as records."""

    def __init__(self, source: str, path: Path) -> None:
        self.source, self.path = source, path
        with reading(path) as file:
            found = {name: file.get(name) for name in names(file) if not name.startswith("#")}
            self.variables = [_hdf5_variable(name, item) for name, item in found.items()]

    def reader(self, variable: Variable, arrangement: Arrangement) -> Read:
        reverse = Arrangement(arrangement.names[::-1], arrangement.sizes[::-1])
        with reading(self.path) as file:
            check_stored(self.source, file[variable.name])

        def read(volume: int, index: int) -> Tensor:
            with reading(self.path) as file:
                return reverse.read(file[variable.name], volume, index)

        return read

    def load(self, variable: Variable) -> np.ndarray:
        with reading(self.path) as file:
            return read_array(self.source, file[variable.name])


def _hdf5_variable(name: str, item: Any) -> Variable:
    if not hasattr(item, "dtype"):
        return Variable(name, (), "struct")
    shape = tuple(item.shape[::-1])
    if item.dtype.kind == "c" or is_complex_record(item.dtype):
        return Variable(name, shape, "complex")
    marked = item.attrs.get("MATLAB_class", b"")
    marked = marked.decode() if isinstance(marked, bytes) else str(marked)
    kind = marked if item.dtype.kind in "OVS" or marked in ("char", "logical") else item.dtype.name
    return Variable(name, shape, kind or "cell")


def _chosen(source: str, variables: list[Variable], layout: Layout) -> Variable:
    """The variable that holds k-space: the requested one, else the only complex one of a usual name, or of any name.

    Raises:
        ValueError: if there is no such variable, or several.
    """
    listed = ", ".join(map(str, variables)) or "nothing"
    if layout.variable is not None:
        for variable in variables:
            if variable.name == layout.variable:
                if variable.kind not in NUMBERS:
                    raise ValueError(
                        f"{source}: {variable}: save the array inside as a variable of its own"
                    )
                if not variable.is_array:
                    raise ValueError(
                        f"{source}: {variable} has fewer than two axes: k-space has two or more, name another variable"
                    )
                return variable
        raise ValueError(f"{source} has no variable {layout.variable!r}: it has {listed}")
    arrays = [variable for variable in variables if variable.is_array]
    found = [variable for variable in arrays if variable.kind == "complex"]
    usual = [variable for variable in found if variable.name.lower() in USUAL_NAMES]
    found = usual if len(usual) == 1 else found
    if len(found) > 1:
        raise ValueError(
            f"{source} has several complex arrays: name one with --variable, it has {listed}"
        )
    if not found and len(arrays) == 1:
        return arrays[0]  # real-valued: `check_complex` refuses it with advice
    if not found:
        raise ValueError(
            f"{source} has no complex array of two axes or more: k-space must be saved as one, not in a struct or a "
            f"cell, and not as real and imaginary part; it has {listed}"
        )
    return found[0]


def _usual_axes(source: str, variable: Variable) -> str:
    """Names of the axes (for `Layout.axes`) where two of them are longer than 1: readout, then phase.

    Raises:
        ValueError: if more axes are longer than 1, which may be coils, slices or averages.
    """
    shape = variable.shape
    largest = sorted(sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2])
    rest = iter(("coil", "slice", "average", "volume"))
    axes = [
        PLANE[largest.index(axis)] if axis in largest else next(rest, "?")
        for axis in range(len(shape))
    ]
    if sum(size > 1 for size in shape) <= 2 and "?" not in axes:
        return ",".join(axes)
    other = " or ".join(
        f"--axes {','.join(order)}" for order in (axes, [SWAPPED.get(name, name) for name in axes])
    )
    raise ValueError(
        f"{source}: {variable.name} is {size_text(shape)} (as in MATLAB and scipy.io.loadmat): name its axes in this "
        f"order, such as {other}"
    )
