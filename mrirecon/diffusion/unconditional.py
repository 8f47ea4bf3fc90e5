"""Images of a prior alone, without data."""

from __future__ import annotations

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.steps import ddim_step, walk
from mrirecon.diffusion.schedules import karras
from mrirecon.tensors import complex_noise_like, stream_of


@torch.no_grad()
def draw_images(
    denoiser: Denoiser,
    count: int,
    shape: tuple[int, int],
    *,
    levels: int = 40,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Complex[Tensor, "count y x"]:
    """Images of the prior by DDIM without new noise, down the noise levels of Karras et al. (2022).

    From noise of the highest level each step goes from x to D + (s' / s) (x - D), D the denoised image.

    Args:
        denoiser: of the prior, with the range of its noise levels.
        count: number of images; each has noise of its own, which does not depend on their number.
        shape: (y, x) of an image.
        levels: noise levels, each an evaluation of the prior.
        seed: of the noise.
        device: where to compute.
    """
    sigmas = karras(levels, *denoiser.sigma_range)
    like = torch.empty(count, *shape, dtype=torch.complex64, device=device)
    streams = [stream_of(seed, n) for n in range(count)]
    x = float(sigmas[0]) * complex_noise_like(like, streams)
    for _, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        x = ddim_step(x0, (x - x0) / sigma, lower, 0.0, streams[0])
    return x
