"""What a sampling mask is, in the words of the field: regular or random, columns or points, and its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from mrirecon.coverage import calibration_region

FEWEST = 4  # lines outside the centre that show a spacing
DENSER = 2.5  # standard deviations between the shares sampled near and far from the centre
SCARCE = 0.6  # of the neighbours that chance would give: points keep a distance
AROUND = 1.5  # times the calibration region is left out, in which a lattice may be interrupted


@dataclass(frozen=True)
class Pattern:
    """What is known of a mask.

    Attributes:
        kind: full; columns at equal spacing; rows or a lattice at equal spacing; nearly equal spacing; random; or the
            centre alone.
        text: the same for people, with its numbers.
    """

    kind: Literal["full", "columns", "lattice", "nearly regular", "random", "centre"]
    text: str


def pattern_of(
    mask: Bool[Tensor, "readout phase"], acquired: Bool[Tensor, "readout phase"] | None = None
) -> Pattern:
    """What a mask samples of the points that a scan covers.

    Equal spacing is told from lines and points outside the centre; everything that has none is called random.

    Args:
        mask: True at sampled points.
        acquired: True at points that the scan covers, as `coverage.covered_by` tells; by default all.

    Example:
        print(pattern_of(mask).text)  # every 4th column with 24 centre columns
    """
    sampled = mask.cpu().numpy()
    covered = np.ones_like(sampled) if acquired is None else acquired.cpu().numpy()
    sampled = sampled & covered
    if sampled[covered].all():
        return Pattern("full", "full")
    region = calibration_region(mask)
    centre = (0, 0) if region is None else (_length(region[0]), _length(region[1]))
    rows, columns = sampled.any(axis=1), sampled.any(axis=0)
    if (sampled == (np.outer(rows, columns) & covered)).all():
        if _is_run(rows) and not _is_run(columns):
            return _of_lines(columns, np.logical_or.reduce(covered, 0), "column", centre[1])
        if _is_run(columns) and not _is_run(rows):
            return _of_lines(rows, np.logical_or.reduce(covered, 1), "row", centre[0])
        if _is_run(rows) and _is_run(columns):
            size = (int(rows.sum()), int(columns.sum()))
            return Pattern("centre", f"the central {size[0]} x {size[1]} points only")
    return _of_points(sampled, covered, region, centre)


def _of_lines(
    lines: np.ndarray, covered: np.ndarray, name: Literal["column", "row"], width: int
) -> Pattern:
    """The pattern of whole columns or rows, so many of which are the calibration region."""
    origin = len(lines) // 2
    inside = _run_around(lines, origin)
    run = int(inside.sum())
    width = run if run > width + 1 else width  # a centre to one side, rather than a line beside it
    places = np.flatnonzero(lines & ~inside)
    with_centre = f" with {width} centre {name}s" if width > 1 else ""
    gaps = [np.diff(places[side]) for side in (places < origin, places > origin)]
    found = np.unique(np.concatenate(gaps))
    if len(places) >= FEWEST and len(found) and found[0] > 1:
        low, high = int(found[0]), int(found[-1])
        every = f"every {_ordinal(low)}"
        if low == high and len(np.unique(places % low)) == 1:
            text = f"{every} {name}{with_centre}"
            return Pattern("columns" if name == "column" else "lattice", text)
        if low == high and min(map(len, gaps)) > 1:
            text = f"{every} {name}, shifted on the other side,{with_centre}"
            return Pattern("nearly regular", text.removesuffix(","))
        if high == low + 1 and len(places) > FEWEST + 2 and _evenly_spread(places, origin):
            text = f"{every} or {_ordinal(high)} {name} in turn{with_centre}"
            return Pattern("nearly regular", text)
    distance = np.abs(np.arange(len(lines)) - origin)
    dense = _is_denser(distance[covered & ~inside], lines[covered & ~inside])
    text = f"random {name}s{', denser at the centre,' if dense else ''}{with_centre}"
    return Pattern("random", text.removesuffix(","))


def _of_points(
    sampled: np.ndarray,
    covered: np.ndarray,
    region: tuple[slice, slice] | None,
    centre: tuple[int, int],
) -> Pattern:
    """The pattern of points."""
    outside = covered.copy()
    if region is not None:
        outside[_larger(region, sampled.shape)] = False
    with_centre = ""
    if min(centre) > 1:
        with_centre = f" with a {centre[0]} x {centre[1]} centre"
    if not (sampled & outside).any():
        return Pattern("centre", "the centre only")
    if steps := _lattice(sampled & outside, outside):
        return Pattern("lattice", f"regular {steps}{with_centre}".removesuffix(","))
    y, x = np.indices(sampled.shape)
    radius = np.hypot(*(2 * i / n - 1 for i, n in zip((y, x), sampled.shape, strict=True)))
    dense = _is_denser(radius[outside], sampled[outside])
    text = "variable density points" if dense else "random points"
    if _keep_apart(sampled & outside, outside):
        text += " (Poisson disk)"
    return Pattern("random", f"{text}{with_centre}")


def _lattice(sampled: np.ndarray, outside: np.ndarray) -> str:
    """`2 x 2`, with the shift of each row where it has one; empty where points are no lattice.

    Points may be missing beyond the ellipse in the grid, and on lattice rows in part.
    """
    rows = np.flatnonzero(sampled.any(axis=1))
    along = np.unique(np.diff(rows))
    down = int(along.min()) if len(along) else 0
    if down < 1 or (along % down).any():
        return ""
    widths = [np.diff(np.flatnonzero(row)) for row in sampled[rows]]
    every = np.concatenate(widths)
    across = int(every.min()) if len(every) else 0
    if across < 1 or down * across < 2:
        return ""
    first = np.array([int(np.flatnonzero(row)[0]) for row in sampled[rows]])
    turns = (rows - rows[0]) // down
    for shift in range(across):
        offsets = (first - shift * turns) % across
        if (offsets == offsets[0]).all():
            break
    else:
        return ""
    y, x = np.indices(sampled.shape)
    turn = (y - rows[0]) // down
    points = ((y - rows[0]) % down == 0) & ((x - offsets[0] - shift * turn) % across == 0)
    missing = points & outside & ~sampled & _ellipse(sampled.shape)
    missing[: rows[0]], missing[rows[-1] + 1 :] = False, False
    columns = np.flatnonzero(sampled.any(axis=0))
    missing[:, : columns[0]], missing[:, columns[-1] + 1 :] = False, False
    if missing.any() or (sampled & ~points).any():
        return ""
    return f"{down} x {across}" + (f", each row shifted by {shift} (CAIPIRINHA)," if shift else "")


def _evenly_spread(places: np.ndarray, origin: int) -> bool:
    """Whether lines lie within a sample of equal spacing, on each side of the centre."""
    sides = (places[places < origin], places[places >= origin])
    for side in (one for one in sides if len(one) >= FEWEST):
        number = np.arange(len(side))
        slope, start = np.polyfit(number, side, 1)
        if np.abs(start + slope * number - side).max() > 1:
            return False
    return True


def _is_denser(distance: np.ndarray, sampled: np.ndarray) -> bool:
    """Whether more of what is near the centre is sampled than of what is far, beyond chance."""
    near = distance <= np.median(distance)
    shares = [sampled[part].mean() for part in (near, ~near) if part.any()]
    if len(shares) < 2:
        return False
    chance = sampled.mean() * (1 - sampled.mean()) * (1 / near.sum() + 1 / (~near).sum())
    return bool(shares[0] - shares[1] > DENSER * chance**0.5)


def _keep_apart(sampled: np.ndarray, outside: np.ndarray) -> bool:
    """Whether neighbouring points are both sampled much more rarely than at random, density by density."""
    density = _density(sampled, outside)
    found = expected = 0.0
    for axis in (0, 1):
        pairs = [
            np.stack((x[1:], x[:-1]))
            for x in (np.moveaxis(x, axis, 0) for x in (sampled, outside, density))
        ]
        both = pairs[1].all(axis=0)
        found += (pairs[0].all(axis=0) & both).sum()
        expected += pairs[2].prod(axis=0)[both].sum()
    return bool(expected > 10 and found < SCARCE * expected)


def _density(sampled: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The share of sampled points around each point."""
    from scipy.ndimage import uniform_filter

    weight = uniform_filter(outside.astype(float), 9)
    share = uniform_filter(sampled.astype(float), 9)
    return np.divide(share, weight, out=np.zeros_like(share), where=weight > 0)


def _larger(region: tuple[slice, slice], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The region and a margin around it."""
    margin = [int((AROUND - 1) / 2 * _length(one)) + 1 for one in region]
    wide = [
        slice(max(0, r.start - m), min(n, r.stop + m))
        for r, m, n in zip(region, margin, shape, strict=True)
    ]
    return wide[0], wide[1]


def _ellipse(shape: tuple[int, ...]) -> np.ndarray:
    y, x = np.indices(shape)
    return np.hypot(2 * y / shape[0] - 1, 2 * x / shape[1] - 1) <= 0.95


def _run_around(line: np.ndarray, origin: int) -> np.ndarray:
    """The sampled part of a line about the origin that has no gap."""
    inside = np.zeros_like(line)
    if line[origin]:
        gaps = np.flatnonzero(~line)
        start = max(gaps[gaps < origin], default=-1) + 1
        inside[start : min(gaps[gaps > origin], default=len(line))] = True
    return inside


def _is_run(line: np.ndarray) -> bool:
    """Whether the sampled part of a line has no gap."""
    places = np.flatnonzero(line)
    return len(places) > 0 and bool(line[places[0] : places[-1] + 1].all())


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _ordinal(number: int) -> str:
    return (
        f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number if number < 20 else number % 10, 'th') }"
    )
