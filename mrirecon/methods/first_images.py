"""What a sampler begins at when not at noise: the image of another method, or one that is there as a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.cfl import parts_of
from mrirecon.io.volumes import read_complex
from mrirecon.methods.base import SliceMethod
from mrirecon.methods.classical import Adjoint, CGSense, L1Wavelet, MinNorm, TotalVariation
from mrirecon.methods.grappa import Grappa
from mrirecon.methods.problem import Problem, unwhitened_gain
from mrirecon.methods.unrolled import HUMUS, EndToEnd, VarNet
from mrirecon.methods.unrolled_prior import UnrolledPrior
from mrirecon.nearest import suggest
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c
from mrirecon.weights import Card

CLASSICAL = (Adjoint, MinNorm, CGSense, L1Wavelet, TotalVariation, Grappa)
FIRST_IMAGES: dict[str, type[SliceMethod]] = {
    method.name: method for method in (*CLASSICAL, VarNet, HUMUS, UnrolledPrior)
}
SUFFIXES = (".npy", ".cfl")  # outputs with the phase of the image


@dataclass(frozen=True)
class OfMethod:
    """The image of a method, built once for all slices."""

    method: SliceMethod

    def __call__(self, problem: Problem, whitening: Tensor | None) -> Complex[Tensor, "y x"]:
        solution = self.method.solve(problem)
        if self.method.uses_maps:
            return solution
        assert problem.maps is not None
        # k-space without gaps: combined by the sampler's maps, the phase is that of the sampler's image
        return (problem.maps[0].conj() * ifft2c(solution)).sum(-3)

    def check(self, scan: Scan) -> None:
        """Load the weights of a network before any slice.

        Raises:
            ValueError, OSError: if they are not there.
        """
        _ = self.card

    def files(self) -> dict[str, tuple[Path, ...]]:
        """What the image depends on besides the scan."""
        return self.method.files()

    @property
    def card(self) -> Card | None:
        """Of the weights, if the method is a network."""
        return self.method.trained[1] if isinstance(self.method, EndToEnd) else None


@dataclass(frozen=True)
class OfFile:
    """An image that `recon` wrote; a magnitude gets the phase of the coil-combined zero-filled image.

    Attributes:
        path: .npy or .cfl.
        slices: those that are reconstructed, which the file holds.
    """

    path: str
    slices: slice
    card = None

    def __call__(self, problem: Problem, whitening: Tensor | None) -> Complex[Tensor, "y x"]:
        assert problem.maps is not None
        volume, index = problem.place
        x = self.image[volume, index - (self.slices.start or 0)].to(problem.kspace.device)
        if whitening is not None:
            gain = unwhitened_gain(problem.maps, whitening)[0]
            x = torch.where(gain > 0, x / gain, 0)
        if not bool(x.imag.any()):
            return x.abs() * problem.operator.adjoint(problem.kspace).sgn()
        phase = problem.around.scan.echo_phase()
        return x if phase is None else x * phase.conj().to(x.device)

    def files(self) -> dict[str, tuple[Path, ...]]:
        """What the image depends on besides the scan.

        Raises:
            OSError: if it is not there.
        """
        return {"image": parts_of(Path(self.path))}

    @cached_property
    def image(self) -> Complex[Tensor, "volume slice y x"]:
        """What the file holds."""
        return read_complex(self.path)

    def check(self, scan: Scan) -> None:
        """Refuse a file of another scan.

        Raises:
            ValueError: if its grid is not that of the k-space, or it is damaged.
            OSError: if it cannot be read.
        """
        slices = len(scan.run(self.slices))
        here, there = tuple(self.image.shape), (scan.volumes, slices, *scan.shape[2:])
        if here != there:
            sizes = [" x ".join(map(str, size)) for size in (here, there)]
            raise ValueError(
                f"{self.path} is {sizes[0]} (volume, slice, readout, phase), k-space of {scan.source} is {sizes[1]}: "
                "start from an image of the same slices that is not cropped (--remove_oversampling in both runs)"
            )


def check_start(name: str, start: str) -> None:
    """Refuse what is no first image of the method `name`.

    Raises:
        ValueError: if it is neither noise, nor a method that gives one, nor named as a file with phase.
    """
    if start not in ("noise", *FIRST_IMAGES) and Path(start).suffix.lower() not in SUFFIXES:
        near = suggest(start, ["noise", *FIRST_IMAGES])
        raise ValueError(
            f"{name}: start is {start!r}: {near}, or give a reconstruction as .npy or .cfl"
        )


def first_image(start: str, device: str, slices: slice) -> OfMethod | OfFile | None:
    """The first image of that name or file, which holds these slices; none for noise."""
    if start == "noise":
        return None
    if start in FIRST_IMAGES:
        return OfMethod(FIRST_IMAGES[start](device=device))
    return OfFile(start, slices)
