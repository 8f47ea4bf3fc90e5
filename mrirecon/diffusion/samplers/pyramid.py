"""Coarse to fine: the centre of k-space is a smaller image, which a prior of any size denoises in less time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrirecon.diffusion.denoisers import Denoiser
from mrirecon.diffusion.samplers.consistent import CG_STEPS, PRIOR_WEIGHT, dds
from mrirecon.diffusion.samplers.steps import Callback, Image, Sigmas, check_noise, walk
from mrirecon.operators import sense
from mrirecon.operators.sense import Sense
from mrirecon.options import Count, Positive
from mrirecon.tensors import Streams, center_crop, resized, rss

EDGE = 0.5  # of the root sum of squares of resampled maps, which falls from 1 to 0 across the edge of their support
Level = tuple[int, float, float]  # step, sigma, and the next one, of `walk`


@torch.no_grad()
def pyramid(
    y: Tensor,
    A: Sense,
    denoiser: Denoiser,
    sigmas: Sigmas,
    *,
    noise_std: float,
    sizes: Count = 3,
    restart: Positive = 0.1,
    stride: Count = 1,
    prior_weight: float = PRIOR_WEIGHT,
    eta: float = 1.0,
    cg_steps: Count = CG_STEPS,
    start: Image | None = None,
    generator: Streams = None,
    callback: Callback | None = None,
) -> Image:
    """Pyramidal diffusion (Ryu & Ye 2022, arXiv:2208.01864), with the steps of `dds`.

    The image of N / 2^h pixels a side has the centre of k-space, 2^-h C_h y, the factor keeping its brightness; noise
    s_y and level s are s_y / 2^h and s / 2^h there. The smallest walks through all levels, and each is the start of the
    next size, which begins at a lower level: x <- x + U_h (x_h - C_h x), U_h filling the outer k-space with zeros. As
    resampled coil maps are not exact, the data of x_h are 2^-h C_h (y - A x) + A_h C_h x where there is an x.

    Args:
        sizes: of the image: 1, 1/2, 1/4 ... of the matrix on each side; 1 is `dds` alone.
        restart: t_f, highest level of the full size, in which noise drowns what the smaller ones lack; twice at half.
        stride: 2 lets all sizes but the smallest take every second level.
        prior_weight: k of `dds`.
        eta: new noise per level, as a fraction of s'.
        cg_steps: conjugate gradients per level.
        callback: of small images it is given the enlarged ones.

    Raises:
        ValueError: if restart is not positive, sizes or stride is below 1, or as `dds`.
    """
    check_noise(noise_std, "pyramid")
    if not restart > 0 or min(sizes, stride) < 1:
        raise ValueError(
            f"restart is {restart:g}, sizes {sizes} and stride {stride}: give a level above 0, and numbers from 1"
        )
    every = list(walk(sigmas))
    matrix, image = (y.shape[-2], y.shape[-1]), start
    for halvings in reversed(range(sizes)):
        shape = (-(-matrix[0] // 2**halvings), -(-matrix[1] // 2**halvings))
        ratio = math.sqrt(math.prod(shape) / math.prod(matrix))
        coarsest = halvings == sizes - 1
        part = every if coarsest else _thinned(every, restart * 2**halvings, stride)
        small, data, begun = _smaller(A, shape), ratio * center_crop(y, shape), None
        rest = torch.zeros_like(y[..., 0, :, :])
        if image is not None:
            begun = resized(image, shape)
            rest = image - resized(begun, matrix)
            data = small(begun) + ratio * center_crop(y - A(image), shape)
        x = dds(
            data,
            small,
            denoiser,
            [*(ratio * sigma for _, sigma, _ in part), 0.0],
            noise_std=ratio * noise_std,
            prior_weight=prior_weight,
            eta=eta,
            cg_steps=cg_steps,
            start=begun,
            generator=generator,
            callback=None if callback is None else _enlarging(callback, part, rest, matrix),
        )
        image = rest + resized(x, matrix)
    assert image is not None
    return image


def _thinned(levels: list[Level], highest: float, stride: int) -> list[Level]:
    """Every `stride`-th of the levels from `highest` down, and the last level always."""
    below = [level for level in levels if level[1] <= highest] or levels[-1:]
    return below[::-1][::stride][::-1]


def _smaller(A: Sense, shape: tuple[int, int]) -> Sense:
    """The operator of the image of this shape: the central k-space, and maps without their outer k-space."""
    if shape == A.mask.shape[-2:]:
        return A
    maps = resized(A.maps, shape)
    size = rss(maps).unsqueeze(-3)
    maps = torch.where(size > EDGE, maps / size.clamp_min(EDGE), 0)
    return sense(maps, center_crop(A.mask, shape))


def _enlarging(
    callback: Callback, levels: list[Level], rest: Image, matrix: tuple[int, int]
) -> Callback:
    """A callback of small images that tells of the whole walk, in levels and images of the full size."""

    def tell(step: int, _: float, x: Tensor, x0: Tensor) -> None:
        step, sigma, _ = levels[step]
        callback(step, sigma, rest + resized(x, matrix), rest + resized(x0, matrix))

    return tell
