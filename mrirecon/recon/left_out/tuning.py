"""Parameters that are left to the scan: chosen so that left-out samples are predicted best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from mrirecon.methods.base import Method, Search
from mrirecon.recon.left_out.prediction import SETS, Trial, left_out_error

COARSE = 4.0  # ratio of neighbouring values of the coarse search
REACH = 2  # coarse values on either side of the first one
FURTHEST = 6  # coarse values on one side, where the best lies at an end


Curve: TypeAlias = list[tuple[float, float]]  # values that were tried, ascending, with their errors


@dataclass(frozen=True)
class Tuned:
    """How a parameter was chosen.

    Attributes:
        parameter: its name.
        value: chosen one.
        coarse: left-out errors of one slice over values that are far apart.
        curve: left-out errors of all slices around the best of them; none where that lies at an end.
    """

    parameter: str
    value: float
    coarse: Curve
    curve: Curve

    @property
    def at_end(self) -> bool:
        """Whether the best value lies at an end of what was tried."""
        return not self.curve

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "value": self.value,
            **_as_json(self.curve),
            "coarse": _as_json(self.coarse),
            "at_end": self.at_end,
        }


def _as_json(curve: Curve) -> dict[str, list[float]]:
    return {"tried": [x for x, _ in curve], "left_out_error": [error for _, error in curve]}


def tune(
    method: Method, trials: Sequence[Trial], done: Callable[[int], object] = lambda solved: None
) -> tuple[Method, list[Tuned]]:
    """The method with a number for each parameter that is `auto`, one after another, and how they were chosen.

    Args:
        method: leaves parameters to the scan (`Method.searches`).
        trials: slices with the samples to predict.
        done: called after each value that was tried, with the number of slices that were solved for it.
    """
    searches, found = method.searches(), []
    method = replace(method, **{name: search.first for name, search in searches.items()})
    for name, search in searches.items():

        def error_of(
            trials: Sequence[Trial], value: float, method: Method = method, name: str = name
        ) -> float:
            error = left_out_error(replace(method, **{name: value}), trials).mean
            done(solved_for(trials))
            return error

        first_look = partial(error_of, coarse_trials(trials))
        tuned = find_best(name, search, partial(error_of, trials), first_look)
        method = replace(method, **{name: tuned.value})
        found.append(tuned)
    return method, found


def coarse_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The slice in the middle with a few sets: values that are far apart need no more to be told apart."""
    middle = trials[len(trials) // 2]
    return [replace(middle, sets=middle.sets[:SETS])]


def solved_for(trials: Sequence[Trial]) -> int:
    """Slices that are solved to try one value."""
    return sum(len(trial.sets) for trial in trials)


def search_effort(trials: Sequence[Trial]) -> int:
    """Slices that are solved to choose one parameter, if the best value is found where it is looked for."""
    return (2 * REACH + 1) * solved_for(coarse_trials(trials)) + 3 * solved_for(trials)


def find_best(
    name: str,
    search: Search,
    error_of: Callable[[float], float],
    coarse_error_of: Callable[[float], float],
) -> Tuned:
    """The value of least error: by factors of four, then of two, then by a parabola through the best three.

    The value is that of least error times `Search.correction`.

    Args:
        name: of the parameter.
        search: where to look.
        error_of: the error of a value.
        coarse_error_of: the same, less exact and quicker, for the factors of four.
    """

    def value(step: float) -> float:
        return search.first * COARSE**step

    coarse = {
        step: coarse_error_of(value(step)) for step in map(float, range(REACH, -REACH - 1, -1))
    }
    best = _least(coarse)
    while abs(best) < FURTHEST and best in (min(coarse), max(coarse)):
        further = best + math.copysign(1, best)
        coarse[further] = coarse_error_of(value(further))
        best = _least(coarse)
    fine: dict[float, float] = {}

    def at(step: float) -> float:
        if step not in fine:
            fine[step] = error_of(value(step))
        return fine[step]

    if best not in (min(coarse), max(coarse)):
        for step in (best - 0.5, best, best + 0.5):
            at(step)
        best = _least(fine)
        best += _lowest(*(at(best + offset) for offset in (-0.5, 0, 0.5))) / 2
    curves = ([(value(step), one[step]) for step in sorted(one)] for one in (coarse, fine))
    return Tuned(name, value(best) * search.correction, *curves)


def _least(errors: Mapping[float, float]) -> float:
    return min(errors, key=lambda step: errors[step])


def _lowest(before: float, here: float, after: float) -> float:
    """Where the parabola through the errors at -1, 0 and 1, of which the middle one is least, is lowest."""
    bend = before - 2 * here + after
    return 0.0 if bend <= 0 else 0.5 * (before - after) / bend
