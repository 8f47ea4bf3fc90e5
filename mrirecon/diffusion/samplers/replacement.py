"""Samplers that replace the measured part of x by the measurement with noise of the current level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    ancestral_step,
    damped_solution,
    initial_image,
    predictor,
    walk,
)
from mrirecon.operators import LinearOperator
from mrirecon.options import Count
from mrirecon.tensors import Streams, complex_noise_like


def replace_range(
    x: Image,
    y: Tensor,
    A: LinearOperator,
    level: float,
    damping: float,
    cg_steps: int,
    generator: Streams,
    weight: float = 1.0,
) -> Image:
    """The image x + weight (A^H A + damping)^-1 A^H (y_s - A x), with y_s = y + s A z the measurement at noise level s.

    For one coil and no damping this sets the measured k-space of x to (1 - weight) A x + weight y_s. For several coils
    no coefficient can be set by itself, and an undamped pseudo-inverse would amplify noise along small singular values.

    Args:
        x: current image.
        y: measured k-space.
        A: its operator.
        level: s, the noise level of x.
        damping: relative to ||A||^2 <= 1.
        cg_steps: conjugate gradients of the inverse.
        generator: random generator of z.
        weight: 1 replaces the measured part of x as far as damping allows.
    """
    noised = y + level * A(complex_noise_like(x, generator)) if level else y
    return x + weight * damped_solution(A, noised - A(x), damping, cg_steps)


@torch.no_grad()
def projection(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    weight: float = 1.0,
    damping: float = 1.0,
    cg_steps: Count = 5,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Song, Shen, Xing & Ermon 2022 (arXiv:2111.08005, Algorithm 2); weight 1 is ScoreSDE's inpainting.

    At each level the measured part of x moves towards the noised measurement; then one reverse diffusion step.

    Args:
        weight: lambda, how far the measured part moves, from 0 to 1.
        damping: damping of the replacement (`replace_range`); 0 is exact for one coil.
        cg_steps: conjugate gradients of the replacement.
    """
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x = replace_range(x, y, A, sigma, damping, cg_steps, generator, weight)
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        x = predictor(x, x0, sigma, lower, generator)
    return x


@torch.no_grad()
def ilvr(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    damping: float = 1.0,
    cg_steps: Count = 5,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Iterative latent variable refinement (Choi et al. 2021, arXiv:2108.02938, Algorithm 1).

    A DDPM step, then the range-space part of x is replaced by that of the noised measurement.

    Args:
        damping: damping of the replacement (`replace_range`).
        cg_steps: conjugate gradients of the replacement.
    """
    return repaint(
        y,
        A,
        denoiser,
        sigmas,
        jump=1,
        repeats=1,
        damping=damping,
        cg_steps=cg_steps,
        start=start,
        generator=generator,
        callback=callback,
    )


@torch.no_grad()
def repaint(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    jump: Count = 5,
    repeats: Count = 2,
    damping: float = 1.0,
    cg_steps: Count = 5,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """RePaint (Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1): `ilvr` with resampling.

    After each run of `jump` levels, noise takes x back to the first level of the run, which is then repeated.

    Args:
        jump: j, number of levels in a run.
        repeats: r, how often each run is done.
        damping: damping of the replacement (`replace_range`).
        cg_steps: conjugate gradients of the replacement.

    Raises:
        ValueError: if jump or repeats is below 1.
    """
    if jump < 1 or repeats < 1:
        raise ValueError(f"jump is {jump} and repeats {repeats}: both must be at least 1")
    x = initial_image(A.H(y), sigmas, start, generator)
    pairs = list(walk(sigmas))
    for first in range(0, len(pairs), jump):
        run = pairs[first : first + jump]
        for again in range(repeats):
            if again:  # back up to the level where the run began
                climb = math.sqrt(run[0][1] ** 2 - run[-1][2] ** 2)
                x = x + climb * complex_noise_like(x, generator)
            for step, sigma, lower in run:
                x0 = denoiser(x, sigma)
                if callback is not None:
                    callback(step, sigma, x, x0)
                x = ancestral_step(x, x0, sigma, lower, generator)
                x = replace_range(x, y, A, lower, damping, cg_steps, generator)
    return x
