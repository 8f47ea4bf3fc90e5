"""K-space arrays without a header: what every format asks of them, and the scan they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.file_array import FileArray
from mrirecon.scan import Scan

NO_GEOMETRY = "the file has no header: voxel size and position are unknown"
NO_HEADER = "the file has no header: voxel size, position and zero padding are unknown"


def owned(array: np.ndarray | FileArray) -> Complex[Tensor, "..."]:
    """A complex64 tensor with memory of its own, whatever file the array is a window into."""
    return torch.from_numpy(np.array(array, dtype=np.complex64, order="C", copy=True, subok=False))


def check_complex(source: str, name: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Refuse what is no array of complex numbers.

    Raises:
        ValueError: naming the dtype and the remedy.
    """
    if dtype.hasobject:
        raise ValueError(
            f"{source}: {name} holds Python objects, which are never unpickled: save it as complex64"
        )
    if dtype.names is not None:
        raise ValueError(
            f"{source}: {name} is a record of {', '.join(dtype.names)}: save it as complex64"
        )
    if dtype.kind != "c":
        remedy = "save it as complex64"
        if len(shape) > 2 and shape[-1] == 2:
            remedy = "its last axis looks like real and imaginary part, save it as complex64"
        raise ValueError(f"{source}: {name} is real-valued ({dtype}): {remedy}")


def check_kspace(source: str, shape: Sequence[int], dtype: np.dtype, axes: str) -> None:
    """Refuse arrays that cannot be Cartesian multi-coil k-space; `axes` says what is expected.

    Raises:
        ValueError: for real values, a wrong number of axes, an empty array, or a 1 x 1 image.
    """
    check_complex(source, "k-space", shape, dtype)
    size = " x ".join(map(str, shape))
    if len(shape) == 2:
        raise ValueError(
            f"{source}: k-space is two-dimensional ({size}), expected {axes}: "
            "add the axes, of length 1 for one coil and one slice"
        )
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{source}: k-space has {len(shape)} axes ({size or 'a number'}), expected {axes}"
        )
    if 0 in shape:
        raise ValueError(f"{source}: k-space is empty ({size})")
    if tuple(shape[-2:]) == (1, 1):
        raise ValueError(f"{source}: the image is 1 x 1, there is nothing to reconstruct")


def plain_scan(
    source: str,
    format: str,
    shape: tuple[int, int, int, int],
    read: Callable[[int, int], Tensor],
    **known: Any,
) -> Scan:
    """The scan of an array that says nothing about itself; `known` overrides."""
    readout, phase = shape[2:]
    fields: dict[str, Any] = {
        "acquired": torch.ones(readout, phase, dtype=torch.bool),
        "crop": (slice(0, readout), slice(0, phase)),
        "matrix": (readout, phase),
        "notes": (NO_HEADER,),
    }
    return Scan(source=source, format=format, shape=shape, read=read, **(fields | known))
