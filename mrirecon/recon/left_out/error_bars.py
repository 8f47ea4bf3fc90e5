"""Error bars of a reconstruction: standard deviation and interval at each pixel, as wide as left-out samples say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.methods.base import Method, Problem, Solution
from mrirecon.recon.finish import Finish, Result
from mrirecon.recon.left_out.prediction import Trial
from mrirecon.recon.left_out.spread import (
    LEAST,
    Factors,
    deviations_of,
    find_factors,
    measure_misfit,
    student,
    with_image,
)
from mrirecon.tensors import fft2c, ifft2c

SMOOTH = 0.5  # pixels over which the variance is averaged: eight draws alone tell it to 50 %


@dataclass(frozen=True, eq=False)
class ErrorBars:
    """Calibrated error bars of the slices of a scan.

    Attributes:
        factors: found by left-out samples of some slices.
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
        if solution.draws is None and solution.kspace is not None:
            stretched = self.factors.stretch(deviations, problem.mask)
        else:
            stretched = ifft2c(self.factors.stretch(fft2c(deviations), problem.mask))
        figures, extras = dict(result.figures), dict(result.extras)
        if solution.draws is None:
            middle = finish(problem, with_image(solution, centre)).image.abs()
            made = (finish(problem, with_image(solution, centre + one)) for one in stretched)
            moduli = torch.stack([one.image.abs() for one in made])
        else:
            draws = centre + stretched
            named = finish(problem, replace(solution, draws=draws, keep_draws=True)).extras
            moduli = torch.stack([named[f"draw{n}"] for n in range(1, len(draws) + 1)])
            middle = moduli.mean(0)
            extras |= {name: named[name] for name in extras if name.startswith("draw")}
            variance = draws.abs().var(0)[problem.operator.support()]
            figures["posterior_std"] = float(variance.mean().sqrt()) / problem.scale
        std = smooth((moduli - middle).square().sum(0) / (len(moduli) - 1)).sqrt()
        half, modulus = student(self.level, len(moduli)) * std, result.image.abs()
        bars = {"std": std, "low": (modulus - half).clamp_min(0), "high": modulus + half}
        return Result(result.image, figures, {**extras, **bars})


def calibrate(
    method: Method, trials: Sequence[Trial], level: float, done: Callable[[], object] = lambda: None
) -> ErrorBars:
    """Find the factors of a scan, and test them on each set of samples with factors that the others give.

    Args:
        method: what solves the slices.
        trials: slices with the sets of samples to leave out.
        level: nominal level of the intervals.
        done: called after each set.

    Raises:
        ValueError: as `measure_misfit` and `find_factors`.
    """
    misfits = []
    for trial in trials:
        for number in range(len(trial.sets)):
            misfits.append(measure_misfit(method, trial, number))
            done()
    factors = find_factors(misfits)
    others = [misfits[:n] + misfits[n + 1 :] for n in range(len(misfits))]
    after = None
    if all(sum(len(one.radius) for one in some) >= LEAST for some in others):
        tests = [
            one.covered(find_factors(some), level)
            for one, some in zip(misfits, others, strict=True)
        ]
        after = float(np.mean(tests))
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
    }
    return ErrorBars(factors, level, info)


def smooth(image: Float[Tensor, "y x"], pixels: float = SMOOTH) -> Float[Tensor, "y x"]:
    """An image averaged by a Gaussian of so many pixels, as if it went on beyond its border."""
    reach = math.ceil(3 * pixels)
    weight = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    weight = torch.exp(-(weight**2) / (2 * pixels**2))
    weight = (weight / weight.sum())[None, None, None]
    padded = torch.nn.functional.pad(image[None, None], [reach] * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, weight)
    return torch.nn.functional.conv2d(rows, weight.mT)[0, 0]
