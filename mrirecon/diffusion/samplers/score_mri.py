"""Score-MRI (Chung & Ye, Medical Image Analysis 2022, arXiv:2110.05243, Algorithms 2-5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.steps import (
    Callback,
    Image,
    Sigmas,
    initial_image,
    item_norm,
    predictor,
    walk,
)
from mrirecon.operators import sense
from mrirecon.operators.sense import Sense
from mrirecon.options import Count
from mrirecon.tensors import Streams, complex_noise_like, rss

LAST_JOINING = 0.2  # lambda of the hybrid scheme at the last level, relative to the first


@torch.no_grad()
def score_mri(
    y: Tensor,
    A: Sense,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    weight: float = 1.0,
    snr: float = 0.16,
    corrections: int = 1,
    coils: Literal["joint", "separate", "hybrid"] = "joint",
    join_every: Count = 5,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Predictor-corrector sampling; after each of its steps x <- x + weight A^H (y - A x).

    Args:
        weight: lambda of the data consistency.
        snr: r of the corrector's step size a = 2 (r ||z|| / ||score||)^2, with norms per image.
        corrections: Langevin steps per level.
        coils: joint reconstructs the coil-combined image (Algorithm 3 with a SENSE operator). separate reconstructs
            each coil image and combines them by root sum of squares ("SSOS", Algorithm 4), with the phase of their
            combination by the maps. hybrid is separate with a joint step in some levels (Algorithm 5).
        join_every: m, for hybrid: in every m-th level, the first included, coil images are combined by the maps S,
            x <- x + l A^H (y - A x) with l falling linearly from `weight` to a fifth of it, and expanded to S x. The
            paper's m is 50, for 2000 levels.

    Raises:
        ValueError: if join_every is below 1, or the schedule is invalid.
    """
    if join_every < 1:
        raise ValueError(f"join_every is {join_every}: it must be at least 1")
    operator, measured = A, y
    if coils != "joint":  # each coil image is measured by one coil of sensitivity 1
        operator = sense(torch.ones_like(A.maps).unsqueeze(-3), A.mask.unsqueeze(-3))
        y = y.unsqueeze(-3)
        start = None if start is None else A.maps * start.unsqueeze(-3)

    def consistent(x: Image) -> Image:
        return x + weight * operator.adjoint(y - operator(x))

    x = initial_image(operator.adjoint(y), sigmas, start, generator)
    for step, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        if callback is not None:
            callback(step, sigma, x, x0)
        x = consistent(predictor(x, x0, sigma, lower, generator))
        for _ in range(corrections if lower else 0):
            score = (denoiser(x, lower) - x) / lower**2
            x = consistent(corrector(x, score, snr, generator))
        if coils == "hybrid" and step % join_every == 0:
            joint = (A.maps.conj() * x).sum(-3)
            falling = 1 + (LAST_JOINING - 1) * step / (len(sigmas) - 1)
            joint = joint + weight * falling * A.adjoint(measured - A(joint))
            x = A.maps * joint.unsqueeze(-3)
    if coils == "joint":
        return x
    return rss(x) * (A.maps.conj() * x).sum(-3).sgn()


def corrector(x: Image, score: Image, snr: float, generator: Streams) -> Image:
    """A Langevin step x + a score + sqrt(2 a) z with a = 2 (r ||z|| / ||score||)^2; r = snr, norms per image."""
    z = complex_noise_like(x, generator)
    a = 2 * (snr * item_norm(z, 2) / item_norm(score, 2)) ** 2
    return x + a * score + (2 * a).sqrt() * z
