"""What a method that gives one image errs by on images like its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import Method, Problem, Solution
from mrirecon.operators import Wavelet, sense
from mrirecon.tensors import complex_noise_like, fft2c, ifft2c

PERTURBED = 6  # reconstructions that take the place of draws
DETAIL = (
    0.7  # of the amplitude of the image's own detail; the factors per band set the width afterwards
)
JUMP = 16  # pixels by which the grid of the wavelets is moved, at most


def perturbed(
    method: Method, problem: Problem, solution: Solution, noise_std: float
) -> Iterator[Tensor]:
    """Errors that a method makes on images like its own, in place of the deviations of draws.

    A q + n is added to the data, where the detail q is that of the image with random phases, wavelet by wavelet, and n
    is noise. What the method makes of these data, less q, differs from its image by an error that it would have made:
    with this mask and these coils, and where the image has detail.

    Args:
        method: gives a complex image or k-space.
        problem: the slice.
        solution: what the method made of it.
        noise_std: of the k-space, per real component.

    Returns:
        `PERTURBED` errors, images or k-space of all coils as the method gives them.
    """
    generator = torch.Generator().manual_seed(10007 * problem.place[0] + problem.place[1])
    for _ in range(PERTURBED):
        if solution.kspace is not None:
            detail = more = fft2c(random_detail(ifft2c(solution.kspace), generator))
        else:
            A = problem.operator
            assert solution.image is not None
            detail = random_detail(solution.image * A.support(), generator) * A.support()
            more = sense(A.maps, torch.ones_like(problem.mask), sets=A.sets)(detail)
        noise = noise_std * complex_noise_like(problem.kspace, generator)
        kspace = problem.kspace + problem.mask * (more + noise)
        (made,) = method.solve([replace(problem, kspace=kspace, tell=None)])
        yield image_of(made) - detail - image_of(solution)


def image_of(solution: Solution) -> Tensor:
    """The complex image of a solution, or its k-space where it has one.

    Raises:
        ValueError: if it has neither.
    """
    found = solution.image if solution.kspace is None else solution.kspace
    if found is None:
        raise ValueError("a magnitude image has no k-space: its error cannot be calibrated")
    return found


def random_detail(
    image: Complex[Tensor, "*batch y x"], generator: torch.Generator
) -> Complex[Tensor, "*batch y x"]:
    """The detail of an image with random phases of its wavelets, the same for all coils and sets."""
    height, width = image.shape[-2:]
    levels = max(0, int(math.log2(min(height, width) / 8)))
    jump = torch.randint(0, JUMP, (2,), generator=generator).tolist()
    turn = 2 * math.pi * torch.rand(height, width, generator=generator)
    phases = torch.polar(torch.full_like(turn, DETAIL), turn)
    # What is left of the coarsest level is no detail.
    phases[: -(-height // 2**levels), : -(-width // 2**levels)] = 0
    W = Wavelet((height, width), levels)
    moved = W.H(W(image.roll(jump, (-2, -1))) * phases.to(image))
    return moved.roll([-one for one in jump], (-2, -1))
