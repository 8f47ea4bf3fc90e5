"""DiracDiffusion: undersampling and noise, undone step by step; without its noise it is cold diffusion.

Time t runs on an integer grid, t = n / N. Of a clean image x0 the process knows y_t = A_t x0 + s_t z, where A_0 is the
ideal measurement, A_1 that of the scan with its noise s_1, and every A_t can be computed from those at lower t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

Degrade = Callable[[Tensor, int], Tensor]  # (x, n) -> A_t x
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor | float]]  # (y_t, n) -> Phi, pull
Callback = Callable[[int, Tensor, Tensor], object]  # n, y_t, Phi


def nested_mask(mask: Bool[Tensor, "y x"], t: float) -> Bool[Tensor, "y x"]:
    """M_t: the sampled points, and the share 1 - t of all others that lies nearest to the k-space origin.

    M_1 is the mask itself, M_0 samples everything, and a mask lies inside those of lower t. Of masks of whole columns
    or rows whole ones are added, of others points. Distances are in units of the sides of the grid.

    Raises:
        ValueError: if t is not between 0 and 1.
    """
    if not 0 <= t <= 1:
        raise ValueError(f"t is {t:g}: nested masks are for t from 0 (all points) to 1 (the mask)")
    units = mask
    for axis in (0, 1):
        first = units.narrow(axis, 0, 1)
        units = first if bool((units == first).all()) else units
    rows, columns = ((torch.arange(n).double() - n // 2) / n for n in units.shape)
    distance = (rows[:, None].square() + columns.square()).flatten()
    grown = units.flatten().clone()
    missing = (~grown.cpu()).nonzero()[:, 0]
    order = missing[distance[missing].argsort(stable=True)]
    grown[order[: round((1 - t) * len(order))].to(grown.device)] = True
    return grown.view(units.shape).expand(mask.shape)


def falling_levels(noise_std: float, noise_end: float, steps: int) -> list[float]:
    """s_t for t = 0, 1/N, .. 1: geometric from `noise_end` times the noise of the scan to that noise."""
    return [noise_std * noise_end ** (1 - n / steps) for n in range(steps + 1)]


def reverse(
    y: Tensor,
    degrade: Degrade,
    predict: Predict,
    levels: Sequence[float],
    *,
    noise: Callable[[], Tensor],
    stop: int = 0,
    exact: bool = True,
    callback: Callback | None = None,
) -> Tensor:
    """Go from y_1 to t = 0, or to the prediction at t = stop / N.

    Incremental reconstruction of DiracDiffusion (Fabian, Tinaz & Soltanolkotabi 2023, arXiv:2303.14353), with a network
    Phi(y_t) ~ E[x0 | y_t] and look-ahead increments. Where all levels are 0 it is cold diffusion (Bansal et al. 2022,
    arXiv:2208.09392, Algorithm 2).

    Args:
        y: y_1, the measurement.
        degrade: A_t.
        predict: Phi, and what is subtracted along with the noise (`guided`, or 0).
        levels: s_t from t = 0 to t = 1.
        noise: draws white noise like y.
        stop: 0 gives y_0, which is like a sample; n the prediction at t = n / N, which is near the posterior mean.
        exact: draw the noise with which y_t' has the level s_t' exactly where Phi is x0, as DDPM does; the paper's
            noise sqrt(s_t^2 - s_t'^2) is that of infinitely short steps, and leaves too much.
        callback: called with (n, y_t, Phi).
    """
    for n in range(len(levels) - 1, 0, -1):
        clean, pull = predict(y, n)
        if callback is not None:
            callback(n, y, clean)
        if n == stop:
            return clean
        here = degrade(clean, n)
        ahead = degrade(clean, n - 1) - here
        fresh = fresh_noise(levels[n], levels[n - 1], exact)
        y = step(y, here, ahead, levels[n], levels[n - 1], pull) + fresh * noise()
    return y


def step(
    y: Tensor,
    here: Tensor,
    increment: Tensor | float,
    sigma: float,
    lower: float,
    pull: Tensor | float = 0.0,
) -> Tensor:
    """One step without its new noise: y + increment + (1 - s'^2 / s^2) (A_t Phi - y) - (s^2 - s'^2) pull.

    Args:
        y: y_t.
        here: A_t Phi.
        increment: A_t' Phi - A_t Phi.
        sigma: s = s_t.
        lower: s' = s_t'.
        pull: gradient of the data's misfit, times its weight.
    """
    kept = (lower / sigma) ** 2 if sigma else 1.0
    return y + increment + (1 - kept) * (here - y) - (sigma**2 - lower**2) * pull


def fresh_noise(sigma: float, lower: float, exact: bool) -> float:
    """Standard deviation of the new noise of a step from s to s'; see `reverse`."""
    kept = (lower / sigma if sigma else 1.0) if exact else 1.0
    return kept * math.sqrt(sigma**2 - lower**2)


def guided(
    predict: Callable[[Tensor, int], Tensor], misfit: Callable[[Tensor], Tensor], weight: float
) -> Predict:
    """Phi, and weight / ||r|| times the gradient of ||r||^2 with respect to y_t, of the misfit r = A_1 Phi - y_1.

    `reverse` subtracts it, so that a positive weight lowers the misfit; the code of the paper adds it.

    Raises:
        ValueError: in a step, if the weight is so large that y_t overflowed.
    """
    if weight == 0:
        return lambda y, n: (predict(y, n), 0.0)

    def predicted(y: Tensor, n: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            clean = predict(y, n)
            squared = misfit(clean).abs().square().sum()
            (gradient,) = torch.autograd.grad(squared, y, allow_unused=True)
        if (
            gradient is None
        ):  # y overflowed, so that conjugate gradients gave up before they used it
            raise ValueError(f"guidance is {weight:g}, with which the steps diverge: lower it")
        return clean.detach(), weight * gradient / squared.detach().sqrt().clamp_min(1e-30)

    return predicted
