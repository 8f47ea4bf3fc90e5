"""Samplers that act on each singular value of A separately: DDRM, SNIPS, DDNM+.

Coefficients are those of the right singular vectors V of A = U diag(d) V^H. For d > 0 the measurement of coefficient c
is c + (s_y / d) n. A step is a sum of images, each multiplied by a function of d (`coefficients`): exactly where
the decomposition is cheap (one coil, or a mask of whole lines), by a few steps of Lanczos's method for other masks, or
coil by coil. Noise is drawn as an image, since V is not unique where singular values are equal.

Arguments of all three:

* coils: joint takes all coils together, where the decomposition of A can be computed, and is refused elsewhere. lanczos
  takes them together too, with functions of A^H A by Lanczos's method, for any mask. each restores every coil image by
  itself, whose singular values are its mask, 1 and 0, and combines them by the coil maps; it costs as many network
  evaluations as there are coils, and does without what the coils know of each other. auto is joint where it can be, and
  else lanczos.
* lanczos_steps: applications of A^H A for each image that is filtered; more come nearer to the decomposition.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.coefficients import CoilUse, coefficients
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    check_fractions,
    check_noise,
    initial_image,
    walk,
)
from mrirecon.operators.sense import Sense
from mrirecon.options import Count
from mrirecon.tensors import Streams, complex_noise_like

LANCZOS_STEPS = 5


@torch.no_grad()
def ddrm(
    y: Tensor,
    A: Sense,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    eta: float = 0.85,
    eta_b: float = 1.0,
    weakest: float = 0.05,
    coils: CoilUse = "auto",
    lanczos_steps: Count = LANCZOS_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Denoising diffusion restoration (Kawar, Elad, Ermon & Song 2022, arXiv:2201.11793, equations 7 and 8).

    The noise of the measurement takes the place of new noise at many levels. Where it exceeds the image itself, as for
    the small singular values of many coils, its contributions accumulate over the levels; `weakest` excludes these.

    Args:
        eta: fraction of new noise for coefficients that were not measured, or with more noise than s'.
        eta_b: weight of the measurement for all other coefficients.
        weakest: singular values up to this one (the largest is at most 1) count as not measured; 0 excludes none.
    """
    check_noise(noise_std, "ddrm")
    check_fractions(eta=eta, eta_b=eta_b)
    p = coefficients(y, A, noise_std, start, coils, lanczos_steps)
    x = initial_image(p.back, sigmas, p.start, generator)

    def beginning(d: Tensor) -> tuple[Tensor, Tensor]:
        """Of A^H y and x: the measured coefficients begin around their measurement (equation 7)."""
        r = p.noise_std / torch.where(d > weakest, d, 1)
        known = (d > weakest) & (r <= float(sigmas[0]))
        left = (1 - (r / float(sigmas[0])) ** 2).clamp_min(0).sqrt()
        return torch.where(known, 1 / d**2, 0), torch.where(known, left - 1, 0)

    def step_of(d: Tensor, lower: float, kept: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of A^H (y - A x0), the noise of x and new noise: what measured coefficients have beyond DDIM (equation 8)."""
        r = p.noise_std / torch.where(d > weakest, d, 1)
        clear = (d > weakest) & (r <= lower)
        left = (lower**2 - (eta_b * r) ** 2).clamp_min(0).sqrt()
        pull = torch.where(clear, eta_b, kept / r) / d**2
        measured = torch.where(d > weakest, 1.0, 0.0)
        return (
            torch.where(d > weakest, pull, 0),
            -kept * measured,
            torch.where(clear, left - eta * lower, 0),
        )

    if start is None:
        x = x + p.apply(beginning, p.back, x)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, p.image(x), p.image(x0))
        noise, z = (x - x0) / sigma, complex_noise_like(x, generator)
        kept = math.sqrt(1 - eta**2) * lower
        beyond = partial(step_of, lower=lower, kept=kept)
        x = x0 + kept * noise + eta * lower * z + p.apply(beyond, p.residual(x0), noise, z)
    return p.image(x)


@torch.no_grad()
def snips(
    y: Tensor,
    A: Sense,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    step_size: float = 0.3,
    steps_per_level: Count = 3,
    coils: CoilUse = "auto",
    lanczos_steps: Count = LANCZOS_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """SNIPS (Kawar, Vaksman & Elad 2021, arXiv:2105.14951, Algorithm 1): annealed Langevin dynamics per coefficient.

    The noise of x at level s is taken to contain that of the measurement. A coefficient with less noise than the level
    (s > s_y / d) has variance s^2 - (s_y / d)^2 around its measurement, whatever the prior. One with more has
    the prior's score and that of the measurement, whose variance is (s_y / d)^2 - s^2. The result is D of the last x.

    Args:
        step_size: size of the Langevin steps relative to the variance of each coefficient; stable below 1.
        steps_per_level: tau, Langevin steps in each level.
    """
    check_noise(noise_std, "snips")
    p = coefficients(y, A, noise_std, start, coils, lanczos_steps)

    def step_of(d: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of A^H (y - A x), the prior's score and new noise."""
        seen = d > 0
        variance = (p.noise_std / torch.where(seen, d, 1)) ** 2
        gap = (sigma**2 - variance).abs().clamp_min(1e-4 * sigma**2)
        better = seen & (variance < sigma**2)
        a = torch.where(better, gap, sigma**2)  # where nothing was measured, the prior alone
        a = torch.where(seen & ~better, sigma**2 * gap / (gap + sigma**2), a) * step_size
        pull = torch.where(seen, a / gap / d**2, 0)
        return pull, torch.where(better, 0, a), (2 * a).sqrt()

    x = initial_image(p.back, sigmas, p.start, generator)
    for step, sigma, lower in walk(sigmas):
        for _ in range(steps_per_level):
            x0 = denoiser(x, sigma)
            if callback is not None:
                callback(step, sigma, p.image(x), p.image(x0))
            score, z = (x0 - x) / sigma**2, complex_noise_like(x, generator)
            x = x + p.apply(partial(step_of, sigma=sigma), p.residual(x), score, z)
        if lower == 0:
            x = denoiser(x, sigma)
    return p.image(x)


@torch.no_grad()
def ddnm_plus(
    y: Tensor,
    A: Sense,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    eta: float = 1.0,
    weakest: float = 0.15,
    coils: CoilUse = "auto",
    lanczos_steps: Count = LANCZOS_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """DDNM+ (Wang, Yu & Zhang 2023, arXiv:2212.00490, section 3.3): `ddnm` for noisy data.

    With t = eta s' the noise added at this step, the correction of a coefficient is scaled by T = min(1, t d / s_y).
    The new noise has variance t^2 - (T s_y / d)^2, so that the total with the noise of the measurement is t^2.

    Args:
        eta: new noise per level, as a fraction of s'; the paper's is 0.85.
        weakest: singular values up to this one count as not measured, see `ddrm`.
    """
    check_noise(noise_std, "ddnm_plus")
    check_fractions(eta=eta)
    p = coefficients(y, A, noise_std, start, coils, lanczos_steps)

    def step_of(d: Tensor, fresh: float) -> tuple[Tensor, Tensor]:
        """Of A^H (y - A x0) and new noise."""
        seen = d > weakest
        spread = p.noise_std / torch.where(seen, d, 1)
        trust = torch.where(seen, (fresh / spread).clamp_max(1), 0)
        left = (fresh**2 - (trust * spread) ** 2).clamp_min(0).sqrt()
        return torch.where(seen, trust / d**2, 0), left

    x = initial_image(p.back, sigmas, p.start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, p.image(x), p.image(x0))
        fresh, z = eta * lower, complex_noise_like(x, generator)
        kept = math.sqrt(lower**2 - fresh**2) * (x - x0) / sigma
        x = x0 + kept + p.apply(partial(step_of, fresh=fresh), p.residual(x0), z)
    return p.image(x)
