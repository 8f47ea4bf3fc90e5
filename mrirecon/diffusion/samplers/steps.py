"""Steps that samplers share. Notation: level s = `sigma`, next level s' = `lower`, denoised image x0 = D(x, s)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.operators import LinearOperator
from mrirecon.tensors import Streams, complex_noise_like, norm

Callback = Callable[[int, float, Tensor, Tensor], object]  # step, sigma, x, x0
Image = Complex[Tensor, "*batch y x"]
Sigmas = Float[Tensor, " sigma"] | Sequence[float]  # numbers where torch.compile traces


def walk(sigmas: Sigmas) -> Iterator[tuple[int, float, float]]:
    """Triples (step, sigma, lower) of a schedule, highest level first; the last `lower` is 0.

    Raises:
        ValueError: if the schedule is empty, does not decrease, or does not end in 0.
    """
    values = sigmas.tolist() if isinstance(sigmas, Tensor) else list(sigmas)
    if len(values) < 2:
        raise ValueError("the schedule of noise levels is empty: give at least one level and a 0")
    if values[-1] != 0 or not all(a > b for a, b in pairwise(values)):
        raise ValueError(
            f"the schedule must fall from level to level and end in 0; it goes from {values[0]:g} to {values[-1]:g}"
        )
    return ((step, *pair) for step, pair in enumerate(pairwise(values)))


def check_noise(noise_std: float, sampler: str) -> None:
    """Raise ValueError unless the noise level of the data is positive and finite."""
    if not 0 < noise_std < math.inf:
        raise ValueError(
            f"{sampler} weighs the data by its noise: noise_std is {noise_std:g}, it must be above 0"
        )


def check_fractions(**values: float) -> None:
    """Raise ValueError unless each value is between 0 and 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}: it is a share, give a number from 0 to 1")


def initial_image(like: Image, sigmas: Sigmas, start: Image | None, generator: Streams) -> Image:
    """The first x of a sampler: noise of the first level, added to `start` where that is given. Raises as `walk`."""
    _, highest, _ = next(walk(sigmas))
    noise = highest * complex_noise_like(like, generator)
    return noise if start is None else start + noise


def ddim_step(x0: Image, noise: Image, lower: float, fresh: float, generator: Streams) -> Image:
    """DDIM's step x0 + sqrt(s'^2 - t^2) e + t z to level s', with e = `noise` and new noise of t = `fresh`."""
    if lower == 0:
        return x0
    kept = math.sqrt(lower**2 - fresh**2)
    x = torch.add(x0, noise, alpha=kept) if kept else x0
    return torch.add(x, complex_noise_like(x0, generator), alpha=fresh) if fresh else x


def predictor(x: Image, x0: Image, sigma: float, lower: float, generator: Streams) -> Image:
    """Reverse VE diffusion (Song et al. 2021): x + (s^2 - s'^2) score + sqrt(s^2 - s'^2) z; at the last level x0."""
    if lower == 0:
        return x0
    fall = sigma**2 - lower**2
    x = torch.lerp(x, x0, fall / sigma**2)
    return torch.add(x, complex_noise_like(x, generator), alpha=math.sqrt(fall))


def ancestral_noise(sigma: float, lower: float, eta: float) -> float:
    """Standard deviation of DDPM's new noise, t = eta s' sqrt(1 - s'^2 / s^2)."""
    return eta * lower * math.sqrt(1 - (lower / sigma) ** 2)


def ancestral_step(x: Image, x0: Image, sigma: float, lower: float, generator: Streams) -> Image:
    """DDPM's step (Ho et al. 2020, equation 7): x0 + (s'/s)^2 (x - x0) + t z, a sample of level s'."""
    fresh = ancestral_noise(sigma, lower, 1.0)
    return ddim_step(x0, (x - x0) / sigma, lower, fresh, generator)


def with_vjp(denoiser: Denoiser, x: Image, sigma: float) -> tuple[Image, Callable[[Image], Image]]:
    """D(x, s), and the map v -> J^H v with J the Jacobian of D in real coordinates (a vector-Jacobian product)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        x0 = denoiser(x, sigma)
    return x0.detach(), lambda v: torch.autograd.grad(x0, x, v)[0]


def damped_solution(A: LinearOperator, residual: Tensor, damping: float, iterations: int) -> Image:
    """(A^H A + damping)^-1 A^H residual, by conjugate gradients."""
    back = A.H(residual)
    return A.solve(back, damping, iterations=iterations, tolerance=cg_tolerance(back))


def cg_tolerance(x: Tensor) -> float:
    """Relative residual at which conjugate gradients stop: on a singular A^H A more steps amplify rounding errors."""
    return 100 * torch.finfo(x.dtype).eps


def item_norm(x: Tensor, axes: int) -> Tensor:
    """Euclidean norm of the last `axes` axes of each item, kept for broadcasting against images."""
    return norm(x, axes)[..., None, None]
