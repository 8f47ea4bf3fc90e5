"""Sampling masks as arrays: checked for their values and size, and expanded to the k-space grid."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.io.file_array import FileArray
from mrirecon.io.files import PathLike

LARGEST = 8192**2  # points; beyond any k-space
AGAIN = "make the mask for this scan"


def as_mask(source: PathLike, array: np.ndarray | FileArray) -> Bool[Tensor, "..."]:
    """The array as a boolean mask: (readout, phase), or (phase,) for whole columns.

    Args:
        source: file name, for messages.
        array: zeros and ones of any numeric type.

    Raises:
        ValueError: if it has another number of axes, more points than any k-space, or values other than 0 and 1.
    """
    size = " x ".join(map(str, array.shape)) or "one number"
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{source}: the mask is {size}, expected (readout, phase), or columns along (phase,)"
        )
    if array.size > LARGEST:
        raise ValueError(f"{source}: the mask is {size}, larger than any k-space: {AGAIN}")
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{source}: the mask holds {array.dtype}, expected 0 and 1")
    values = np.asarray(array)
    with np.errstate(invalid="ignore"):  # NaN of a damaged file
        allowed = np.isin(values, (0, 1)).all()
    if not allowed:
        raise ValueError(f"{source}: the mask must hold only 0 and 1")
    return torch.from_numpy(np.array(values != 0, dtype=np.bool_, copy=True, subok=False))


def refuse_mask(source: PathLike, array: np.ndarray | FileArray) -> None:
    """Refuse an array of zeros and ones that was given as k-space: it is a sampling mask.

    Raises:
        ValueError: naming `--mask`, the option that takes masks.
    """
    if array.dtype.kind not in "biuf" or not 0 < array.size <= 1 << 24:
        return
    values = np.asarray(array)
    if values.min() == 0 and values.max() == 1 and np.isin(values, (0, 1)).all():
        raise ValueError(
            f"{source} is a sampling mask of 0 and 1 ({' x '.join(map(str, array.shape))}), no k-space: "
            f"give it to recon with --mask {source}"
        )


def expand_mask(
    mask: Bool[Tensor, "..."], shape: tuple[int, int], source: PathLike = ""
) -> Bool[Tensor, "readout phase"]:
    """A mask (phase,), (1, phase) or (readout, 1) expanded to the k-space grid `shape` = (readout, phase).

    Raises:
        ValueError: if its sizes are neither 1 nor those of the grid.
    """
    where = f"{source}: " if source else ""
    if mask.shape[-1] not in (1, shape[1]) or (mask.ndim == 1 and mask.shape[0] != shape[1]):
        raise ValueError(
            f"{where}the mask has {mask.shape[-1]} columns, k-space has {shape[1]}: {AGAIN}"
        )
    if mask.ndim == 2 and mask.shape[0] not in (1, shape[0]):
        raise ValueError(
            f"{where}the mask has {mask.shape[0]} rows, k-space has {shape[0]}: {AGAIN}"
        )
    return mask.expand(shape).clone()
