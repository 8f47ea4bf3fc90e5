"""Samplers that make the denoised image consistent with the data before going on: DDS, DDNM, DiffPIR, PnP-ADMM."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.across import TotalVariationAlongZ
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    cg_tolerance,
    check_fractions,
    check_noise,
    damped_solution,
    ddim_step,
    initial_image,
    walk,
)
from mrirecon.operators import LinearOperator
from mrirecon.options import Count
from mrirecon.tensors import Streams

PRIOR_WEIGHT = 0.4
CG_STEPS = 5


@torch.no_grad()
def dds(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float | None = None,
    prior_weight: float = PRIOR_WEIGHT,
    gamma: float | None = None,
    eta: float = 1.0,
    cg_steps: Count = CG_STEPS,
    z_smoothness: float = 0.0,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Decomposed diffusion sampling (Chung, Lee & Ye 2024, arXiv:2303.05754, Algorithms 2 and 3).

    x0' is the result of `cg_steps` conjugate gradients from D, on A^H A x = A^H y without noise and on
    (1 + gamma A^H A) x = D + gamma A^H y with noise; then a DDIM step with new noise eta s'. The paper's gamma is
    constant. Unless it is given, gamma = (s / s_y)^2 / prior_weight: the error of D is taken to be proportional to s.

    Args:
        noise_std: s_y, of y per real component; None selects the noiseless algorithm, unless gamma is given.
        prior_weight: k in the weight k (s_y / s)^2 of ||x - D||^2 relative to ||y - A x||^2.
        gamma: the paper's constant weight of the data, in place of prior_weight.
        eta: new noise per level, as a fraction of s'; the paper's is 0.85.
        cg_steps: M, conjugate gradients per level.
        z_smoothness: weight of the total variation along the axis before y, the slices of a volume; 0 is none.

    Raises:
        ValueError: if noise_std or gamma is not positive, eta is not between 0 and 1, or the schedule is invalid.
    """
    if gamma is None and noise_std is not None:
        check_noise(noise_std, "dds")
    if gamma is not None and not gamma > 0:
        raise ValueError(f"gamma is {gamma:g}: the data's weight must be above 0")
    check_fractions(eta=eta)
    towards = TotalVariationAlongZ(z_smoothness) if z_smoothness else closest
    backprojection = A.H(y)
    x = initial_image(backprojection, sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        noise = (x - x0) / sigma
        if callback is not None:
            callback(step, sigma, x, x0)
        weight = 0.0
        if gamma is not None:
            weight = 1 / gamma
        elif noise_std is not None:
            weight = prior_weight * (noise_std / sigma) ** 2
        x0 = towards(A, backprojection, x0, weight, cg_steps)
        x = ddim_step(x0, noise, lower, eta * lower, generator)
    return x


@torch.no_grad()
def ddnm(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    damping: float = 1.0,
    cg_steps: Count = CG_STEPS,
    eta: float = 1.0,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Denoising diffusion null-space model (Wang, Yu & Zhang 2023, arXiv:2212.00490, Algorithm 1).

    x0' = D - A^+ (A D - y), then a DDIM step. A^+ is (A^H A + damping)^-1 A^H; undamped it would amplify noise along
    small singular values of A. `ddnm_plus` accounts for noise exactly where A has a known spectrum.

    Args:
        damping: damping of the pseudo-inverse, relative to ||A||^2 <= 1; less is better for data with little noise.
        cg_steps: conjugate gradients of the pseudo-inverse.
        eta: new noise per level, as a fraction of s'; the paper's is 0.85.
    """
    check_fractions(eta=eta)
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        noise = (x - x0) / sigma
        if callback is not None:
            callback(step, sigma, x, x0)
        x0 = x0 - damped_solution(A, A(x0) - y, damping, cg_steps)
        x = ddim_step(x0, noise, lower, eta * lower, generator)
    return x


@torch.no_grad()
def diffpir(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    prior_weight: float = PRIOR_WEIGHT,
    zeta: float = 1.0,
    cg_steps: Count = CG_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """DiffPIR (Zhu et al. 2023, arXiv:2305.08995, Algorithm 1): half-quadratic splitting inside a diffusion.

    x0' = argmin ||y - A x||^2 + rho ||x - D||^2 with rho = lambda (s_y / s)^2, then x0' + s' (sqrt(1 - zeta) e +
    sqrt(zeta) z) with the effective noise e = (x - x0') / s.

    Args:
        prior_weight: lambda; the paper tunes it for each task.
        zeta: fraction of new noise, in variance; the paper's is about 0.3.
        cg_steps: conjugate gradients for x0'.
    """
    check_noise(noise_std, "diffpir")
    check_fractions(zeta=zeta)
    backprojection = A.H(y)
    x = initial_image(backprojection, sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        x0 = closest(A, backprojection, x0, prior_weight * (noise_std / sigma) ** 2, cg_steps)
        fresh = lower * math.sqrt(zeta)
        x = ddim_step(x0, (x - x0) / sigma, lower, fresh, generator)
    return x


@torch.no_grad()
def pnp_admm(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    prior_weight: float = 1.0,
    cg_steps: Count = CG_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Plug-and-play ADMM (Chan, Wang & Elgendy 2016, arXiv:1605.01710), one iteration per level; draws no noise.

    x = argmin ||y - A x||^2 + rho ||x - v + u||^2, v = D(x + u, s), u <- u + x - v, with rho = lambda (s_y / s)^2.

    Args:
        denoiser: the proximal map of the prior.
        sigmas: noise levels for which it denoises, ending in 0.
        prior_weight: lambda.
        cg_steps: conjugate gradients for x.
        start: first v; zero when not given.
        generator: unused, since nothing is drawn.
        callback: called with (step, sigma, x, v).
    """
    check_noise(noise_std, "pnp_admm")
    backprojection = A.H(y)
    v = torch.zeros_like(backprojection) if start is None else start
    u = torch.zeros_like(v)
    for step, sigma, _ in walk(sigmas):
        x = closest(A, backprojection, v - u, prior_weight * (noise_std / sigma) ** 2, cg_steps)
        v = denoiser(x + u, sigma)
        if callback is not None:
            callback(step, sigma, x + u, v)
        u = u + x - v
    return v


def closest(
    A: LinearOperator, backprojection: Image, x0: Image, weight: float, cg_steps: int
) -> Image:
    """The minimiser of ||y - A x||^2 + weight ||x - x0||^2, by conjugate gradients from x0."""
    b = torch.add(backprojection, x0, alpha=weight)
    return A.solve(b, weight, x0, iterations=cg_steps, tolerance=cg_tolerance(x0))
