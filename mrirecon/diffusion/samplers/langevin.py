"""Annealed Langevin dynamics, and RED-diff, which is variational."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    check_noise,
    initial_image,
    walk,
)
from mrirecon.operators import LinearOperator
from mrirecon.options import Count
from mrirecon.tensors import Streams, complex_noise_like


@torch.no_grad()
def langevin(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    step_size: float = 0.3,
    steps_per_level: Count = 3,
    annealing: float = 1.0,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Posterior sampling by annealed Langevin dynamics (Jalal et al. 2021, arXiv:2108.01368, equation 6).

    x <- x + a [score + A^H (y - A x) / (s_y^2 + gamma^2)] + sqrt(2 a) z with a = step_size s^2 and gamma = annealing s,
    constants for all levels, as in the paper's a = alpha s^2 / s_min^2. It is stable for step_size below
    2 / (1 + 1 / annealing^2), which is 1 by default. The result is D of the last x.

    Args:
        step_size: alpha / s_min^2.
        steps_per_level: T, Langevin steps in each level.
        annealing: gamma / s; with a smaller value the data have more weight early, which needs a smaller step_size.
    """
    check_noise(noise_std, "langevin")
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        a = step_size * sigma**2
        variance = noise_std**2 + (annealing * sigma) ** 2
        for _ in range(steps_per_level):
            x0 = denoiser(x, sigma)
            if callback is not None:
                callback(step, sigma, x, x0)
            slope = (x0 - x) / sigma**2 + A.H(y - A(x)) / variance
            x = x + a * slope + math.sqrt(2 * a) * complex_noise_like(x, generator)
        if lower == 0:
            x = denoiser(x, sigma)
    return x


@torch.no_grad()
def red_diff(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    weight: float = 1.0,
    learning_rate: float = 0.03,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """RED-diff (Mardani, Song, Kautz & Vahdat 2023, arXiv:2305.04391, Algorithm 1): a variational fit.

    Adam, with the authors' betas (0.9, 0.99), on mu with the gradient A^H (A mu - y) + lambda s (e(mu + s z) - z),
    e = (x - D) / s, one step per level. The result mu seeks the mode: draws vary far less than the posterior.

    Args:
        weight: lambda; the paper's is 0.25.
        learning_rate: learning rate of Adam, in units of the image; the paper's is 0.1.
        start: first mu; A^H y when not given.
    """
    backprojection = A.H(y)
    mu = (backprojection if start is None else start).clone()
    adam = torch.optim.Adam([mu], lr=learning_rate, betas=(0.9, 0.99))
    for step, sigma, _ in walk(sigmas):
        z = complex_noise_like(mu, generator)
        x = mu + sigma * z
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        mu.grad = A.gram(mu) - backprojection + weight * sigma * ((x - x0) / sigma - z)
        adam.step()
    return mu
