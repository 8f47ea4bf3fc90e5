"""How well a method predicts measured samples that were left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.intervals import mean_interval
from mrirecon.methods.base import Method, Place, Problem, Solution
from mrirecon.methods.left_out import LeftOut, choose_left_out, squared_error
from mrirecon.operators import sense
from mrirecon.recon.problems import Problems

SLICES = 3  # of a scan that are looked at
SETS = 2  # of left-out samples in each of them; more where there are fewer slices


@dataclass(frozen=True, eq=False)
class Trial:
    """One slice with the sets of samples that are left out of it.

    Attributes:
        problem: with all of its samples.
        sets: what is left out, one set at a time.
        whitening: matrix that samples are multiplied by before they are compared, where the problem is not prewhitened
            but those of other methods are.
        maps: coil maps, likewise, where the problem has none: of a prediction what one image can give all coils counts.
    """

    problem: Problem
    sets: Sequence[LeftOut]
    whitening: Complex[Tensor, "coil coil"] | None = None
    maps: Complex[Tensor, "set coil y x"] | None = None

    def without(self, number: int) -> Problem:
        """The slice as if one of the sets had not been measured."""
        return leave_out(self.problem, self.sets[number].points)

    def whitened(self, kspace: Complex[Tensor, "coil y x"]) -> Complex[Tensor, "coil y x"]:
        """K-space in the units in which it is compared."""
        if self.whitening is None:
            return kspace
        return torch.einsum("ij,jyx->iyx", self.whitening, kspace)

    def of_one_image(self, kspace: Complex[Tensor, "coil y x"]) -> Complex[Tensor, "coil y x"]:
        """Whitened k-space without what no image gives with the coil maps; their root sum of squares hardly sees it."""
        if self.maps is None:
            return kspace
        whole = torch.ones_like(self.problem.mask)
        several = len(self.maps) > 1
        A = sense(self.maps if several else self.maps[0], whole, sets=several)
        return A(A.adjoint(kspace))


def trials_of(
    problems: Problems,
    *,
    slices: int = SLICES,
    sets: int | None = None,
    seed: int = 0,
    places: Sequence[Place] | None = None,
) -> list[Trial]:
    """Slices spread over the whole scan, whichever are to be reconstructed, each with its sets of left-out samples.

    Args:
        problems: the scan.
        slices: the most slices to take.
        sets: number of sets in each; by default as many as make `SLICES` times `SETS` in all.
        seed: of the choice of samples.
        places: the slices to take, in place of those that are spread over the scan.

    Raises:
        ValueError: if hardly anything was sampled outside the calibration centre.
    """
    scan = problems.scan
    every = [(volume, index) for volume in range(scan.volumes) for index in range(scan.shape[0])]
    wanted = min(slices, len(every))
    spread = places or [every[int((n + 0.5) * len(every) / wanted)] for n in range(wanted)]
    skipped = list(problems.skipped)
    found = [problem for batch in problems.batches(spread) for problem in batch]
    problems.skipped[:] = skipped  # what is left zero is said by the reconstruction
    if not found and (middle := scan.middle()) is not None:
        found = [problem for batch in problems.batches([(0, middle)]) for problem in batch]
    if not found:
        raise ValueError(f"{scan.source}: no slice has samples that could be left out")
    count = sets or -(-SLICES * SETS // len(found))
    return [
        Trial(
            one, choose_left_out(one.mask, scan.acquired, count=count, seed=_seed(seed, one.place))
        )
        for one in found
    ]


def leave_out(problem: Problem, points: Bool[Tensor, "y x"]) -> Problem:
    """The problem as if these points had not been measured: nothing that it holds tells of them."""
    kept = problem.mask & ~points.to(problem.mask.device)
    near = replace(problem.near, scan=problem.near.scan.undersample(kept.cpu()))
    return replace(problem, kspace=problem.kspace * kept, mask=kept, near=near, tell=None)


def predict(problem: Problem, solution: Solution) -> Complex[Tensor, "coil y x"]:
    """All of k-space as a solution has it, in the units of the problem.

    Raises:
        ValueError: if the solution is a magnitude image, which has no k-space.
    """
    if solution.predicted is not None:
        return solution.predicted
    image = solution.image if solution.draws is None else solution.draws.mean(0)
    if image is None:
        raise ValueError("a magnitude image predicts no k-space, a complex image does")
    return problem.kspace_of(image)


@dataclass(frozen=True)
class LeftOutError:
    """||predicted - measured|| / ||measured|| of left-out samples, with the weights of `importance`.

    Attributes:
        errors: of each set, over all slices that were looked at.
        slices: of each of these slices, over all sets, by (volume, slice number in the file).
    """

    errors: tuple[float, ...]
    slices: Mapping[Place, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean over the sets."""
        return math.fsum(self.errors) / len(self.errors)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the mean by Student's t; the mean itself where there is one set.

        The sets are samples of one scan: the interval tells what another choice of samples would give, not another
        scan.
        """
        mean, half = mean_interval(self.errors, level)
        return mean - half, mean + half

    def as_json(self) -> dict[str, Any]:
        """Plain values, of which `of` makes it again."""
        low, high = self.interval()
        slices = [
            {"volume": volume, "slice": number, "error": error}
            for (volume, number), error in self.slices.items()
        ]
        errors = list(self.errors)
        return {"error": self.mean, "low": low, "high": high, "errors": errors, "slices": slices}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> LeftOutError:
        """The inverse of `as_json`."""
        slices = {(one["volume"], one["slice"]): one["error"] for one in told["slices"]}
        return cls(tuple(told["errors"]), slices)


def left_out_error(
    method: Method, trials: Sequence[Trial], done: Callable[[], object] = lambda: None
) -> LeftOutError:
    """How well a method predicts the samples that are left out of some slices; `done` is called after each set.

    Raises:
        ValueError: if it gives magnitude images, or a slice does not suit it.
    """
    found = []  # by set and slice
    for number in range(len(trials[0].sets)):
        row = []
        for part in _together(method, trials):
            batch = [trial.without(number) for trial in part]
            for trial, problem, solution in zip(part, batch, method.solve(batch), strict=True):
                row.append(misfit_and_energy(trial, number, predict(problem, solution)))
        found.append(row)
        done()
    numbers = [trial.problem.number for trial in trials]
    by_slice = (_relative(column) for column in zip(*found, strict=True))
    return LeftOutError(tuple(map(_relative, found)), dict(zip(numbers, by_slice, strict=True)))


def _together(method: Method, trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    """As many slices as the method takes at once."""
    kspace = trials[0].problem.kspace
    count = method.slices_at_once(kspace[0].numel(), str(kspace.device))
    count = len(trials) if method.needs.whole_volume else max(count, 1)
    for first in range(0, len(trials), count):
        yield trials[first : first + count]


def _relative(parts: Sequence[tuple[float, float]]) -> float:
    """Root of the summed squared errors over the summed energies."""
    misfit, energy = (math.fsum(column) for column in zip(*parts, strict=True))
    return math.sqrt(misfit / max(energy, 1e-300))


def misfit_and_energy(
    trial: Trial, number: int, predicted: Complex[Tensor, "coil y x"]
) -> tuple[float, float]:
    """Weighted squared error and energy of one set of left-out samples of a slice."""
    chosen, measured = trial.sets[number], trial.whitened(trial.problem.kspace)
    predicted = trial.of_one_image(trial.whitened(predicted))
    points, weight = (x.to(measured.device) for x in (chosen.points, chosen.weight))
    return squared_error(predicted, measured, points, weight)


def _seed(seed: int, place: Place) -> int:
    return seed * 10007 + place[0] * 1009 + place[1]
