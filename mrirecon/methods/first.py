"""First images of samplers: those of other methods, and of files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import Method, Problem
from mrirecon.methods.classical import Adjoint, CGSense, L1Wavelet, MinNorm, TotalVariation
from mrirecon.methods.grappa import Grappa
from mrirecon.methods.image_networks import UnrolledPriorMethod
from mrirecon.methods.networks import (
    HUMUSMethod,
    UnrolledMethod,
    VarNetMethod,
)
from mrirecon.tensors import ifft2c

FIRST_IMAGES: dict[str, type[Method]] = {
    method.name: method
    for method in (
        *(Adjoint, MinNorm, CGSense, L1Wavelet, TotalVariation, Grappa),
        *(VarNetMethod, HUMUSMethod, UnrolledPriorMethod),
    )
}
FIRST_FILES = (".npy", ".cfl")  # outputs with the phase of the image


def first_images(
    first: Method | None, problems: Sequence[Problem], scale: float
) -> Complex[Tensor, "slice y x"]:
    """Those of a method, or of the file that the problems have them from, in units of the bright level."""
    images = []
    for problem in problems:
        image = problem.first_image
        if isinstance(first, UnrolledMethod):
            image = _combined(problem, first.refine(problem))
        elif first is not None:
            (solution,) = first.solve([problem])
            kspace = solution.kspace
            image = solution.image if kspace is None else _combined(problem, kspace)
        assert image is not None  # no method of FIRST_IMAGES gives draws
        images.append(image)
    return torch.stack(images) / scale


def _combined(problem: Problem, kspace: Complex[Tensor, "coil y x"]) -> Tensor:
    """k-space without gaps, combined by the sampler's maps: the phase is that of the sampler's image."""
    return (problem.operator.maps.conj() * ifft2c(kspace)).sum(-3)
