"""Variable-density Poisson-disk sampling of a Cartesian grid: exact count, guaranteed spacing, bounded time.

Darts are thrown at the grid points in random order. A dart that lands is kept and blocks a disk around itself, so one
visit to each point decides everything. The size of the disks comes from a density model; the throwing stops at the
requested count. Disks are integers (tenths of a pixel), so that a seed means the same mask on every platform.
"""

from __future__ import annotations

from math import hypot, inf, isqrt
from typing import NamedTuple

import numpy as np

# The disk of a sample is centred half a pixel beside it, in one of these directions (tenths of a pixel, from the
# 3-4-5 triangle). Concentric disks would jump from one lattice distance (1, 1.41, 2, ...) to the next and print
# rings into the mask; a little random extra radius removes what is left of them.
_HALF_TURN = ((5, 0), (4, 3), (3, 4), (0, 5), (-3, 4), (-4, 3))
_OFFSETS = (*_HALF_TURN, *((-y, -x) for y, x in _HALF_TURN))
_OFFSET_LENGTH = 5
_DITHER = 3

# Where even the dithered radius is zero all points are sampled: the core. At low acceleration a smaller slope would
# leave no spacing anywhere, so from this slope on the core grows instead, and the slope with it.
_SMALLEST_CORE = 0.4
_SMALLEST_SLOPE = 2.0

# Density when no further dart lands, times (radius + 0.9)^2, against the radius; measured at constant radius.
_SATURATION = ((-0.3, -0.1, 0.1, 0.3, 0.6, 1.4), (0.36, 0.524, 0.621, 0.70, 0.745, 0.70))

# The first radius allows, by that model, 3 % more samples than asked for. If it did not, try more; without any
# spacing, the last, every count succeeds.
_MARGINS = (1.03, 1.06, 1.12, 1.25, 1.5, 2.0, 4.0, inf)


class PoissonDisk(NamedTuple):
    """A mask (readout, phase) and its guaranteed spacing in pixels.

    Any two samples p, q outside the calibration square are at least min(spacing[p], spacing[q]) apart.
    """

    mask: np.ndarray
    spacing: np.ndarray


def poisson_disk(
    calibration: np.ndarray, allowed: np.ndarray, count: int, rng: np.random.Generator
) -> PoissonDisk:
    """Sample exactly `count` points, `calibration` among them, the wider apart the farther from it.

    The spacing is max(1, slope * distance - core) pixels. The distance is measured from the calibration region, per
    axis in units of its distance to the edge of the grid. `count` determines slope > 2 with core = 0.4 or, at low
    acceleration, t > 0 with slope = 2 + 3 t and core = 0.4 + 5 t. Up to distance (core - 0.3) / slope all points are
    sampled.

    Args:
        calibration: bool grid of the points that are sampled whatever the spacing: a centred square, or nothing.
        allowed: bool grid of the points that may be sampled.
        count: number of samples, from calibration.sum() to (calibration | allowed).sum().
        rng: source of all randomness.

    References:
        Cook 1986, Stochastic sampling in computer graphics, doi:10.1145/8927.8930 (dart throwing). A density that
        falls as 1 / (1 + slope * distance)^2 is also what sigpy.mri.poisson aims at.
    """
    distance = _distance(calibration)
    candidates = np.flatnonzero(allowed & ~calibration)
    order = rng.permutation(candidates)
    dither = _DITHER * rng.random(calibration.shape)
    direction = rng.integers(len(_OFFSETS), size=calibration.shape)
    missing = count - int(calibration.sum())
    for margin in _MARGINS:
        slope, core = _profile(distance.flat[candidates], margin * missing)
        radius = slope * distance - core
        level = np.maximum(np.ceil(10 * radius + dither), 0).astype(np.int64)
        in_core = (10 * radius + _DITHER <= 0).flat[order]
        order = np.concatenate([order[in_core], order[~in_core]])
        chosen = _throw(level, direction, order, missing)
        if len(chosen) == missing:
            break
    mask = calibration.copy()
    mask.flat[chosen] = True
    return PoissonDisk(mask, np.maximum(radius, 1.0))


def inscribed_ellipse(shape: tuple[int, int]) -> np.ndarray:
    """Bool grid of the points with |y / (H / 2)|^2 + |x / (W / 2)|^2 <= 1."""
    height, width = shape
    y, x = (2 * (np.arange(size, dtype=np.int64) - size // 2) for size in shape)
    return (y * width)[:, None] ** 2 + (x * height) ** 2 <= (height * width) ** 2


def _distance(calibration: np.ndarray) -> np.ndarray:
    """Distance from the calibration square; 1 is where the axes leave the grid."""
    per_axis = []
    for axis, size in enumerate(calibration.shape):
        half = calibration.any(axis=1 - axis).sum() / 2
        outside = np.maximum(np.abs(np.arange(size) - size // 2) - half, 0.0)
        per_axis.append(outside / max(size // 2 - half, 1.0))
    return np.sqrt(per_axis[0][:, None] ** 2 + per_axis[1][None, :] ** 2)


def _profile(distance: np.ndarray, count: float) -> tuple[float, float]:
    """Slope and core at which throwing until nothing lands is expected to keep `count` of the candidates."""
    points = np.bincount((distance * 128).astype(np.int64))
    ring = (np.arange(len(points)) + 0.5) / 128

    def profile(step: int) -> tuple[float, float]:
        slope = step / 256
        dense = max(_SMALLEST_SLOPE - slope, 0.0)
        return max(slope, _SMALLEST_SLOPE) + 3 * dense, _SMALLEST_CORE + 5 * dense

    def expected(step: int) -> float:
        slope, core = profile(step)
        radius = np.maximum(slope * ring - core, -_SMALLEST_CORE)
        density = np.interp(radius, *_SATURATION) / (radius + 0.9) ** 2
        return float(points @ np.minimum(density, 1.0))

    densest, sparsest = -1024, 1 << 20
    while sparsest - densest > 1:
        step = (densest + sparsest) // 2
        if expected(step) >= count:
            densest = step
        else:
            sparsest = step
    return profile(densest)


def _throw(level: np.ndarray, direction: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Visit the flat indices `order`; keep those no earlier one blocks, at most `count`."""
    height, width = level.shape
    level = np.minimum(level, 10 * int(hypot(height, width) + 1))
    # A margin as wide as the largest disk spares clipping; a disk that leaves a row enters the next row's margin.
    margin = int(level.max()) // 10 + 2
    stride = width + margin
    blocked = bytearray((height + 2 * margin) * stride + margin)
    is_blocked = np.frombuffer(blocked, dtype=np.uint8)
    position = (order // width + margin) * stride + order % width
    disk = (level * len(_OFFSETS) + direction).flat[order]
    disks: dict[int, list[tuple[int, int, bytes]]] = {}
    kept: list[int] = []
    for start in range(0, len(order), 2048):
        free = start + np.flatnonzero(is_blocked[position[start : start + 2048]] == 0)
        for index, here, key in zip(
            free.tolist(), position[free].tolist(), disk[free].tolist(), strict=True
        ):
            if blocked[here]:
                continue
            kept.append(index)
            if key not in disks:
                disks[key] = _disk(key, stride)
            for first, end, ones in disks[key]:
                blocked[here + first : here + end] = ones
        if len(kept) >= count:
            break
    return order[kept[:count]]


def _disk(key: int, stride: int) -> list[tuple[int, int, bytes]]:
    """The grid points in a sample's disk, as runs (first, end, ones) relative to it in the flat grid.

    Half a pixel off centre and half a pixel larger, it contains the centred disk of radius level / 10.
    """
    level, direction = divmod(key, len(_OFFSETS))
    y, x = _OFFSETS[direction]
    radius = level + _OFFSET_LENGTH
    runs = []
    for dy in range(-((radius - y) // 10), (radius + y) // 10 + 1):
        room = radius**2 - 1 - (10 * dy - y) ** 2  # (10 dx - x)^2 <= room: strictly inside
        if room >= 0:
            first, last = -((isqrt(room) - x) // 10), (isqrt(room) + x) // 10
            runs.append((dy * stride + first, dy * stride + last + 1, b"\1" * (last - first + 1)))
    return runs
