"""The image that a sampler has midway, through which gradients flow: what a prior is adapted to a scan by."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.consistent import CG_STEPS, PRIOR_WEIGHT, closest, dds
from mrirecon.diffusion.samplers.steps import Image, initial_image
from mrirecon.operators import LinearOperator


def midway(
    y: Tensor,
    A: LinearOperator,
    denoiser: Denoiser,
    sigmas: Float[Tensor, " sigma"],
    *,
    noise_std: float,
    start: Image,
    generator: torch.Generator,
) -> Image:
    """The image of `dds` at one of its levels, drawn at random: denoised, and made consistent with the data.

    Gradients flow through the denoiser at this level only. What it is given there has white noise of the level, as in
    every sampler, so that what lowers the error of this image makes a better denoiser of it at all levels.

    Args:
        y: k-space, (batch, coil, y, x).
        A: its operator.
        denoiser: the prior, differentiable in its weights.
        sigmas: noise levels, decreasing to 0.
        noise_std: of y per real component.
        start: first image.
        generator: of the level and the noise.
    """
    level = int(torch.randint(len(sigmas) - 1, (1,), generator=generator))
    backprojection, x0, sigma = A.H(y), start, float(sigmas[level])
    if level:
        above = torch.cat([sigmas[:level], sigmas[-1:]])
        x0 = dds(y, A, denoiser, above, noise_std=noise_std, start=start, generator=generator)
    clean = denoiser(initial_image(backprojection, sigmas[level:], x0, generator), sigma)
    weight = PRIOR_WEIGHT * (noise_std / sigma) ** 2
    return closest(A, backprojection, clean, weight, CG_STEPS)
