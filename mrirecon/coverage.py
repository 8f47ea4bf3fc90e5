"""Properties of a mask: the region it covers, its calibration region, and the acceleration it achieves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from mrirecon.scan import Scan


class Coverage(NamedTuple):
    """The region of k-space that the protocol of a scan covers.

    Attributes:
        acquired: grid points that the protocol would measure without undersampling.
        sampled: points that were sampled in the examined slice.
    """

    acquired: Bool[Tensor, "readout phase"]
    sampled: Bool[Tensor, "readout phase"]

    @property
    def complete(self) -> bool:
        """Whether all acquired points were sampled, so that the scan can be undersampled by a mask."""
        return bool(self.sampled[self.acquired].all())


class Acceleration(NamedTuple):
    """Acquired points over sampled points, with and without the calibration region."""

    total: float
    without_calibration: float


def coverage_of(scan: Scan) -> Coverage:
    """The coverage of a scan, from its header and from the sampled slice nearest the middle.

    Files without a header, and headers that only describe a box, do not distinguish zero-padded columns or the corners
    outside an elliptical k-space from points left out by undersampling; `covered_by` does.
    """
    sampled = scan.mask(scan.middle() or 0)
    return Coverage(covered_by(sampled, scan.acquired), sampled)


def covered_by(
    sampled: Bool[Tensor, "readout phase"], acquired: Bool[Tensor, "_ _"]
) -> Bool[Tensor, "readout phase"]:
    """The points of `acquired` that the protocol measures, judged by the sampled points of one slice.

    These are the sampled points where they contain the k-space origin and have no gap in any row or column, as in an
    elliptical, zero-padded or one-sided k-space. With gaps the slice was undersampled, and `acquired` is returned.
    """
    measured = sampled & acquired
    origin = tuple(size // 2 for size in measured.shape)
    whole = all(_without_gap(lines) for lines in (measured.numpy(), measured.numpy().T))
    return measured if bool(measured[origin]) and whole else acquired


def central_box(acquired: Bool[Tensor, "readout phase"]) -> tuple[slice, slice]:
    """Rows and columns of the smallest grid, centred at the k-space origin, that contains all of `acquired`.

    Raises:
        ValueError: if nothing is acquired.
    """
    if not acquired.any():
        raise ValueError("no point of the k-space grid is acquired: there is nothing to sample")
    box = []
    for axis, size in enumerate(acquired.shape):
        lines = acquired.any(dim=1 - axis).nonzero()[:, 0]
        before, after = size // 2 - int(lines[0]), int(lines[-1]) - size // 2
        length = max(2 * before, 2 * after + 1)
        box.append(slice(size // 2 - length // 2, size // 2 - length // 2 + length))
    return box[0], box[1]


def calibration_region(mask: Bool[Tensor, "readout phase"]) -> tuple[slice, slice] | None:
    """The largest fully sampled block around the k-space origin, as slices of the rows and columns.

    It is centred to within one sample, on either side for even sizes; None if the origin is not sampled. Samples that
    are adjacent to the calibration lines by chance are included: use the size of the region where it is known.
    """
    sampled = mask.cpu().numpy()
    y, x = (size // 2 for size in sampled.shape)
    if not sampled[y, x]:
        return None
    row_start, row_stop = _centered_runs(sampled[:, x])
    column_start, column_stop = _centered_runs(sampled[y])
    total = np.pad(sampled.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    count = (total[row_stop] - total[row_start])[:, column_stop]
    count -= (total[row_stop] - total[row_start])[:, column_start]
    height, width = (row_stop - row_start)[:, None], column_stop - column_start
    full = count == height * width
    # Among equal areas, the one nearest to a square.
    score = np.where(full, height * width * sum(sampled.shape) + np.minimum(height, width), 0)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return (
        slice(int(row_start[row]), int(row_stop[row])),
        slice(int(column_start[column]), int(column_stop[column])),
    )


def achieved_acceleration(
    mask: Bool[Tensor, "readout phase"],
    acquired: Bool[Tensor, "_ _"],
    calibration: tuple[slice, slice] | None = None,
) -> Acceleration:
    """The acceleration of a mask relative to the points that the protocol covers (zero padding excluded).

    Args:
        mask: True at sampled points.
        acquired: True at points that the fully sampled protocol would sample.
        calibration: rows and columns of the calibration region; found from the mask when not given.

    Raises:
        ValueError: if the sizes differ, or if the mask samples nothing of `acquired`.
    """
    if mask.shape != acquired.shape:
        raise ValueError(
            f"mask is {tuple(mask.shape)}, acquired is {tuple(acquired.shape)}: make the mask for this scan"
        )
    sampled = mask & acquired
    if not sampled.any():
        raise ValueError("mask samples none of the acquired points: make the mask for this scan")
    outside = acquired.clone()
    region = calibration or calibration_region(sampled | ~acquired)
    if region is not None:
        outside[region] = False
    covered, measured = int(outside.sum()), int((sampled & outside).sum())
    rest = covered / measured if measured else float("inf") if covered else 1.0
    return Acceleration(int(acquired.sum()) / int(sampled.sum()), rest)


def _without_gap(lines: np.ndarray) -> bool:
    """Whether the True points of each row are contiguous."""
    starts = (np.diff(lines.astype(np.int8), axis=1, prepend=0) > 0).sum(axis=1)
    return bool((starts <= 1).all())


def _centered_runs(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(starts, stops) of all runs of True around len // 2 that are centred to within one sample."""
    center = len(line) // 2
    gaps = np.flatnonzero(~line)
    before = center - max(gaps[gaps < center], default=-1) - 1
    after = min(gaps[gaps > center], default=len(line)) - center - 1
    runs = [
        (center - a, center + b + 1)
        for a in range(before + 1)
        for b in (a, a - 1, a + 1)
        if 0 <= b <= after
    ]
    starts, stops = np.array(runs).T
    return starts, stops
