"""K-space arrays without a header: checks that all array formats share, and the `Scan` made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.file_array import FileArray
from mrirecon.io.layout import Arrangement, Layout, is_complex_record, size_text
from mrirecon.io.partitions import transformed
from mrirecon.scan import Scan

NO_GEOMETRY = "the file has no header: it says nothing of voxel size and position"
NO_HEADER = "the file has no header: it says nothing of voxel size, position and zero padding"


def complex_tensor(array: np.ndarray | FileArray) -> Complex[Tensor, "..."]:
    """A copy of the array as a complex64 tensor, which does not depend on the file any more."""
    return torch.from_numpy(np.array(array, dtype=np.complex64, order="C", copy=True, subok=False))


def check_complex(source: str, name: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Refuse an array whose numbers are not complex.

    Raises:
        ValueError: naming the array, its dtype and the remedy.
    """
    if dtype.hasobject:
        raise ValueError(
            f"{source}: {name} holds Python objects, which are never unpickled: save it as complex64"
        )
    if is_complex_record(dtype):
        return
    if dtype.names is not None:
        raise ValueError(
            f"{source}: {name} is a record of {', '.join(dtype.names)}: save it as complex64"
        )
    if dtype.kind != "c":
        remedy = "save it as complex64"
        if len(shape) > 2 and shape[-1] == 2:
            remedy = "its last axis looks like real and imaginary part, save it as complex64"
        elif name != "maps":
            remedy += "; of an image in NIfTI the command simulate makes k-space"
        raise ValueError(f"{source}: {name} is real-valued ({dtype}): {remedy}")


def check_kspace(source: str, shape: Sequence[int]) -> None:
    """Refuse a shape (..., readout, phase) from which no image can be made.

    Raises:
        ValueError: if it is empty, or its image would be 1 x 1.
    """
    if 0 in shape:
        raise ValueError(f"{source}: k-space is empty ({size_text(shape)})")
    if tuple(shape[-2:]) == (1, 1):
        raise ValueError(f"{source}: the image is 1 x 1, there is nothing to reconstruct")


def arrange(
    source: str,
    shape: Sequence[int],
    dtype: np.dtype,
    layout: Layout,
    usual: Mapping[int, tuple[str, ...]],
) -> Arrangement:
    """The meaning of each axis of a stored array: as `layout` names them, or as is usual for their number.

    Args:
        source: file name, for messages.
        shape: sizes of the stored axes.
        dtype: type of the stored numbers.
        layout: names the axes, or not.
        usual: number of axes -> their names where `layout` has none.

    Raises:
        ValueError: for real values, an unusual number of unnamed axes, another number of names than axes, an empty
            array, or a 1 x 1 image.
    """
    check_complex(source, "k-space", shape, dtype)
    names = layout.names or usual.get(len(shape))
    if names is None:
        count = "is two-dimensional" if len(shape) == 2 else f"has {len(shape)} axes"
        expected = " or ".join(f"({', '.join(axes)})" for axes in usual.values())
        order = {2: "readout,phase", 5: "average,slice,coil,readout,phase"}.get(len(shape))
        remedy = f": name them in their order, such as --axes {order}" if order else ""
        raise ValueError(
            f"{source}: k-space {count} ({size_text(shape) or 'a number'}), expected {expected}{remedy}"
        )
    if len(names) != len(shape):
        raise ValueError(
            f"{source}: k-space has {len(shape)} axes ({size_text(shape)}), --axes names {len(names)}: "
            f"{','.join(names)}"
        )
    arrangement = Arrangement(names, tuple(shape))
    check_kspace(source, arrangement.shape)
    return arrangement


def plain_scan(
    source: str,
    format: str,
    shape: tuple[int, int, int, int],
    read: Callable[[int, int], Tensor],
    **known: Any,
) -> Scan:
    """A `Scan` of an array without a header; `known` holds further fields of `Scan`, which replace the defaults."""
    readout, phase = shape[2:]
    fields: dict[str, Any] = {
        "acquired": torch.ones(readout, phase, dtype=torch.bool),
        "crop": (slice(0, readout), slice(0, phase)),
        "matrix": (readout, phase),
        "notes": (NO_HEADER,),
    }
    return Scan(source=source, format=format, shape=shape, read=read, **(fields | known))


def arranged_scan(
    source: str,
    format: str,
    arrangement: Arrangement,
    read: Callable[[int, int], Tensor],
    **known: Any,
) -> Scan:
    """A `Scan` of an array with these axes; partitions are transformed to slices. `known` as for `plain_scan`."""
    volumes = arrangement.size("volume")
    names = tuple(f"volume {n}" for n in range(volumes)) if volumes > 1 else ()
    fields = {"axes": arrangement.names, "volumes": volumes, "volume_names": names}
    scan = plain_scan(source, format, arrangement.shape, read, **(fields | known))
    if (averages := arrangement.size("average")) > 1:
        note = f"the {averages} averages of the array are averaged, each sample over those that measured it (--axes)"
        scan = replace(scan, notes=(*scan.notes, note))
    return transformed(scan) if "partition" in arrangement.names else scan
