"""The sampling that a file declares, corrected where its samples contradict it; for the readers of all formats.

Some files store zeros for lines and samples that were never measured, or have the header of another protocol.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.scan import Scan
from mrirecon.tensors import measured_points

FAINT = 1e-6  # of the largest sample: rounding errors of single precision in place of zeros


def reconciled(scan: Scan, volume: int, index: int, kspace: Complex[Tensor, "coil y x"]) -> Scan:
    """The scan with `sampling` and `acquired` corrected by the samples of one slice, and a note on each correction.

    Only this slice, which is read anyway, is examined. Zeros in other slices are found when they are read
    (`Scan.measured`).

    Args:
        scan: scan as its reader describes it.
        volume: volume of the slice.
        index: index of the slice.
        kspace: k-space of the slice.
    """
    if scan.sampling is not None:
        scan = _without_zeros(scan, volume, index, kspace)
    return scan if bool(scan.acquired.all()) else _covering(scan, kspace)


def _without_zeros(
    scan: Scan, volume: int, index: int, kspace: Complex[Tensor, "coil y x"]
) -> Scan:
    declared = scan.mask(index, volume)
    measured = measured_points(kspace, declared)
    empty = declared & ~measured
    if not bool(empty.any()):
        return scan

    def sampling(volume: int, index: int) -> Tensor:
        return measured_points(scan.read(volume, index), scan.mask(index, volume))

    columns = int((declared.any(dim=0) & ~measured.any(dim=0)).sum())
    where = f"slice {index}" + (f" of volume {volume}" if scan.volumes > 1 else "")
    note = (
        f"{int(empty.sum())} of {int(declared.sum())} points of {where} ({columns} whole columns) are stored as "
        "samples but are exactly 0 in all coils: taken as not measured"
    )
    return replace(scan, sampling=sampling, notes=(*scan.notes, note))


def _covering(scan: Scan, kspace: Complex[Tensor, "coil y x"]) -> Scan:
    level = kspace.abs().amax(dim=0)
    there = level > FAINT * level.max()
    outside = int((there & ~scan.acquired).sum())
    if not outside:
        return scan
    acquired = covering(there, scan.acquired)
    note = (
        f"{outside} points outside of what the file calls acquired hold samples: "
        f"{int(acquired.any(dim=1).sum())} x {int(acquired.any(dim=0).sum())} points are taken as acquired"
    )
    return replace(scan, acquired=acquired, notes=(*scan.notes, note))


def covering(there: Bool[Tensor, "y x"], acquired: Bool[Tensor, "y x"]) -> Bool[Tensor, "y x"]:
    """The points that a protocol acquires, given where samples are `there` and what the file calls `acquired`.

    The bounding box of the samples; where that has gaps (undersampling), the box of samples and `acquired` together.
    """
    box = _box(there)
    return box if bool(there[box].all()) else _box(there | acquired)


def _box(points: Bool[Tensor, "y x"]) -> Bool[Tensor, "y x"]:
    box = torch.zeros_like(points)
    rows, columns = (points.any(dim=dim).nonzero()[:, 0] for dim in (1, 0))
    box[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1] = True
    return box
