"""How far to trust a learned or sampled image: what the scanner measured of it, and what the prior supplied."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.methods.base import Problem
from mrirecon.methods.summary import Figures
from mrirecon.operators.sense import Sense

ITERATIONS = 30


def null_space_part(A: Sense, x: Complex[Tensor, "y x"], delta: float) -> Complex[Tensor, "y x"]:
    """The part x - P x, P = (A^H A + delta)^-1 A^H A: what of x the measurement would not show above its noise."""
    return delta * A.solve(x, delta, iterations=ITERATIONS, tolerance=1e-4)


def trust_figures(
    problem: Problem,
    x: Complex[Tensor, "y x"],
    predicted: Complex[Tensor, "coil y x"] | None = None,
    signal: Bool[Tensor, "y x"] | None = None,
) -> tuple[Figures, Tensor]:
    """Numbers for the JSON, and the null-space part of the image.

    `data_residual` is ||A x - y|| / ||y||; `residual_over_noise` the root mean square of the misfit of the samples over
    the standard deviation of their noise, 1 where an image explains the data as well as the truth would;
    `null_space_share` is ||x - P x||^2 / ||x||^2 and `null_space_delta` its delta = (s_y / signal)^2, with the signal's
    root mean square per real component over the support of the maps.

    Args:
        problem: the slice, with maps.
        x: its image.
        predicted: what the image says of the measured samples; A x when not given.
        signal: where the signal of delta is taken, instead of the support of the maps.
    """
    A, noise = problem.operator, problem.noise_std
    predicted = A(x) if predicted is None else predicted
    misfit = float(torch.linalg.vector_norm(predicted - problem.kspace))
    samples = 2 * int(problem.mask.sum()) * len(problem.kspace)  # real and imaginary parts
    signal = A.support() if signal is None else signal
    tiny = torch.finfo(torch.float32).tiny
    inside = float(torch.linalg.vector_norm(x * signal)) ** 2 / max(2 * int(signal.sum()), 1)
    delta = noise**2 / max(inside, tiny)
    hidden = null_space_part(A, x, delta)
    share = float(torch.linalg.vector_norm(hidden)) ** 2
    share /= max(float(torch.linalg.vector_norm(x)) ** 2, 1e-300)
    return {
        "data_residual": problem.residual(predicted),
        "residual_over_noise": misfit / math.sqrt(samples) / noise,
        "null_space_share": share,
        "null_space_delta": delta,
    }, hidden
