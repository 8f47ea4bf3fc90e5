"""The log density that a denoiser knows of an image: by the probability-flow ODE, and a lower bound of it.

Images are complex and count two numbers a pixel; n is how many an image has. s0 and S are the lowest and the highest
noise level, and the density is that of images with noise of s0, which for natural images is the finest the prior knows.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.tensors import norm

Images = Complex[Tensor, "batch y x"]
Values = Float[Tensor, " batch"]
ODE_STEPS = 24


def log_density(
    x: Images,
    denoiser: Denoiser,
    low: float,
    high: float,
    *,
    directions: Complex[Tensor, "direction y x"],
    steps: int = ODE_STEPS,
) -> Values:
    """The log density by the probability-flow ODE (Song et al. 2021, arXiv:2011.13456, equation 39), in nats.

    With t = log s: dx/dt = x - D(x, s) and dl/dt = n - tr J, J the Jacobian of D; then
    log p(x) = log N(x(S); 0, S^2) + l. Steps are those of the classical Runge-Kutta method, on a fixed grid, so that
    the result is smooth; gradients flow through it, and each step is computed again for them.

    Args:
        x: images.
        denoiser: the prior, twice differentiable where gradients are wanted.
        low: s0, the first noise level.
        high: S, the last one, at which images are lost in noise.
        directions: v, the mean of v^T J v over which is the trace (`rademacher`, `all_directions`).
        steps: of the ODE, of four evaluations each.
    """
    h = math.log(high / low) / steps

    def slope(x: Images, t: float) -> tuple[Images, Values]:
        with torch.enable_grad():
            given = x if x.requires_grad else x.detach().requires_grad_()
            clean = denoiser(given, math.exp(t))
        traces = [
            (
                v.conj()
                * torch.autograd.grad(clean, given, v.expand_as(clean), create_graph=True)[0]
            ).real.sum((-2, -1))
            for v in directions
        ]
        return x - clean, 2 * x[0].numel() - sum(traces) / len(directions)

    def step(x: Images, total: Values, t: float) -> tuple[Images, Values]:
        x1, l1 = slope(x, t)
        x2, l2 = slope(x + h / 2 * x1, t + h / 2)
        x3, l3 = slope(x + h / 2 * x2, t + h / 2)
        x4, l4 = slope(x + h * x3, t + h)
        return x + h / 6 * (x1 + 2 * (x2 + x3) + x4), total + h / 6 * (l1 + 2 * (l2 + l3) + l4)

    total = torch.zeros(len(x), dtype=x.real.dtype, device=x.device)
    for number in range(steps):
        t = math.log(low) + number * h
        if x.requires_grad:
            x, total = checkpoint(step, x, total, t, use_reentrant=False)
        else:
            x, total = (one.detach() for one in step(x, total, t))
    return total + log_normal(x, high)


def log_density_bound(
    x: Images,
    denoiser: Denoiser,
    low: float,
    high: float,
    *,
    at: Float[Tensor, " batch"],
    noise: Images,
) -> Values:
    """One draw of a lower bound of log p(x) (Song et al. 2021, arXiv:2101.09258, Theorem 3; Feng & Bouman 2023), nats.

    With f(s) = ||D(x + s z, s) - x||^2 / s^2 - n the bound is b(x) = -E[ integral of f ds/s from s0 to S + f(s0) / 2
    - log N(x + S z; 0, S^2) ]. The integral and the f(s0) / 2 of the last denoising are taken together: log s is drawn
    uniformly from log s0 - 1/2 to log S, and what falls below s0 counts there. For the exact denoiser the bound is
    tight, as far as images vary by more than s0.

    Args:
        x: images.
        denoiser: the prior, differentiable where gradients are wanted.
        low: s0, the lowest noise level.
        high: S, the highest one.
        at: numbers from 0 to 1 that say where s lies; uniformly random ones make the mean b.
        noise: z, white noise of variance 1 per real component.
    """
    length = math.log(high / low) + 0.5
    s = low * (length * at - 0.5).clamp_min(0).exp()
    clean = denoiser(x + s[:, None, None] * noise, s)
    n = 2 * x[0].numel()
    f = norm(clean - x, 2).square() / s**2 - n
    return log_normal(x, high) - n / 2 - length * f


def log_normal(x: Images, sigma: float) -> Values:
    """The log density of white noise, log N(x; 0, sigma^2), in nats."""
    n = 2 * x[0].numel()
    return -norm(x, 2).square() / (2 * sigma**2) - n / 2 * math.log(2 * math.pi * sigma**2)


def rademacher(
    like: Complex[Tensor, "*batch y x"], count: int, generator: torch.Generator
) -> Complex[Tensor, "count y x"]:
    """Random signs in both real components, by which Hutchinson estimates a trace."""
    signs = torch.randint(2, (2, count, *like.shape[-2:]), generator=generator) * 2 - 1
    return torch.complex(*signs.to(like.real)).to(like.dtype)


def all_directions(like: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "count y x"]:
    """Every coordinate direction, as long as makes the mean of v^T J v the exact trace."""
    y, x = like.shape[-2:]
    one = torch.eye(y * x, dtype=like.dtype, device=like.device).reshape(-1, y, x)
    return math.sqrt(2 * y * x) * torch.cat([one, 1j * one])
