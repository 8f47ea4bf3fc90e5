"""How far the image of a method that gives one moves when a part of the samples is left out."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mrirecon.methods.base import Method, Problem, Solution
from mrirecon.methods.left_out import LeftOut, choose_left_out
from mrirecon.recon.left_out.prediction import leave_out

PARTS = 6  # into which the samples outside the calibration centre are divided


class NoSpread(ValueError):
    """A method gives nothing whose spread could be an error bar."""


def jackknife(method: Method, problem: Problem, solution: Solution) -> Iterator[Tensor]:
    """Deviations of reconstructions without a part of the samples each from that with all, in place of those of draws.

    They are too small for an error by a factor that differs from mask to mask and method to method: left-out
    samples and `rehearse` tell it. They show where an image hangs on few samples (Tukey 1958).

    Args:
        method: gives a complex image or k-space.
        problem: the slice.
        solution: what the method made of it.

    Returns:
        `PARTS` deviations, images or k-space of all coils as the method gives them.
    """
    for part in parts_of(problem):
        (made,) = method.solve([leave_out(problem, part.points)])
        yield image_of(made) - image_of(solution)


def parts_of(problem: Problem) -> list[LeftOut]:
    """The samples that each reconstruction of `jackknife` goes without."""
    acquired, seed = problem.near.scan.acquired, 10007 * problem.place[0] + problem.place[1]
    return choose_left_out(problem.mask, acquired, count=PARTS, share=1 / PARTS, seed=seed + 1)


def image_of(solution: Solution) -> Tensor:
    """The complex image of a solution, or its k-space where it has one.

    Raises:
        NoSpread: if it has neither.
    """
    found = solution.image if solution.predicted is None else solution.predicted
    if found is None:
        raise NoSpread("a magnitude image has no k-space: its error cannot be calibrated")
    return found
