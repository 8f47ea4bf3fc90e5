"""How far to trust a learned or sampled image: what the scanner measured of it, and what the prior supplied."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.base import Figures, Problem
from mrirecon.operators import sense
from mrirecon.operators.quadrature import damped_share
from mrirecon.operators.sense import Sense
from mrirecon.operators.spectrum import has_lines, solve_by_lines
from mrirecon.tensors import norm

# What is said of the null space: nothing; share, which of the energy lies there; true, that and the part as an image.
Trust: TypeAlias = bool | Literal["share"]
ACCURACY = 0.05  # of a share, relative: what is less certain is not given
STEPS = 200  # applications of A^H A for a share; enough for a delta of 1e-4
MAP_STEPS = 5000  # for a map, which is asked for; enough for a delta of 1e-6
SINGLE = 1e-4  # delta from which rounding errors of single precision are far below it
LEAST = 1e-12  # delta below which double precision does not either


def null_space(
    A: Sense, x: Complex[Tensor, "y x"], delta: float, *, whole: bool = False
) -> tuple[float | None, Complex[Tensor, "y x"] | None]:
    """What of an image the measurement would not show above its noise: its share of the energy, and that part itself.

    The part is h = x - P x = delta (A^H A + delta)^-1 x, P = (A^H A + delta)^-1 A^H A. The condition is is 1 / delta,
    and what has not converged is too small: the prior would seem to have supplied nothing. So h is exact where the mask
    varies along one axis. Else the share ||h||^2 / ||x||^2 alone is the middle of two bounds at most `ACCURACY` apart,
    and where the `whole` part is asked for, ||h|| `ACCURACY` / 2 bounds its error. What `STEPS` or `MAP_STEPS` do not
    bring so far is None.
    """
    if delta < LEAST:
        return None, None
    A, image = _precise(A, x, delta)
    if not (whole or has_lines(A)):
        return _share(A, image, delta, STEPS), None
    part = _part(A, image, delta)
    if part is None:
        return None, None
    return _energy(part) / max(_energy(image), 1e-300), part.to(x)


def _share(A: Sense, x: Tensor, delta: float, steps: int) -> float | None:
    low, high = damped_share(A.gram, x, delta, steps=steps, accuracy=ACCURACY)
    return (low + high) / 2 if high <= (1 + ACCURACY) * low else None


def _part(A: Sense, x: Tensor, delta: float) -> Tensor | None:
    """The residual bounds the error, whoever solved: ||delta (u - u*)|| <= ||x - (A^H A + delta) u||."""
    if has_lines(A):
        u = solve_by_lines(A, x, delta)
    elif (share := _share(A, x, delta, MAP_STEPS)) is None:
        return None
    else:
        tolerance = ACCURACY / 2.2 * math.sqrt(share)
        u = A.solve(x, delta, iterations=MAP_STEPS, tolerance=tolerance)
    left = x - A.gram(u) - delta * u
    return delta * u if _energy(left) <= (ACCURACY / 2) ** 2 * _energy(delta * u) else None


def _precise(A: Sense, x: Tensor, delta: float) -> tuple[Sense, Tensor]:
    """Both in double precision where delta is low; an Apple GPU, which has none and factorizes nothing, is left."""
    precision = torch.complex64 if delta >= SINGLE else torch.complex128
    device = "cpu" if x.device.type == "mps" else x.device
    if (precision, torch.device(device)) == (x.dtype, x.device):
        return A, x
    maps, mask = A.maps.to(device, precision), A.mask.to(device)
    return sense(maps, mask), x.to(device, precision)


def _energy(x: Tensor) -> float:
    return float(norm(x)) ** 2


def data_figures(problem: Problem, misfit: Float[Tensor, ""]) -> Figures:
    """What the measured samples say of an image: numbers for the JSON.

    `data_residual` is ||A x - y|| / ||y||, and `residual_over_noise` the root mean square of the misfit of the samples
    over the standard deviation of their noise, where that is known: 1 where an image explains the data as well as the
    truth would.

    Args:
        problem: the slice.
        misfit: ||A x - y||.
    """
    figures: Figures = {"data_residual": float(misfit / norm(problem.kspace))}
    if problem.noise_std:
        samples = 2 * int(problem.mask.sum()) * len(problem.kspace)  # real and imaginary parts
        figures["residual_over_noise"] = float(misfit) / math.sqrt(samples) / problem.noise_std
    return figures


def image_figures(problem: Problem, x: Complex[Tensor, "y x"]) -> Figures:
    """`data_figures` of an image, at the cost of one A x."""
    return data_figures(problem, norm(problem.operator(x) - problem.kspace))


def null_space_figures(
    problem: Problem,
    x: Complex[Tensor, "y x"],
    signal: Bool[Tensor, "y x"] | None = None,
    *,
    trust: Trust,
) -> tuple[Figures, dict[str, Complex[Tensor, "y x"]]]:
    """Numbers for the JSON, and the null-space part of the image by its name, as far as they are asked for.

    `null_space_share` is that of `null_space` and `null_space_delta` its delta = (s_y / signal)^2, with the root mean
    square of the signal per real component over the support of the maps. A share that did not converge is None, a part
    is NaN. They take 15 to 200 applications of A^H A, more than many a network.

    Args:
        problem: the slice, with maps and noise level.
        x: its image.
        signal: where the signal of delta is taken, instead of the support of the maps.
        trust: whether the share, or the part too, is wanted.
    """
    if not trust:
        return {}, {}
    A, whole = problem.operator, trust is True
    signal = A.support() if signal is None else signal
    tiny = torch.finfo(torch.float32).tiny
    mean = _energy(x * signal) / max(2 * int(signal.sum()), 1)
    delta = problem.noise_std**2 / max(mean, tiny)
    share, hidden = null_space(A, x, delta, whole=whole)
    figures: Figures = {"null_space_share": share, "null_space_delta": delta}
    if not whole:
        return figures, {}
    return figures, {"null_space": torch.full_like(x, math.nan) if hidden is None else hidden}


def not_computed(trust: Trust) -> dict[str, Any]:
    """What the JSON says of figures that were not asked for: the option that gives them."""
    return {} if trust else {"not_computed": {"null_space_share": "--method.trust share"}}
