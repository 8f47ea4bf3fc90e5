"""K-space arrays without a header: what every format asks of them, and the scan they make."""

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
    """Refuse k-space of which no image can be made.

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
    """What the axes of a stored array mean: what `layout` says, or what is usual for so many axes.

    Raises:
        ValueError: for real values, a number of axes that is neither, an empty array, or a 1 x 1 image.
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
    """The scan of an array that says nothing about itself; `known` overrides."""
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
    """The scan of an array with these axes."""
    volumes = arrangement.size("volume")
    names = tuple(f"volume {n}" for n in range(volumes)) if volumes > 1 else ()
    fields = {"axes": arrangement.names, "volumes": volumes, "volume_names": names}
    scan = plain_scan(source, format, arrangement.shape, read, **(fields | known))
    if (averages := arrangement.size("average")) > 1:
        note = f"the {averages} averages of the array are averaged, each sample over those that measured it (--axes)"
        scan = replace(scan, notes=(*scan.notes, note))
    return transformed(scan) if "partition" in arrangement.names else scan
