"""Kinds of masks with an exact count of samples, calibration included, drawn without replacement; and equispaced ones.

Where a scan covers a part of the grid only (zero padding, partial Fourier, an elliptical k-space), they are drawn over
what is acquired: acceleration counts its points, the calibration is a share of its lines, and densities are those of
the smallest grid about the k-space origin that holds it, so that zero padding changes no mask.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from mrirecon.masks.area import (
    Acquired,
    Area,
    Number,
    Seed,
    budget,
    center_columns,
    center_square,
    check_offset,
    check_whole,
    generator_of,
)
from mrirecon.masks.poisson_disk import inscribed_ellipse, poisson_disk

# Score-MRI's Gaussian widths (Chung and Ye 2022), as fractions of the grid size.
GAUSSIAN_STD_1D = 15 / 128
GAUSSIAN_STD_2D = (1.5 / 128) ** 0.5


def uniform1d(
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
) -> Bool[Tensor, "readout phase"]:
    """Columns drawn uniformly, exactly round(W / R) with the round(center_fraction * W) central ones.

    Where the acquired columns differ in length, there are as many of them as bring the points nearest to covered / R.

    Args:
        shape: (readout, phase) = (H, W), in samples.
        acceleration: R, at least 1.
        center_fraction: calibration columns / W, in [0, 1).
        seed: seed of numpy's PCG64; an integer or several.
        acquired: points that the scan covers, by default all; W is then the number of columns with such a point.

    Raises:
        ValueError: if the calibration alone exceeds the budget, or an argument is out of range.
    """
    area = Area(shape, acquired)
    weights = np.ones(area.shape[1], dtype=np.int64)
    return _drawn_columns(area, weights, acceleration, center_fraction, seed)


def gaussian1d(
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
) -> Bool[Tensor, "readout phase"]:
    """Columns drawn with Gaussian probability around the centre (standard deviation 15/128 W), exactly round(W / R).

    Arguments and errors as for `uniform1d`. The width is that of Chung and Ye 2022 (Score-MRI, arXiv:2110.05243).
    """
    area = Area(shape, acquired)
    weights = _gaussian(area.shape[1], GAUSSIAN_STD_1D)
    return _drawn_columns(area, weights, acceleration, center_fraction, seed)


def gaussian2d(
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
) -> Bool[Tensor, "readout phase"]:
    """Points drawn with Gaussian probability (standard deviation 0.108 of each axis), exactly round(H W / R).

    Calibration is a square of side round(center_fraction * min(H, W)). Of an `acquired` part, H and W are the rows and
    columns with such a point, and its points are counted instead of H W. Other arguments and errors as for `uniform1d`.
    The width is that of Chung and Ye 2022 (Score-MRI, arXiv:2110.05243).
    """
    area = Area(shape, acquired)
    center = center_square(area, center_fraction)
    rows, columns = (_gaussian(size, GAUSSIAN_STD_2D) for size in area.shape)
    weights = np.where(area.covered, rows[:, None] * columns, 0)
    count = budget(center, area.points, acceleration)
    return area.mask(_draw(center, weights, count, seed))


def poisson(
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
    elliptical: bool = False,
) -> Bool[Tensor, "readout phase"]:
    """Points at least so far apart, the farther from the centre the wider; exactly round(H W / R) of them.

    Around the calibration square of side round(center_fraction * min(H, W)) lies a fully sampled core, large at small
    R. With `elliptical` the corners of k-space stay empty, R still counting the whole grid. Other arguments and errors
    as for `gaussian2d`; spacing and method: `mrirecon.masks.poisson_disk.poisson_disk`.
    """
    area = Area(shape, acquired)
    center = center_square(area, center_fraction)
    count = budget(center, area.points, acceleration)
    allowed = area.covered & inscribed_ellipse(area.shape) if elliptical else area.covered
    available = int((center | allowed).sum())
    if count > available:
        raise ValueError(
            f"acceleration {acceleration} asks for {count} points, the ellipse holds {available}: "
            f"use at least {area.points / available:.4g}, or elliptical=False"
        )
    return area.mask(poisson_disk(center, allowed, count, generator_of(seed)).mask)


def equispaced(
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
    offset: int | None = None,
) -> Bool[Tensor, "readout phase"]:
    """Every R-th column from `offset` on, and the calibration columns on top: more than W / R columns (GRAPPA).

    Args:
        shape: (readout, phase) = (H, W), in samples.
        acceleration: R, a whole number.
        center_fraction: calibration columns / W, in [0, 1).
        seed: decides the offset when none is given.
        acquired: points that the scan covers, by default all; `offset` then counts from the first column of the
            smallest grid about the origin that holds them, W the columns with such a point.
        offset: first column, in [0, R).

    Raises:
        ValueError: if R is not a whole number, or an argument is out of range.
    """
    area = Area(shape, acquired)
    columns = center_columns(area, center_fraction)
    step = check_whole(acceleration, len(columns))
    if offset is None:
        offset = int(generator_of(seed).integers(step))
    check_offset(offset, step)
    columns[offset::step] = True
    return area.mask(columns)


def _drawn_columns(
    area: Area, weights: np.ndarray, acceleration: Number, center_fraction: float, seed: Seed
) -> Tensor:
    lengths = area.covered.sum(axis=0)
    there = lengths > 0
    center, width = center_columns(area, center_fraction) & there, area.lines[1]
    count = budget(center, width, acceleration)
    draw = partial(_draw, center, np.where(there, weights, 0), seed=seed)
    if (lengths[there] == lengths.max()).all():
        return area.mask(draw(count))
    budget(area.covered & center, area.points, acceleration)
    counts = range(max(int(center.sum()), count // 2, 1), min(2 * count, width) + 1)
    wanted = area.points / acceleration
    return area.mask(min(map(draw, counts), key=lambda c: abs(int(lengths[c].sum()) - wanted)))


def _draw(center: np.ndarray, weights: np.ndarray, count: int, seed: Seed) -> np.ndarray:
    """Add points to `center` up to `count`, each with probability proportional to the weights still unsampled.

    Drawing as many as are missing and merging duplicates is the same as rejecting them one by one. Each round finds at
    least one new point. Integer weights make it exact.
    """
    mask, rng = center.copy(), generator_of(seed)
    while missing := count - int(mask.sum()):
        cumulative = np.where(mask, 0, weights).cumsum()
        draws = rng.integers(cumulative[-1], size=missing)
        mask.flat[np.searchsorted(cumulative, draws, side="right")] = True
    return mask


def _gaussian(size: int, std: float) -> np.ndarray:
    """Integer weights of one axis, 2^20 at the centre and at least 1 (with std 0.108 the edge has 24)."""
    distance = (np.arange(size) - size // 2) / (std * size)
    return np.maximum(np.rint(2**20 * np.exp(-(distance**2) / 2)), 1).astype(np.int64)
