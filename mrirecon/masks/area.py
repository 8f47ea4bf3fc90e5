"""The part of a grid that a mask is drawn over, and what all kinds of masks check."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.coverage import central_box

Number: TypeAlias = float | int
Seed: TypeAlias = int | tuple[int, ...]
Acquired: TypeAlias = Bool[Tensor, "readout phase"] | None


def covered_lines(shape: tuple[int, int], acquired: Acquired) -> tuple[int, int]:
    """Rows and columns of the grid with an acquired point."""
    if acquired is None:
        return shape
    return int(acquired.any(dim=1).sum()), int(acquired.any(dim=0).sum())


def fastmri_seed(file_name: str) -> tuple[int, ...]:
    """The seed from which fastMRI makes a validation file's mask: its name with suffix, so renaming changes it."""
    return tuple(map(ord, Path(file_name).name))


class Area:
    """The part of a grid that a mask is drawn over.

    Attributes:
        shape: of the smallest grid about the k-space origin that holds what is acquired.
        covered: acquired points of it.
        lines: rows and columns with such a point.
        points: their number.

    Raises:
        ValueError: if the grid is empty, nothing is acquired, or `acquired` is of another grid.
    """

    def __init__(self, shape: tuple[int, int], acquired: Acquired) -> None:
        if min(shape) < 1:
            raise ValueError(f"mask shape {shape} is empty: both sizes must be at least 1")
        acquired = torch.ones(shape, dtype=torch.bool) if acquired is None else acquired.cpu()
        if tuple(acquired.shape) != tuple(shape):
            raise ValueError(
                f"mask is {tuple(shape)}, acquired is {tuple(acquired.shape)}: make the mask for this scan"
            )
        self._grid, self._box = shape, central_box(acquired)
        self.covered = acquired[self._box].numpy()
        self.shape: tuple[int, int] = (self.covered.shape[0], self.covered.shape[1])
        self.lines = covered_lines(shape, acquired)
        self.points = int(self.covered.sum())

    def mask(self, sampled: np.ndarray) -> Tensor:
        """On the whole grid, the acquired ones of the points (or columns) of the area."""
        mask = torch.zeros(self._grid, dtype=torch.bool)
        mask[self._box] = torch.from_numpy(sampled & self.covered)
        return mask


def center_columns(area: Area, center_fraction: float) -> np.ndarray:
    """The calibration columns of an area."""
    columns = np.zeros(area.shape[1], dtype=bool)
    count = count_central(area.shape, center_fraction, area.lines[1])
    columns[central(area.shape[1], count)] = True
    return columns


def center_square(area: Area, center_fraction: float) -> np.ndarray:
    """The calibration square of an area, as far as it is covered."""
    side = count_central(area.shape, center_fraction, min(area.lines))
    square = np.zeros(area.shape, dtype=bool)
    square[central(area.shape[0], side), central(area.shape[1], side)] = True
    return square & area.covered


def count_central(shape: tuple[int, int], center_fraction: float, size: int) -> int:
    """Samples of the calibration along an axis of `size`, arguments checked."""
    if min(shape) < 1:
        raise ValueError(f"mask shape {shape} is empty: both sizes must be at least 1")
    if not 0 <= center_fraction < 1:
        raise ValueError(f"center_fraction is {center_fraction}: it must be at least 0 and below 1")
    return round(center_fraction * size)


def central(size: int, count: int) -> slice:
    """The middle `count` of `size` indices."""
    return slice(size // 2 - count // 2, size // 2 - count // 2 + count)


def mask_of_columns(columns: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """A mask that samples whole columns."""
    return torch.from_numpy(columns).expand(shape).clone()


def budget(center: np.ndarray, covered: int, acceleration: Number) -> int:
    """round(covered / R), checked to be at least the calibration."""
    check_acceleration(acceleration, covered)
    count = round(covered / acceleration)
    if count < center.sum():
        raise ValueError(over_budget(center, covered, acceleration, count))
    return count


def over_budget(center: np.ndarray, covered: int, acceleration: Number, count: int) -> str:
    """What is said where the calibration alone has too many samples."""
    return (
        f"the calibration region alone has {center.sum()} of {covered} samples, acceleration {acceleration} "
        f"allows {count} in all: lower center_fraction or acceleration"
    )


def check_acceleration(acceleration: Number, size: int) -> None:
    """Raise ValueError unless R is a number from 1 to the number of samples."""
    if not (isfinite(acceleration) and acceleration >= 1):
        raise ValueError(f"acceleration is {acceleration}: it must be a number of at least 1")
    if acceleration > size:
        raise ValueError(
            f"acceleration {acceleration} leaves none of the {size} samples: use at most {size}"
        )


def check_whole(acceleration: Number, size: int) -> int:
    """R as a whole number.

    Raises:
        ValueError: if it is none, or as `check_acceleration`.
    """
    check_acceleration(acceleration, size)
    if acceleration != int(acceleration):
        raise ValueError(
            f"acceleration is {acceleration}: equispaced lines need a whole number, or a fraction kind"
        )
    return int(acceleration)


def check_offset(offset: int, step: int) -> None:
    """Raise ValueError unless the first line lies in the first step."""
    if not 0 <= offset < step:
        raise ValueError(f"offset is {offset}: it must be at least 0 and below {step}")


def generator_of(seed: Seed) -> np.random.Generator:
    """Numpy's PCG64 of a seed."""
    _check_seed(seed, 2**128)
    return np.random.Generator(np.random.PCG64(seed))


def check_legacy_seed(seed: Seed) -> Seed:
    """A seed below 2^32, which the old generators of numpy take."""
    _check_seed(seed, 2**32)
    return seed


def legacy_generator_of(seed: Seed) -> np.random.RandomState:
    """Numpy's Mersenne Twister of a seed."""
    return np.random.RandomState(check_legacy_seed(seed))


def _check_seed(seed: Seed, limit: int) -> None:
    if not all(0 <= part < limit for part in (seed if isinstance(seed, tuple) else (seed,))):
        raise ValueError(f"seed is {seed}: it must be at least 0 and below {limit}")
