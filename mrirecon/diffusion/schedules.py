"""Noise levels, highest first; every schedule ends in 0, and samplers go through it in pairs (sigma, next sigma).

Example:
    sigmas = mr.schedules.karras(20, 0.01, 5.0)  # 21 levels, the last is 0
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def karras(
    levels: int, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> Float[Tensor, " sigma"]:
    """Levels with equal steps of sigma^(1 / rho) (Karras et al. 2022, arXiv:2206.00364, equation 5), then 0.

    Raises:
        ValueError: if `levels` is below 1, there are several levels in an empty range, or the range is not positive.
    """
    _check(levels, sigma_min, sigma_max)
    ramp = _ramp(sigma_max ** (1 / rho), sigma_min ** (1 / rho), levels)
    return _ending_in_zero(ramp**rho)


def geometric(levels: int, sigma_min: float, sigma_max: float) -> Float[Tensor, " sigma"]:
    """Levels with a constant ratio, as in the VE SDE (Song et al. 2021, arXiv:2011.13456), then 0.

    Raises as `karras`.
    """
    _check(levels, sigma_min, sigma_max)
    return _ending_in_zero(_ramp(math.log(sigma_max), math.log(sigma_min), levels).exp())


def vp(levels: int, sigma_min: float, sigma_max: float) -> Float[Tensor, " sigma"]:
    """Levels with equal steps of DDPM's time between the two, then 0 (Ho et al. 2020; Song et al. 2021, DDIM).

    The range is clipped to what the linear schedule of DDPM covers, 0.01 to 157. Raises as `karras`.
    """
    _check(levels, sigma_min, sigma_max)
    times = ddpm_time(torch.tensor([sigma_max, sigma_min], dtype=torch.float64))
    ramp = _ramp(float(times[0]), float(times[1]), levels)
    table = ddpm_sigmas().log()
    below = ramp.floor().clamp(0, len(table) - 2).long()
    return _ending_in_zero(torch.lerp(table[below], table[below + 1], ramp - below).exp())


def ddpm_sigmas(steps: int = 1000) -> Float[Tensor, " step"]:
    """Noise levels sqrt((1 - abar) / abar) of DDPM's linear schedule beta = 1e-4 ... 2e-2, lowest first."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, steps, dtype=torch.float64), dim=0)
    return ((1 - kept) / kept).sqrt()


def ddpm_time(sigma: Float[Tensor, "*batch"], steps: int = 1000) -> Float[Tensor, "*batch"]:
    """The step of DDPM's linear schedule with noise level sigma; between two steps fractional, linear in log sigma."""
    table = ddpm_sigmas(steps).log()
    wanted = sigma.cpu().double().log().clamp(float(table[0]), float(table[-1]))
    above = torch.searchsorted(table, wanted.contiguous()).clamp(1, steps - 1)
    low, high = table[above - 1], table[above]
    return (above - 1 + (wanted - low) / (high - low)).to(sigma)  # not every device has float64


SCHEDULES: dict[str, Callable[..., Tensor]] = {"karras": karras, "geometric": geometric, "vp": vp}


def _check(levels: int, sigma_min: float, sigma_max: float) -> None:
    if levels < 1:
        raise ValueError(f"a schedule of {levels} levels is empty: give at least 1")
    if not 0 < sigma_min <= sigma_max < math.inf:
        raise ValueError(
            f"noise levels from {sigma_max:g} down to {sigma_min:g}: "
            "give sigma_max >= sigma_min, both above 0"
        )


def _ramp(first: float, last: float, levels: int) -> Tensor:
    return torch.linspace(first, last, levels, dtype=torch.float64)


def _ending_in_zero(levels: Tensor) -> Tensor:
    if not bool((levels.diff() < 0).all()):
        raise ValueError(
            f"{len(levels)} noise levels all lie at {float(levels[0]):g}: give a range, or 1 level"
        )
    return torch.cat([levels, levels.new_zeros(1)])
