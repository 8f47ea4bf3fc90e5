"""From what a method gives back of a slice to the image that is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.methods.base import Figures, Problem, Solution
from mrirecon.noise import outer_noise
from mrirecon.recon.partial_fourier import PARTIAL_FOURIER
from mrirecon.recon.record import UNEXPLAINED
from mrirecon.scan import Scan
from mrirecon.tensors import (
    as_channels,
    as_complex,
    fftshift,
    ifft2,
    ifft2c,
    norm,
    rss,
    rss_of_each,
)

LARGE_RESIDUAL = 0.13  # from which coil maps are doubted
MOSTLY_NOISE = 0.4  # share of noise in the data from which nothing is concluded


@dataclass(frozen=True, eq=False)
class Result:
    """A slice as it is written.

    Attributes:
        image: cropped to the output, in the units of the coils before prewhitening.
        figures: numbers about it; the JSON has their mean over the slices.
        extras: images that belong to it, such as a standard deviation, by name.
    """

    image: Complex[Tensor, "readout phase"]
    figures: Figures = field(default_factory=dict)
    extras: dict[str, Float[Tensor, "readout phase"]] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The images as real tensors, for a file."""
        return {"": as_channels(self.image.cpu()), **{k: x.cpu() for k, x in self.extras.items()}}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Result:
        """The inverse of `tensors`; the figures are elsewhere."""
        extras = {name: image for name, image in tensors.items() if name}
        return cls(as_complex(tensors[""]), {}, extras)


@dataclass(frozen=True, eq=False)
class Finish:
    """Brings solutions of one scan to the output.

    Attributes:
        scan: as it was solved.
        whitening: matrix that it was prewhitened by.
        partial_fourier: what to do about the side of k-space that was left out.
        doubts_maps: whether a large residual speaks against the coil maps.
    """

    scan: Scan
    whitening: Complex[Tensor, "coil coil"] | None
    partial_fourier: str
    doubts_maps: bool

    def __call__(self, problem: Problem, solution: Solution) -> Result:
        """The slice in the units of the coils before prewhitening, cropped, and everything that belongs to it."""
        gain: float | Tensor = 1.0
        if self.whitening is not None and problem.maps is not None:
            gain = unwhitened_gain(problem.maps, self.whitening)
        of_set = gain if isinstance(gain, float) else gain[0]
        extras = {
            name: self.scan.to_output(part * of_set).abs() for name, part in solution.parts.items()
        }
        figures = dict(solution.figures)
        if solution.draws is not None:  # moduli and moments are those of complex draws
            draws = self.scan.to_output(solution.draws * of_set)
            if len(draws) > 1:
                extras = {"std": draws.abs().std(0), **extras}
            if solution.keep_draws:
                extras |= {f"draw{number}": draw.abs() for number, draw in enumerate(draws, 1)}
            return Result(draws.mean(0), figures, extras)
        if solution.magnitude is not None:
            image = self.scan.to_matrix(solution.magnitude.to(torch.complex64))
        elif solution.kspace is not None:
            image = self.scan.to_output(self._of_coils(solution.kspace))
        else:
            assert solution.image is not None
            image = solution.image * problem.operator.support()
            if "data_residual" not in figures:
                residual = problem.residual(problem.operator(image))
                figures |= {"data_residual": residual, **self._unexplained(problem, residual)}
            if not isinstance(gain, float):
                image = image * (gain if image.ndim > 2 else of_set)
            image = PARTIAL_FOURIER[self.partial_fourier](image, self._acquired(image))
            image = self.scan.to_output(combine_sets(image) if image.ndim > 2 else image)
        return Result(image, figures, extras)

    def _of_coils(self, kspace: Complex[Tensor, "coil y x"]) -> Complex[Tensor, "y x"]:
        """Root of the sum of squares of the coil images."""
        if self.partial_fourier == "zero":
            # Magnitudes do not see the phase ramp of an uncentred k-space: shift one image, not every coil.
            return fftshift(rss_of_each(map(ifft2, kspace))).to(kspace.dtype)
        fill_in = PARTIAL_FOURIER[self.partial_fourier]
        return rss(fill_in(ifft2c(kspace), self._acquired(kspace))).to(kspace.dtype)

    def _acquired(self, like: Tensor) -> Tensor:
        return self.scan.acquired.to(like.device)

    def _unexplained(self, problem: Problem, residual: float) -> Figures:
        """What one estimated set of maps leaves of the data beyond its noise, where the residual is large."""
        single = problem.maps is not None and problem.maps.shape[:2].numel() == len(problem.kspace)
        if not (self.doubts_maps and single and residual > LARGE_RESIDUAL):
            return {}
        numbers = 2 * int(problem.mask.sum()) * len(problem.kspace)
        noise = outer_noise(problem.kspace, problem.mask) * math.sqrt(numbers)
        noise /= float(norm(problem.kspace))
        if noise > MOSTLY_NOISE:
            return {}
        return {UNEXPLAINED: math.sqrt(max(0.0, residual**2 - noise**2))}


def unwhitened_gain(
    maps: Complex[Tensor, "set coil y x"], whitening: Complex[Tensor, "coil coil"]
) -> Float[Tensor, "set y x"]:
    """By what an image of prewhitened coils is multiplied to have the intensities of the coils as they were."""
    coils = torch.linalg.solve(whitening, maps.movedim(-3, -1).unsqueeze(-1))
    return torch.linalg.vector_norm(coils, dim=(-2, -1))


def combine_sets(image: Complex[Tensor, "set y x"]) -> Complex[Tensor, "y x"]:
    """Magnitude: root of the sum of squares over the sets; phase: that of the first set."""
    return rss(image) * image[0].sgn()
