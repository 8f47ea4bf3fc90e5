"""Seeded Cartesian sampling patterns with exact counts.

Masks are (readout, phase), True where sampled. "1D" kinds sample whole columns, "2D" kinds points. The same seed gives
the same mask on every platform, and no global random state is read or changed. docs/masks.md shows them all.

Where a scan covers a part of the grid only (zero padding, partial Fourier, an elliptical k-space), the kinds of our own
are drawn over what is acquired: acceleration counts its points, the calibration is a share of its lines, and densities
are those of the smallest grid about the k-space origin that holds it, so that zero padding changes no mask. The kinds
of fastMRI and of the papers know the whole grid only, as published.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.coverage import Acceleration as Acceleration
from mrirecon.coverage import achieved_acceleration as achieved_acceleration
from mrirecon.coverage import calibration_region as calibration_region
from mrirecon.coverage import central_box
from mrirecon.nearest import suggest
from mrirecon.poisson import inscribed_ellipse, poisson_disk

Number: TypeAlias = float | int
Seed: TypeAlias = int | tuple[int, ...]
Acquired: TypeAlias = Bool[Tensor, "readout phase"] | None

# Score-MRI's Gaussian widths (Chung and Ye 2022), as fractions of the grid size.
GAUSSIAN_STD_1D = 15 / 128
GAUSSIAN_STD_2D = (1.5 / 128) ** 0.5


def make_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
    **options: Any,
) -> Bool[Tensor, "readout phase"]:
    """A mask of a kind given by name; `options` are the further keywords of that kind.

    Args:
        kind: of `MASKS`.
        shape: (readout, phase), in samples.
        acceleration: R.
        center_fraction: calibration share.
        seed: of the mask.
        acquired: points that the scan covers; by default all. Kinds that are `published` take no notice of it.
        options: as `options_of` the kind names them.

    Raises:
        ValueError: if the kind or an option does not exist (the nearest one is named) or the request cannot be met.
    """
    if kind not in MASKS:
        raise ValueError(f"unknown mask kind {kind!r}: {suggest(kind, MASKS)}")
    known = options_of(kind)
    for option in options:
        if option not in known:
            raise ValueError(f"mask kind {kind} has no option {option!r}: {suggest(option, known)}")
    if not published(kind):
        options["acquired"] = acquired
    return MASKS[kind](shape, acceleration, center_fraction=center_fraction, seed=seed, **options)


def options_of(kind: str) -> list[str]:
    """The further keywords of a kind."""
    parameters = list(inspect.signature(MASKS[kind]).parameters)[4:]
    return [name for name in parameters if name != "acquired"]


def covered_lines(shape: tuple[int, int], acquired: Acquired) -> tuple[int, int]:
    """Rows and columns of the grid with an acquired point."""
    if acquired is None:
        return shape
    return int(acquired.any(dim=1).sum()), int(acquired.any(dim=0).sum())


def published(kind: str) -> bool:
    """Whether a kind is made line for line as others published it, for the whole grid whatever is acquired."""
    return kind.startswith(("fastmri_", "paper_"))


def default_center_fraction(acceleration: Number) -> float:
    """The customary calibration: 8 % up to R = 5, else 4 % (fastMRI's pairs are 4x / 8 % and 8x / 4 %)."""
    return 0.08 if acceleration <= 5 else 0.04


def center_fraction_of(
    kind: str, shape: tuple[int, int], size: int, acquired: Acquired = None
) -> float:
    """The calibration fraction that gives `size` columns, or a square of side `size`, on this grid.

    Raises:
        ValueError: if the region is empty or does not fit the grid.
    """
    lines = shape if published(kind) else covered_lines(shape, acquired)
    side = min(lines) if kind.endswith("2d") or kind == "poisson" else lines[1]
    if not 1 <= size < side:
        raise ValueError(
            f"a calibration region of {size} does not fit a {shape[0]} x {shape[1]} mask of kind {kind}: "
            f"give 1 to {side - 1}"
        )
    return size / side * (1 + 1e-12)  # kinds that round down keep the last column


def fastmri_seed(file_name: str) -> tuple[int, ...]:
    """The seed from which fastMRI makes a validation file's mask: its name with suffix, so renaming changes it."""
    return tuple(map(ord, Path(file_name).name))


# --- kinds with an exact count: round(covered / R), calibration included, drawn without replacement ---


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
        seed: of numpy's PCG64; an integer or several.
        acquired: points that the scan covers, by default all; W is then the number of columns with such a point.

    Raises:
        ValueError: if the calibration alone exceeds the budget, or an argument is out of range.
    """
    area = _Area(shape, acquired)
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
    area = _Area(shape, acquired)
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
    area = _Area(shape, acquired)
    center = _center_square(area, center_fraction)
    rows, columns = (_gaussian(size, GAUSSIAN_STD_2D) for size in area.shape)
    weights = np.where(area.covered, rows[:, None] * columns, 0)
    count = _budget(center, area.points, acceleration)
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
    as for `gaussian2d`; spacing and method: `mrirecon.poisson.poisson_disk`.
    """
    area = _Area(shape, acquired)
    center = _center_square(area, center_fraction)
    count = _budget(center, area.points, acceleration)
    allowed = area.covered & inscribed_ellipse(area.shape) if elliptical else area.covered
    available = int((center | allowed).sum())
    if count > available:
        raise ValueError(
            f"acceleration {acceleration} asks for {count} points, the ellipse holds {available}: "
            f"use at least {area.points / available:.4g}, or elliptical=False"
        )
    return area.mask(poisson_disk(center, allowed, count, _generator(seed)).mask)


# --- equispaced and the leaderboard's masks: their own count rules ---


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
    area = _Area(shape, acquired)
    columns = _center_columns(area, center_fraction)
    step = _whole(acceleration, len(columns))
    if offset is None:
        offset = int(_generator(seed).integers(step))
    _check_offset(offset, step)
    columns[offset::step] = True
    return area.mask(columns)


def fastmri_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    offset: int | None = None,
) -> Bool[Tensor, "readout phase"]:
    """A mask made by the fastmri package, line for line that of the leaderboard for the same seed.

    "equispaced_fraction" is what brain test masks and published checkpoints were made with; older fastMRI releases
    called it equispaced. The count is right on average (random, equispaced_fraction), nearly (magic_fraction), or above
    W / R by the calibration lines (equispaced, magic).

    Args:
        kind: random, equispaced, equispaced_fraction, magic or magic_fraction.
        shape: (readout, phase) = (H, W), in samples.
        acceleration: R; a whole number for equispaced and magic.
        center_fraction: calibration columns / W, in [0, 1).
        seed: below 2^32 each; `fastmri_seed(file name)` gives the leaderboard's.
        offset: of the lines, instead of a random one; not for random.

    Raises:
        ValueError: where fastmri would crash or leave calibration lines only, or an argument is out of range.
    """
    from fastmri.data import subsample

    width = shape[1]
    low = _center(shape, center_fraction, width)
    _check_acceleration(acceleration, width)
    if kind in ("equispaced", "magic"):
        acceleration = _whole(acceleration, width)
    elif low * acceleration >= width or (
        kind == "magic_fraction" and max(low, 1) >= round(width / acceleration)
    ):
        raise ValueError(
            f"center_fraction {center_fraction} takes {low} of {width} columns, fastmri_{kind} at acceleration "
            f"{acceleration} has {width / acceleration:.4g} in all: lower center_fraction or acceleration"
        )
    if offset is not None:
        if kind == "random":
            raise ValueError("fastmri_random has no offset: leave it out")
        _check_offset(offset, round(acceleration))
    classes = {
        "random": subsample.RandomMaskFunc,
        "equispaced": subsample.EquiSpacedMaskFunc,
        "equispaced_fraction": subsample.EquispacedMaskFractionFunc,
        "magic": subsample.MagicMaskFunc,
        "magic_fraction": subsample.MagicMaskFractionFunc,
    }
    draw = classes[kind]([center_fraction], [acceleration])
    lines, _ = draw((1, 1, width, 2), offset=offset, seed=_legacy_seed(seed))
    columns = lines.flatten().numpy() > 0
    if not columns.any():
        raise ValueError(
            f"fastmri_{kind} draws no column at all with seed {seed}: lower the acceleration {acceleration}"
        )
    return _columns(columns, shape)


fastmri_random = partial(fastmri_mask, "random")
fastmri_equispaced = partial(fastmri_mask, "equispaced")
fastmri_equispaced_fraction = partial(fastmri_mask, "equispaced_fraction")
fastmri_magic = partial(fastmri_mask, "magic")
fastmri_magic_fraction = partial(fastmri_mask, "magic_fraction")


# --- the draws of the Score-MRI and DDS papers: with replacement, so the true acceleration differs from R ---


def paper_uniform1d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """uniform1d of the Score-MRI and DDS code: duplicates merge, true R = 4.46 for 4 and 8.46 for 8 (W = 320).

    The first draw of that code after `numpy.random.seed(seed)`. Arguments and errors as for `uniform1d`.
    """
    columns, count = _paper_columns(shape, acceleration, center_fraction)
    if count < columns.sum():
        raise ValueError(_over_budget(columns, len(columns), acceleration, count))
    draws = _legacy_generator(seed).choice(len(columns), count - int(columns.sum()))
    columns[draws] = True
    return _columns(columns, shape)


def paper_gaussian1d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """gaussian1d of the Score-MRI and DDS code: true R = 4.13 for 4 and 6.76 for 8 (W = 320).

    1.2 W / R draws with duplicates merged, and the calibration on top. Otherwise as `paper_uniform1d`.
    """
    columns, count = _paper_columns(shape, acceleration, center_fraction)
    size = len(columns)
    draws = _legacy_generator(seed).normal(size // 2, size * (15.0 / 128), int(count * 1.2))
    columns[np.clip(draws.astype(int), 0, size - 1)] = True
    return _columns(columns, shape)


def paper_gaussian2d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """gaussian2d of the Score-MRI and DDS code: true R = 7.52 for 4 and 11.5 for 8 (320 x 320).

    Duplicates merge, and `center_fraction` is checked and ignored: that code has no calibration here.

    Raises:
        ValueError: if the grid is not square (that code knows no other), or an argument is out of range.
    """
    mask = np.zeros(shape, dtype=bool)
    _center(shape, center_fraction, min(shape))
    _check_acceleration(acceleration, mask.size)
    size = shape[0]
    if shape[1] != size:
        raise ValueError(f"paper_gaussian2d needs a square grid, not {shape}: use gaussian2d")
    covariance = size * size * (1.5 / 128) * np.eye(2)
    count = int(mask.size // acceleration)
    draws = _legacy_generator(seed).multivariate_normal([size // 2] * 2, covariance, count)
    mask[tuple(np.clip(draws.astype(int), 0, size - 1).T)] = True
    return torch.from_numpy(mask)


MASKS: dict[str, Callable[..., Tensor]] = {
    "uniform1d": uniform1d,
    "gaussian1d": gaussian1d,
    "gaussian2d": gaussian2d,
    "poisson": poisson,
    "equispaced": equispaced,
    "fastmri_random": fastmri_random,
    "fastmri_equispaced": fastmri_equispaced,
    "fastmri_equispaced_fraction": fastmri_equispaced_fraction,
    "fastmri_magic": fastmri_magic,
    "fastmri_magic_fraction": fastmri_magic_fraction,
    "paper_uniform1d": paper_uniform1d,
    "paper_gaussian1d": paper_gaussian1d,
    "paper_gaussian2d": paper_gaussian2d,
}


# --- shared by the kinds ---


class _Area:
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


def _drawn_columns(
    area: _Area, weights: np.ndarray, acceleration: Number, center_fraction: float, seed: Seed
) -> Tensor:
    lengths = area.covered.sum(axis=0)
    there = lengths > 0
    center, width = _center_columns(area, center_fraction) & there, area.lines[1]
    count = _budget(center, width, acceleration)
    draw = partial(_draw, center, np.where(there, weights, 0), seed=seed)
    if (lengths[there] == lengths.max()).all():
        return area.mask(draw(count))
    _budget(area.covered & center, area.points, acceleration)
    counts = range(max(int(center.sum()), count // 2, 1), min(2 * count, width) + 1)
    wanted = area.points / acceleration
    return area.mask(min(map(draw, counts), key=lambda c: abs(int(lengths[c].sum()) - wanted)))


def _draw(center: np.ndarray, weights: np.ndarray, count: int, seed: Seed) -> np.ndarray:
    """Add points to `center` up to `count`, each with probability proportional to the weights still unsampled.

    Drawing as many as are missing and merging duplicates is the same as rejecting them one by one. Each round finds at
    least one new point. Integer weights make it exact.
    """
    mask, rng = center.copy(), _generator(seed)
    while missing := count - int(mask.sum()):
        cumulative = np.where(mask, 0, weights).cumsum()
        draws = rng.integers(cumulative[-1], size=missing)
        mask.flat[np.searchsorted(cumulative, draws, side="right")] = True
    return mask


def _gaussian(size: int, std: float) -> np.ndarray:
    """Integer weights of one axis, 2^20 at the centre and at least 1 (with std 0.108 the edge has 24)."""
    distance = (np.arange(size) - size // 2) / (std * size)
    return np.maximum(np.rint(2**20 * np.exp(-(distance**2) / 2)), 1).astype(np.int64)


def _columns(columns: np.ndarray, shape: tuple[int, int]) -> Tensor:
    return torch.from_numpy(columns).expand(shape).clone()


def _center(shape: tuple[int, int], center_fraction: float, size: int) -> int:
    """Samples of the calibration along an axis of `size`, arguments checked."""
    if min(shape) < 1:
        raise ValueError(f"mask shape {shape} is empty: both sizes must be at least 1")
    if not 0 <= center_fraction < 1:
        raise ValueError(f"center_fraction is {center_fraction}: it must be at least 0 and below 1")
    return round(center_fraction * size)


def _centered(size: int, count: int) -> slice:
    return slice(size // 2 - count // 2, size // 2 - count // 2 + count)


def _center_columns(area: _Area, center_fraction: float) -> np.ndarray:
    columns = np.zeros(area.shape[1], dtype=bool)
    count = _center(area.shape, center_fraction, area.lines[1])
    columns[_centered(area.shape[1], count)] = True
    return columns


def _center_square(area: _Area, center_fraction: float) -> np.ndarray:
    side = _center(area.shape, center_fraction, min(area.lines))
    square = np.zeros(area.shape, dtype=bool)
    square[_centered(area.shape[0], side), _centered(area.shape[1], side)] = True
    return square & area.covered


def _paper_columns(
    shape: tuple[int, int], acceleration: Number, center_fraction: float
) -> tuple[np.ndarray, int]:
    """Calibration and nominal count of the papers' code, which rounds both down."""
    width = shape[1]
    _center(shape, center_fraction, width)
    _check_acceleration(acceleration, width)
    columns = np.zeros(width, dtype=bool)
    columns[_centered(width, int(center_fraction * width))] = True
    return columns, int(width // acceleration)


def _budget(center: np.ndarray, covered: int, acceleration: Number) -> int:
    """round(covered / R), checked to be at least the calibration."""
    _check_acceleration(acceleration, covered)
    count = round(covered / acceleration)
    if count < center.sum():
        raise ValueError(_over_budget(center, covered, acceleration, count))
    return count


def _over_budget(center: np.ndarray, covered: int, acceleration: Number, count: int) -> str:
    return (
        f"the calibration region alone has {center.sum()} of {covered} samples, acceleration {acceleration} "
        f"allows {count} in all: lower center_fraction or acceleration"
    )


def _check_acceleration(acceleration: Number, size: int) -> None:
    if not (isfinite(acceleration) and acceleration >= 1):
        raise ValueError(f"acceleration is {acceleration}: it must be a number of at least 1")
    if acceleration > size:
        raise ValueError(
            f"acceleration {acceleration} leaves none of the {size} samples: use at most {size}"
        )


def _whole(acceleration: Number, size: int) -> int:
    _check_acceleration(acceleration, size)
    if acceleration != int(acceleration):
        raise ValueError(
            f"acceleration is {acceleration}: equispaced lines need a whole number, or a fraction kind"
        )
    return int(acceleration)


def _check_offset(offset: int, step: int) -> None:
    if not 0 <= offset < step:
        raise ValueError(f"offset is {offset}: it must be at least 0 and below {step}")


def _generator(seed: Seed) -> np.random.Generator:
    _check_seed(seed, 2**128)
    return np.random.Generator(np.random.PCG64(seed))


def _legacy_seed(seed: Seed) -> Seed:
    _check_seed(seed, 2**32)
    return seed


def _legacy_generator(seed: Seed) -> np.random.RandomState:
    return np.random.RandomState(_legacy_seed(seed))


def _check_seed(seed: Seed, limit: int) -> None:
    if not all(0 <= part < limit for part in (seed if isinstance(seed, tuple) else (seed,))):
        raise ValueError(f"seed is {seed}: it must be at least 0 and below {limit}")
