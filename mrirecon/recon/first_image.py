"""An image that `recon` wrote, to begin with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.volumes import read_complex
from mrirecon.methods.base import Problem
from mrirecon.recon.finish import unwhitened_gain
from mrirecon.scan import Scan


@dataclass(frozen=True, eq=False)
class FirstImage:
    """The image of a file, slice by slice.

    Attributes:
        image: of the slices that are reconstructed.
        first: number of the first of them.
        phases: of each volume: what the k-space of the file had and the rolled one has not (`Scan.echo_phase`).
    """

    image: Complex[Tensor, "volume slice y x"]
    first: int
    phases: list[Complex[Tensor, "y x"] | None]

    @classmethod
    def read(cls, path: str, scan: Scan, slices: range) -> FirstImage:
        """The image of a file for these slices of a scan.

        Raises:
            ValueError: if its grid is not that of the k-space, or it is damaged.
            OSError: if it cannot be read.
        """
        image = read_complex(path)
        here, there = tuple(image.shape), (scan.volumes, len(slices), *scan.shape[2:])
        if here != there:
            sizes = [" x ".join(map(str, size)) for size in (here, there)]
            raise ValueError(
                f"{path} is {sizes[0]} (volume, slice, readout, phase), k-space of {scan.source} is {sizes[1]}: "
                "start from an image of the same slices that is not cropped (--remove_oversampling in both runs)"
            )
        phases = [scan.echo_phase(volume) for volume in range(scan.volumes)]
        return cls(image, slices.start, phases)

    def of(self, problem: Problem, whitening: Tensor | None) -> Complex[Tensor, "y x"]:
        """In the units of the problem; a magnitude gets the phase of the coil-combined zero-filled image."""
        assert problem.maps is not None
        volume, index = problem.place
        x = self.image[volume, index - self.first].to(problem.kspace.device)
        if whitening is not None:
            gain = unwhitened_gain(problem.maps, whitening)[0]
            x = torch.where(gain > 0, x / gain, 0)
        if not bool(x.imag.any()):
            return x.abs() * problem.operator.adjoint(problem.kspace).sgn()
        phase = self.phases[volume]
        return x if phase is None else x * phase.conj().to(x.device)
