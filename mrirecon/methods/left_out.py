"""Which measured samples are left out, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.coverage import calibration_region
from mrirecon.operators.espirit import BLOCK

SHARE = 0.1  # of the samples outside the calibration centre that are left out together
BANDS = 6  # of distance from the k-space origin, in which left-out samples stand for missing ones


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Samples that are left out together.

    Attributes:
        points: which ones.
        weight: how much the squared error of each sample counts (`importance`).
        density: share of k-space that was sampled at each distance from the origin (`sampled_share`).
        kept: share of the samples outside the calibration centre that stay.
    """

    points: Bool[Tensor, "y x"]
    weight: Float[Tensor, "y x"]
    density: Float[Tensor, "y x"]
    kept: float

    @property
    def k_weight(self) -> Float[Tensor, "y x"]:
        """1 / (1 - K), with which the errors of left-out samples add up to those of all points that are not seen.

        A point is sampled with probability p, and then stays with probability q. One that a network does not see is
        left out with probability 1 - K = p (1 - q) / (1 - p q), else it is missing (Millard & Chiew 2023,
        arXiv:2305.01090). Here p is the share of its band that the mask at hand has sampled.
        """
        return (1 - self.density * self.kept) / (self.density * (1 - self.kept))


def choose_left_out(
    mask: Bool[Tensor, "y x"],
    acquired: Bool[Tensor, "y x"],
    *,
    count: int,
    share: float = SHARE,
    seed: int = 0,
) -> list[LeftOut]:
    """Choose `count` sets of samples to leave out: whole lines where lines were skipped, else points.

    What is left out looks like what is missing. The calibration centre, at most the block that ESPIRiT uses, always
    stays. The other samples are ordered by their distance from the k-space origin, and of `1 / share` consecutive ones
    each set takes one, so that no band of k-space loses more than its share. The first `1 / share` sets are disjoint.

    Args:
        mask: sampled points.
        acquired: points that a full scan samples.
        count: number of sets.
        share: fraction of the samples outside the calibration centre in one set, above 0 and at most 0.5.
        seed: of the choice.

    Raises:
        ValueError: if fewer than two lines or points were sampled outside the calibration centre.
    """
    mask = mask.cpu()
    axis = skipped_axis(mask)
    outside = mask & ~_centre(mask, axis)
    candidates = outside if axis is None else outside.any(1 - axis)
    chosen = candidates.nonzero().numpy()
    if len(chosen) < 2:
        raise ValueError(
            "hardly anything was sampled outside the calibration centre: no samples can be left out and predicted"
        )
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(chosen)), distance(chosen, candidates.shape)))
    group = min(max(round(1 / share), 2), len(chosen))
    sets: list[Tensor] = []
    while len(sets) < count:
        numbers = np.concatenate(
            [random.permutation(group) for _ in range(-(-len(chosen) // group))]
        )[: len(chosen)]
        for number in range(min(group, count - len(sets))):
            one = torch.zeros_like(candidates)
            one[tuple(chosen[order[numbers == number]].T)] = True
            sets.append(one if axis is None else outside & one.unsqueeze(1 - axis))
    density = sampled_share(outside, acquired.cpu() & ~mask, axis)
    weight = importance(density, outside)
    return [LeftOut(points, weight, density, 1 - 1 / group) for points in sets]


def importance(
    density: Float[Tensor, "y x"], candidates: Bool[Tensor, "y x"]
) -> Float[Tensor, "y x"]:
    """How much the squared error at each sample counts.

    It is the square root of the number of missing samples per candidate in the same band of distance from the origin.
    Without it the centre, of which most was measured, decides alone; with the ratio itself the outermost samples do,
    which are mostly noise. It is 1 where nothing is missing.
    """
    weight = (1 / density - 1).sqrt()
    return weight if bool((weight * candidates).any()) else torch.ones_like(weight)


def sampled_share(
    candidates: Bool[Tensor, "y x"], missing: Bool[Tensor, "y x"], axis: int | None
) -> Float[Tensor, "y x"]:
    """Share of the points outside the calibration centre that was sampled, in bands of distance from the origin.

    It is 1 where nothing is missing, and in bands without candidates.
    """
    density = torch.ones(candidates.shape)
    if not bool(missing.any()):
        return density
    grid = np.indices(candidates.shape).transpose(1, 2, 0)
    if axis is not None:
        grid[..., 1 - axis] = candidates.shape[1 - axis] // 2
    far = torch.from_numpy(distance(grid, candidates.shape))
    edges = far[candidates].quantile(torch.linspace(0, 1, BANDS + 1, dtype=far.dtype))
    band = torch.bucketize(far, edges[1:-1])
    for number in range(BANDS):
        here = band == number
        measured = int((candidates & here).sum())
        if measured:
            density[here] = measured / (measured + int((missing & here).sum()))
    return density


def squared_error(
    predicted: Complex[Tensor, "coil y x"],
    measured: Complex[Tensor, "coil y x"],
    points: Bool[Tensor, "y x"],
    weight: Float[Tensor, "y x"],
) -> tuple[float, float]:
    """Weighted squared error of the samples at some points, and their weighted energy."""
    weight = weight[points]
    squares = [
        (weight * x[:, points].abs().square()).sum() for x in (predicted - measured, measured)
    ]
    return float(squares[0]), float(squares[1])


def skipped_axis(mask: Bool[Tensor, "y x"]) -> int | None:
    """The axis along which whole lines were skipped: 0 for rows, 1 for columns, None where there is no such axis.

    Measured lines may end anywhere, as in an elliptical k-space, but have no gap.
    """
    for axis in (1, 0):
        lines = mask if axis == 1 else mask.T
        skipped = bool(_runs(lines.any(0)[:, None]).gt(1).any())
        if skipped and not bool(_runs(lines).gt(1).any()):
            return axis
    return None


def _runs(lines: Bool[Tensor, "y x"]) -> Tensor:
    """Number of runs of samples in each column."""
    before = torch.cat([torch.zeros_like(lines[:1]), lines[:-1]])
    return (lines & ~before).sum(0)


def _centre(mask: Bool[Tensor, "y x"], axis: int | None) -> Bool[Tensor, "y x"]:
    """The fully sampled centre, at most as large as ESPIRiT's block; of skipped lines the whole lines of it."""
    centre = torch.zeros_like(mask)
    region = calibration_region(mask)
    if region is None:
        return centre
    parts = [slice(None), slice(None)]
    for along, (size, part) in enumerate(zip(mask.shape, region, strict=True)):
        if axis in (None, along):
            start = max(part.start, size // 2 - BLOCK // 2)
            parts[along] = slice(start, min(part.stop, start + BLOCK))
    centre[tuple(parts)] = True
    return centre


def distance(indices: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Distance of grid points from the k-space origin, in units of the sides of the grid."""
    sizes = np.array(shape)
    return np.asarray(np.linalg.norm((indices - sizes // 2) / sizes, axis=-1))
