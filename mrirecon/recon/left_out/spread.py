"""Error bars whose width is measured: the spread of draws is scaled until left-out samples lie in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.base import Figures, Method, Problem, Solution
from mrirecon.noise import noise_level
from mrirecon.recon.finish import Finish
from mrirecon.recon.left_out.jackknife import NoSpread, image_of, jackknife
from mrirecon.recon.left_out.prediction import Trial, predict

BANDS = 6  # of distance from the k-space origin
LEAST = 50  # left-out points for a band
LIMITS = (0.2, 10.0)  # of a factor
SMOOTH = 0.5  # pixels over which the variance is averaged: eight draws alone tell it to 50 %
TRUST = 0.5  # how much the square of a factor differs from band to band, relative, before the samples are seen
NO_SPREAD = (
    "draws, or reconstructions from fewer samples, agree where samples were left out: there is no spread to calibrate, "
    "leave out --calibrate"
)


@dataclass(frozen=True)
class Factors:
    """By what deviations from the image are multiplied, in bands of distance from the k-space origin.

    Attributes:
        radii: mean distance of each band, in units of the sides of k-space.
        missing: factors of k-space that was not measured, found by samples that were left out.
        measured: factors of k-space that was measured, where draws that agree with the data deny its noise.
    """

    radii: Sequence[float]
    missing: Sequence[float]
    measured: Sequence[float]

    @classmethod
    def everywhere(cls, factor: float) -> Factors:
        """One factor for all of k-space."""
        return cls([0.0], [factor], [factor])

    def between(self, other: float) -> Factors:
        """The geometric means of these and another factor."""
        missing, measured = (
            [(x * other) ** 0.5 for x in one] for one in (self.missing, self.measured)
        )
        return Factors(self.radii, missing, measured)

    @property
    def width(self) -> float | None:
        """That factor; None where they differ."""
        every = {*self.missing, *self.measured}
        return every.pop() if len(every) == 1 else None

    def stretch(
        self, kspace: Complex[Tensor, "*batch y x"], mask: Bool[Tensor, "y x"]
    ) -> Complex[Tensor, "*batch y x"]:
        """Deviations in k-space times the factors, which are interpolated over the radius."""
        radius = radius_of(kspace.shape).numpy()
        missing, measured = (
            torch.from_numpy(np.interp(radius, self.radii, one)).to(kspace.real)
            for one in (self.missing, self.measured)
        )
        return kspace * torch.where(mask, measured, missing)


@dataclass(frozen=True, eq=False)
class Misfit:
    """How left-out samples of a slice lie to the draws, and the same of the samples that were kept.

    Attributes:
        radius: of each left-out point.
        error: predicted less measured sample.
        variance: of the draws there.
        kept: radius, squared error and variance of the points that were kept, means over the coils.
        noise_std: of the k-space, per real component.
        draws: their number.
        drawn: whether they are draws, and not reconstructions from fewer samples.
    """

    radius: Float[Tensor, " point"]
    error: Complex[Tensor, "coil point"]
    variance: Float[Tensor, "coil point"]
    kept: Float[Tensor, "3 kept"]
    noise_std: float
    draws: int
    drawn: bool = True

    def covered(self, factors: Factors | None, level: float) -> float:
        """Share of the real and imaginary parts that lie in the interval of a nominal level."""
        width = torch.ones_like(self.radius)
        if factors is not None:
            found = np.interp(self.radius.numpy(), factors.radii, factors.missing)
            width = torch.from_numpy(found).to(self.radius)
        spread = student(level, self.draws) ** 2 * width**2 * self.variance / 2
        half = (spread + (normal(level) * self.noise_std) ** 2).sqrt()
        inside = (self.error.real.abs() <= half), (self.error.imag.abs() <= half)
        return float(torch.stack(inside).float().mean())


def measure_misfit(method: Method, trial: Trial, number: int) -> Misfit:
    """Solve a slice without one set of its samples, and hold draws or reconstructions from fewer samples against these.

    Raises:
        ValueError: if the method gives no complex image, one draw only, or the noise is not known.
    """
    problem = trial.without(number)
    (solution,) = method.solve([problem])
    noise = noise_of(problem)
    centre, deviations = deviations_of(method, problem, solution)
    error = predict(problem, with_image(solution, centre)) - trial.problem.kspace
    variance = torch.zeros_like(error.real)
    for one in deviations:
        variance += predict(problem, with_image(solution, one)).abs().square()
    count = len(deviations)
    variance /= count - 1
    points, kept = trial.sets[number].points.to(error.device), problem.mask
    radius = radius_of(error.shape).to(error.device)
    of_kept = [radius, error.abs().square().mean(0), variance.mean(0)]
    return Misfit(
        radius=radius[points].cpu(),
        error=error[:, points].cpu(),
        variance=variance[:, points].cpu(),
        kept=torch.stack([one[kept].cpu() for one in of_kept]),
        noise_std=noise,
        draws=count,
        drawn=solution.draws is not None,
    )


def find_factors(misfits: Sequence[Misfit]) -> Factors:
    """The factors with which draws are as far apart as the measured samples are from their mean.

    A truth that is one more draw has E|mean - y|^2 - 2 noise_std^2 = variance (1 + 1 / draws) at left-out samples. Each
    band is drawn towards what all of them say, the more the less its misfit stands out of the noise. At samples that
    were kept, an image that makes the best of them has the error 2 noise_std^2 - E|mean - y|^2; there no factor is
    below 1.

    Raises:
        ValueError: if too few samples were left out, draws do not differ, or the misfit is not above the noise.
    """
    check_spread(misfits)
    radius = torch.cat([one.radius for one in misfits])
    bands = min(BANDS, len(radius) // LEAST)
    edges = radius.quantile(torch.linspace(0, 1, bands + 1))[1:-1]
    left = torch.zeros(3, bands, dtype=torch.float64)
    kept = torch.zeros(2, bands, dtype=torch.float64)
    for one in misfits:
        noise, coils, further = 2 * one.noise_std**2, len(one.error), 1 + 1 / one.draws
        excess = (one.error.abs().square() - noise).sum(0)
        doubt = torch.full_like(excess, coils * noise**2)
        band = torch.bucketize(one.radius, edges)
        left.index_add_(
            1, band, torch.stack([excess, further * one.variance.sum(0), doubt]).double()
        )
        band = torch.bucketize(one.kept[0], edges)
        kept.index_add_(1, band, torch.stack([noise - one.kept[1], further * one.kept[2]]).double())
    excess, variance, doubt = left
    if not bool((variance > 0).all()):
        raise ValueError(NO_SPREAD)
    whole = float(excess.sum() / variance.sum())
    own = (TRUST * whole) ** 2 / ((TRUST * whole) ** 2 + doubt / variance.square())
    squares = own * excess / variance + (1 - own) * whole
    where = torch.bucketize(radius, edges)
    return Factors(
        radii=[float(radius[where == band].mean()) for band in range(bands)],
        missing=squares.clamp_min(0).sqrt().clamp(*LIMITS).tolist(),
        measured=(kept[0] / kept[1].clamp_min(1e-300))
        .clamp_min(1)
        .sqrt()
        .clamp(1, LIMITS[1])
        .tolist(),
    )


def check_spread(misfits: Sequence[Misfit]) -> None:
    """Refuse what cannot be calibrated.

    Raises:
        ValueError: if too few samples were left out, draws do not differ, or the misfit is not above the noise.
    """
    points = sum(len(one.radius) for one in misfits)
    if points < LEAST:
        raise ValueError(
            f"{points} left-out samples are too few to calibrate with, {LEAST} are needed: leave out --calibrate"
        )
    if not all(bool((one.variance.sum(0) > 0).any()) for one in misfits):
        raise ValueError(NO_SPREAD)
    if sum(float((one.error.abs().square() - 2 * one.noise_std**2).sum()) for one in misfits) <= 0:
        raise ValueError(
            "left-out samples are predicted better than their noise level allows: it is too high, and nothing can be "
            "calibrated (--method.noise_std gives another, or leave out --calibrate)"
        )


def std_of(
    finish: Finish, problem: Problem, solution: Solution, centre: Tensor, deviations: Tensor
) -> Float[Tensor, "readout phase"]:
    """Standard deviation, at each pixel of the output, of an image or k-space with these deviations."""
    images = (
        finish(problem, with_image(solution, x)).image.abs()
        for x in (centre, *(centre + deviations))
    )
    return spread_about(next(images), torch.stack([*images]))


def spread_about(
    middle: Float[Tensor, "y x"], moduli: Float[Tensor, "draw y x"]
) -> Float[Tensor, "y x"]:
    """Standard deviation of so many images, whose variance is averaged over `SMOOTH` pixels."""
    return smooth((moduli - middle).square().sum(0) / (len(moduli) - 1), SMOOTH).sqrt()


def smooth(
    image: Float[Tensor, "y x"], pixels: float, beyond: Literal["nearest", "constant"] = "nearest"
) -> Float[Tensor, "y x"]:
    """An image averaged by a Gaussian of so many pixels, as if it went on beyond its border, or were 0 there."""
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(image.cpu().numpy(), pixels, mode=beyond)).to(image)


def deviations_of(
    method: Method, problem: Problem, solution: Solution
) -> tuple[Tensor, Complex[Tensor, "draw ..."]]:
    """The image or k-space of a solution, and the deviations of draws, or of `jackknife`, from it.

    Raises:
        ValueError: if there is one draw only, or no complex image.
    """
    if solution.draws is None:
        return image_of(solution), torch.stack(list(jackknife(method, problem, solution)))
    if len(solution.draws) < 2:
        raise NoSpread("one draw has no spread to calibrate: give --samples 2 or more")
    centre = solution.draws.mean(0)
    return centre, solution.draws - centre


def with_image(solution: Solution, x: Tensor) -> Solution:
    """A solution of the same kind with this image, or this k-space; without figures."""
    figures: Figures = {"data_residual": 0.0}
    if solution.draws is None and solution.predicted is not None:
        return Solution(kspace=x, figures=figures)
    return Solution(image=x, figures=figures)


def noise_of(problem: Problem) -> float:
    """Noise of a problem per real component, also where its method does not ask for it.

    Raises:
        ValueError: if nothing tells it.
    """
    return problem.noise_std or noise_level(problem.near.scan, problem.place[0])


def student(level: float, draws: int) -> float:
    """Half the width of the interval that holds one more draw, in standard deviations of so many draws."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, draws - 1)) * math.sqrt(1 + 1 / draws)


def normal(level: float) -> float:
    """Half the width of a normal interval, in standard deviations."""
    from scipy.stats import norm

    return float(norm.ppf((1 + level) / 2))


def radius_of(shape: Sequence[int]) -> Float[Tensor, "y x"]:
    """Distance of each point from the k-space origin, in units of the sides of k-space."""
    y, x = ((torch.arange(size) - size // 2) / size for size in shape[-2:])
    return torch.hypot(y[:, None], x)
