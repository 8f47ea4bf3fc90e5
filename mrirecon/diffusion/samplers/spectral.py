"""Samplers that act on each singular value of A separately: DDRM, SNIPS, DDNM+.

Coefficients are those of the right singular vectors V of A = U diag(d) V^H. For d > 0 the measurement of coefficient c
is c + (s_y / d) n. The decomposition must be known: one coil, or a mask of whole lines (`operators.spectrum`); other
operators raise ValueError. Noise is drawn as an image, since V is not unique where singular values are equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
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
from mrirecon.operators.spectrum import spectrum
from mrirecon.options import Count
from mrirecon.tensors import Streams, complex_noise_like


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
    basis = spectrum(A)
    seen = basis.values > weakest
    spread = noise_std / torch.where(seen, basis.values, 1)  # of the measured coefficients
    measured = basis.measured(A, y) / torch.where(seen, basis.values, 1)
    x = initial_image(A.adjoint(y), sigmas, start, generator)
    if start is None:  # the measured coefficients begin around their measurement (equation 7)
        z = basis.analyse(x) / float(sigmas[0])
        left = (float(sigmas[0]) ** 2 - spread**2).clamp_min(0).sqrt()
        known = seen & (spread <= float(sigmas[0]))
        x = basis.synthesise(torch.where(known, measured + left * z, float(sigmas[0]) * z))
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        c, c0 = basis.analyse(x), basis.analyse(x0)
        z = basis.analyse(complex_noise_like(x, generator))
        kept = math.sqrt(1 - eta**2) * lower
        unseen = c0 + kept * (c - c0) / sigma + eta * lower * z
        noisy = c0 + kept * (measured - c0) / spread + eta * lower * z
        left = (lower**2 - (eta_b * spread) ** 2).clamp_min(0).sqrt()
        clear = (1 - eta_b) * c0 + eta_b * measured + left * z
        c = torch.where(seen, torch.where(spread > lower, noisy, clear), unseen)
        x = basis.synthesise(c)
    return x


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
        steps_per_level: tau.
    """
    check_noise(noise_std, "snips")
    basis = spectrum(A)
    seen = basis.values > 0
    variance = (noise_std / torch.where(seen, basis.values, 1)) ** 2
    measured = basis.measured(A, y) / torch.where(seen, basis.values, 1)
    x = initial_image(A.adjoint(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        gap = (sigma**2 - variance).abs().clamp_min(1e-4 * sigma**2)
        better = seen & (variance < sigma**2)
        a = torch.where(better, gap, sigma**2)  # where nothing was measured, the prior alone
        a = torch.where(seen & ~better, sigma**2 * gap / (gap + sigma**2), a) * step_size
        for _ in range(steps_per_level):
            x0 = denoiser(x, sigma)
            if callback is not None:
                callback(step, sigma, x, x0)
            c = basis.analyse(x)
            score = (basis.analyse(x0) - c) / sigma**2
            slope = torch.where(seen, (measured - c) / gap, 0) + torch.where(better, 0, score)
            c = c + a * slope + (2 * a).sqrt() * basis.analyse(complex_noise_like(x, generator))
            x = basis.synthesise(c)
        if lower == 0:
            x = denoiser(x, sigma)
    return x


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
    basis = spectrum(A)
    seen = basis.values > weakest
    spread = noise_std / torch.where(seen, basis.values, 1)
    measured = basis.measured(A, y) / torch.where(seen, basis.values, 1)
    x = initial_image(A.adjoint(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        noise = (x - x0) / sigma
        if callback is not None:
            callback(step, sigma, x, x0)
        fresh = eta * lower
        trust = torch.where(seen, (fresh / spread).clamp_max(1), 0)
        c0 = basis.analyse(x0)
        c = c0 + trust * (measured - c0) + math.sqrt(lower**2 - fresh**2) * basis.analyse(noise)
        left = (fresh**2 - (trust * spread) ** 2).clamp_min(0).sqrt()
        x = basis.synthesise(c + left * basis.analyse(complex_noise_like(x, generator)))
    return x
