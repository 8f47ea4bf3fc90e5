"""Error bars of a reconstruction: standard deviation and interval at each pixel, as wide as left-out samples say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrirecon.methods.base import Method, Problem, Solution
from mrirecon.recon.finish import Finish, Result
from mrirecon.recon.left_out.prediction import Trial
from mrirecon.recon.left_out.rehearsal import rehearse
from mrirecon.recon.left_out.spread import (
    LEAST,
    Factors,
    Misfit,
    check_spread,
    deviations_of,
    find_factors,
    measure_misfit,
    spread_about,
    std_of,
    student,
)
from mrirecon.tensors import fft2c, ifft2c


@dataclass(frozen=True, eq=False)
class ErrorBars:
    """Calibrated error bars of the slices of a scan.

    Attributes:
        factors: of deviations in bands of k-space; one that is the same everywhere multiplies the standard deviation.
        level: nominal level of the intervals.
        info: how they were found, for the JSON.
    """

    factors: Factors
    level: float
    info: Mapping[str, Any]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> ErrorBars:
        """That of `info`."""
        factors = Factors(info["radius"], info["factor"], info["factor_measured"])
        return cls(factors, info["level"], info)

    def note(self) -> str:
        """What the left-out samples say of it."""
        if "promise" in self.info:
            return str(self.info["promise"])
        before, after = self.info["coverage_before"], self.info["coverage_after"]
        text = (
            f"error bars calibrated by {self.info['left_out_samples']} left-out samples: intervals called "
            f"{100 * self.level:g} % held {100 * before:.0f} % of them before"
        )
        if after is None:
            return f"{text}; one set only, so that what they hold now was not tested"
        return f"{text} and hold {100 * after:.0f} % now, of samples that did not set the width"

    def finish(
        self, finish: Finish, method: Method, problem: Problem, solution: Solution
    ) -> Result:
        """The slice as `Finish` gives it, with calibrated `std`, `low`, `high` and, where they are kept, draws."""
        return self.around(finish, problem, solution, *deviations_of(method, problem, solution))

    def around(
        self,
        finish: Finish,
        problem: Problem,
        solution: Solution,
        centre: Tensor,
        deviations: Tensor,
    ) -> Result:
        """The same with the image, or k-space, and the deviations from it at hand."""
        result = finish(problem, solution)
        figures, extras = dict(result.figures), dict(result.extras)
        width = self.factors.width
        if width is None:  # else it multiplies the standard deviation itself
            deviations = self._stretched(problem, solution, deviations)
        if solution.draws is None:
            std = std_of(finish, problem, solution, centre, deviations)
        else:
            draws = centre + deviations
            named = finish(problem, replace(solution, draws=draws, keep_draws=True)).extras
            moduli = torch.stack([named[f"draw{n}"] for n in range(1, len(draws) + 1)])
            std = spread_about(moduli.mean(0), moduli)
            extras |= {name: named[name] for name in extras if name.startswith("draw")}
            variance = draws.abs().var(0)[problem.operator.support()]
            figures["posterior_std"] = (width or 1) * float(variance.mean().sqrt()) / problem.scale
        std = (width or 1) * std
        half, modulus = student(self.level, len(deviations)) * std, result.image.abs()
        bars = {"std": std, "low": (modulus - half).clamp_min(0), "high": modulus + half}
        return Result(result.image, figures, {**extras, **bars})

    def _stretched(self, problem: Problem, solution: Solution, deviations: Tensor) -> Tensor:
        if solution.draws is None and solution.predicted is not None:
            return self.factors.stretch(deviations, problem.mask)
        return ifft2c(self.factors.stretch(fft2c(deviations), problem.mask))


def calibrate(
    method: Method,
    trials: Sequence[Trial],
    level: float,
    finish: Finish,
    done: Callable[[], object] = lambda: None,
) -> ErrorBars:
    """Find the factors of a scan, and test them on samples that did not set them.

    Draws are scaled by `find_factors`, each set of left-out samples being tested with the factors of the others. What
    `jackknife` gives of one image is scaled by the geometric mean of these and of the factor that holds the nominal
    share of the errors in `rehearse`: left-out samples stand in wider gaps than missing ones where lines are skipped
    regularly, and what is rehearsed is smoother than the truth.

    Args:
        method: what solves the slices.
        trials: slices with the sets of samples to leave out.
        level: nominal level of the intervals.
        finish: what brings a slice to the output.
        done: called after each set.

    Raises:
        ValueError: as `measure_misfit` and `find_factors`.
    """
    misfits: list[Misfit] = []
    for trial in trials:
        for number in range(len(trial.sets)):
            misfits.append(measure_misfit(method, trial, number))
            done()
    rehearsed = None
    if not misfits[0].drawn:
        check_spread(misfits)
        ratios = []
        for trial in trials:
            ratios.append(rehearse(method, trial.problem, finish))
            done(), done()
        held = float(np.quantile(torch.cat(ratios).numpy(), level))
        rehearsed = held / student(level, misfits[0].draws)
    factors, tests = _by_left_out(misfits, level, rehearsed)
    after = float(np.mean(tests)) if tests else None
    info = {
        "radius": list(factors.radii),
        "factor": list(factors.missing),
        "factor_measured": list(factors.measured),
        "level": level,
        "coverage_before": float(np.mean([one.covered(None, level) for one in misfits])),
        "coverage_after": after,
        "left_out_samples": sum(one.error.numel() for one in misfits),
        "sets": len(misfits),
        "draws": misfits[0].draws,
        **({} if rehearsed is None else {"rehearsed": rehearsed}),
    }
    return ErrorBars(factors, level, info)


def _by_left_out(
    misfits: list[Misfit], level: float, rehearsed: float | None
) -> tuple[Factors, list[float]]:
    """Factors of all sets, and the coverage of each with those of the others; none where these are too few."""

    def found(some: Sequence[Misfit]) -> Factors:
        factors = find_factors(some)
        return factors if rehearsed is None else factors.between(rehearsed)

    others = [misfits[:n] + misfits[n + 1 :] for n in range(len(misfits))]
    tests = []
    if all(sum(len(one.radius) for one in some) >= LEAST for some in others):
        pairs = zip(misfits, others, strict=True)
        tests = [one.covered(found(some), level) for one, some in pairs]
    return found(misfits), tests
