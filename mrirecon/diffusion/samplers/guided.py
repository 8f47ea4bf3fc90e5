"""Samplers guided by a gradient through the denoiser D: J^H v with J the Jacobian of D; A needs no autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.replacement import replace_range
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    ancestral_noise,
    check_fractions,
    check_noise,
    ddim_step,
    initial_image,
    item_norm,
    walk,
    with_vjp,
)
from mrirecon.operators import LinearOperator
from mrirecon.options import Count
from mrirecon.tensors import Streams


@torch.no_grad()
def dps(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    zeta: float = 1.0,
    eta: float = 1.0,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Diffusion posterior sampling (Chung et al. 2023, arXiv:2209.14687, Algorithm 1).

    A DDPM step, then x <- x - zeta grad ||y - A D(x)||. The gradient is that of the norm, not of its square, as in the
    authors' code, and is taken for each image by itself.

    Args:
        zeta: step size for the paper's variance-preserving x / sqrt(1 + s^2); in sigma coordinates it is multiplied by
            sqrt((1 + s^2)(1 + s'^2)).
        eta: fraction of DDPM's new noise; 0 is DDIM.
    """
    check_fractions(eta=eta)
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0, vjp = with_vjp(denoiser, x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        pull = _pull(y, A, x0, vjp, zeta, sigma, lower)
        fresh = ancestral_noise(sigma, lower, eta)
        x = ddim_step(x0, (x - x0) / sigma, lower, fresh, generator) + pull
    return x


@torch.no_grad()
def mcg(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    zeta: float = 1.0,
    eta: float = 1.0,
    damping: float = 1.0,
    cg_steps: Count = 5,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Manifold constrained gradients (Chung, Sim, Ryu & Ye 2022, arXiv:2206.00941, Algorithm 1).

    The step of `dps`, then the measured part of x is replaced by the measurement with noise of the new level.

    Args:
        zeta: step size of the gradient, see `dps`.
        eta: fraction of DDPM's new noise.
        damping: damping of the replacement (`replace_range`).
        cg_steps: conjugate gradients of the replacement.
    """
    check_fractions(eta=eta)
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0, vjp = with_vjp(denoiser, x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        pull = _pull(y, A, x0, vjp, zeta, sigma, lower)
        fresh = ancestral_noise(sigma, lower, eta)
        x = ddim_step(x0, (x - x0) / sigma, lower, fresh, generator) + pull
        x = replace_range(x, y, A, lower, damping, cg_steps, generator)
    return x


@torch.no_grad()
def pigdm(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    prior_variance: float = 0.1,
    eta: float = 1.0,
    cg_steps: Count = 10,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Pseudoinverse-guided diffusion (Song, Vahdat, Mardani & Kautz 2023, ICLR, equation 7 and Algorithm 1).

    x0' = D + s^2 J^H (r^2 A^H A + s_y^2)^-1 A^H (y - A D), then a DDIM step; r^2 = c s^2 / (c + s^2) is the variance
    of x0 given x at level s. The paper has c = 1, its images being of unit variance. The DDIM step takes the noise
    e = (x - x0') / s, because equation 7 changes the score; with the noise of D the data would be counted again at
    every level. (The authors' "adaptive weights" take that of D, and r^2 in place of the s^2 above.)

    Args:
        prior_variance: c, of the images per real component; the paper's is 1.
        eta: fraction of DDPM's new noise.
        cg_steps: conjugate gradients for the inverse.
    """
    check_noise(noise_std, "pigdm")
    check_fractions(eta=eta)
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0, vjp = with_vjp(denoiser, x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        left = prior_variance * sigma**2 / (prior_variance + sigma**2)
        residual = A.H(y - A(x0))
        direction = A.solve(residual, noise_std**2 / left, iterations=cg_steps)
        guided = torch.add(x0, vjp(direction), alpha=sigma**2 / left)
        fresh = ancestral_noise(sigma, lower, eta)
        x = ddim_step(guided, (x - guided) / sigma, lower, fresh, generator)
    return x


@torch.no_grad()
def reconstruction_guidance(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    weight: float | Literal["auto"] = 1.0,
    prior_variance: float = 0.1,
    eta: float = 1.0,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Reconstruction guidance (Ho, Salimans, Gritsenko et al. 2022, Video Diffusion, arXiv:2204.03458, section 3.1).

    x0' = D - (w alpha / 2) grad_z ||y - A D(x)||^2 with the paper's z = alpha x, which is D + w J^H A^H (y - A D), then
    a DDIM step from x0' with the noise e = (x - x0') / s. No constant w is right at all levels: for a Gaussian prior of
    variance c and A^H A = 1 the exact one is s^2 / (r^2 + s_y^2) with r^2 = c s^2 / (c + s^2), and the step `pigdm`'s.

    Args:
        weight: w, constant as in the paper; auto takes the one that is exact for a Gaussian prior.
        prior_variance: c of that, the variance of the images per real component.
        eta: fraction of DDPM's new noise; 0 is DDIM.

    Raises:
        ValueError: if noise_std or weight is not positive, eta is not between 0 and 1, or the schedule is invalid.
    """
    check_noise(noise_std, "reconstruction_guidance")
    check_fractions(eta=eta)
    if weight != "auto" and not weight > 0:
        raise ValueError(f"weight is {weight:g}: the data's weight must be above 0")
    x = initial_image(A.H(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0, vjp = with_vjp(denoiser, x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        left = prior_variance * sigma**2 / (prior_variance + sigma**2)
        w = sigma**2 / (left + noise_std**2) if weight == "auto" else weight
        guided = torch.add(x0, vjp(A.H(y - A(x0))), alpha=w)
        fresh = ancestral_noise(sigma, lower, eta)
        x = ddim_step(guided, (x - guided) / sigma, lower, fresh, generator)
    return x


def _pull(
    y: Tensor,
    A: LinearOperator,
    x0: Image,
    vjp: Callable[[Image], Image],
    zeta: float,
    sigma: float,
    lower: float,
) -> Image:
    """-zeta grad_x ||y - A D(x)||, with zeta for the paper's variance-preserving coordinates (`dps`)."""
    residual = y - A(x0)
    gradient = vjp(A.H(residual)) / item_norm(residual, 3).clamp_min(1e-30)
    return zeta * math.sqrt((1 + sigma**2) * (1 + lower**2)) * gradient
