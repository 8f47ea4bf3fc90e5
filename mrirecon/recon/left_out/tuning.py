"""Parameters that are left to the scan: chosen so that left-out samples are predicted best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mrirecon.methods.base import Method, Search
from mrirecon.recon.left_out.prediction import Trial, left_out_error

COARSE = 4.0  # ratio of neighbouring values of the coarse search
REACH = 2  # coarse values on either side of the first one
FURTHEST = 6  # coarse values on one side, where the best lies at an end


@dataclass(frozen=True)
class Tuned:
    """How a parameter was chosen.

    Attributes:
        parameter: its name.
        value: chosen one.
        curve: values that were tried, ascending, with their left-out errors.
        at_end: whether the best value lies at an end of what was tried.
    """

    parameter: str
    value: float
    curve: Sequence[tuple[float, float]]
    at_end: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        tried, errors = zip(*self.curve, strict=True)
        return {
            "value": self.value,
            "tried": list(tried),
            "left_out_error": list(errors),
            "at_end": self.at_end,
        }


def tune(
    method: Method, trials: Sequence[Trial], done: Callable[[], object] = lambda: None
) -> tuple[Method, list[Tuned]]:
    """The method with a number for each parameter that is `auto`, one after another, and how they were chosen.

    Args:
        method: leaves parameters to the scan (`Method.searches`).
        trials: slices with the samples to predict.
        done: called after each value that was tried.
    """
    searches, found = method.searches(), []
    method = replace(method, **{name: search.first for name, search in searches.items()})
    for name, search in searches.items():
        tuned = find_best(name, search, partial(_error_of, method, trials, done, name))
        method = replace(method, **{name: tuned.value})
        found.append(tuned)
    return method, found


def _error_of(
    method: Method,
    trials: Sequence[Trial],
    done: Callable[[], object],
    name: str,
    value: float,
) -> float:
    error = left_out_error(replace(method, **{name: value}), trials).mean
    done()
    return error


def find_best(name: str, search: Search, error_of: Callable[[float], float]) -> Tuned:
    """The value of least error: by factors of four, then of two, then by a parabola through the best three.

    The value is that of least error times `Search.correction`.
    """
    errors: dict[float, float] = {}

    def at(step: float | int) -> float:
        if step not in errors:
            errors[step] = error_of(search.first * COARSE**step)
        return errors[step]

    for step in map(float, range(REACH, -REACH - 1, -1)):
        at(step)
    best = min(errors, key=lambda step: errors[step])
    while abs(best) < FURTHEST and best in (min(errors), max(errors)):
        at(best + math.copysign(1, best))
        best = min(errors, key=lambda step: errors[step])
    at_end = best in (min(errors), max(errors))
    if not at_end:
        at(best - 0.5), at(best + 0.5)
        best = min(errors, key=lambda step: errors[step])
        best += _lowest(*(at(best + offset) for offset in (-0.5, 0, 0.5))) / 2
    curve = [(search.first * COARSE**step, errors[step]) for step in sorted(errors)]
    return Tuned(name, search.first * COARSE**best * search.correction, curve, at_end)


def _lowest(before: float, here: float, after: float) -> float:
    """Where the parabola through the errors at -1, 0 and 1, of which the middle one is least, is lowest."""
    bend = before - 2 * here + after
    return 0.0 if bend <= 0 else 0.5 * (before - after) / bend
