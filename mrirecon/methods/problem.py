"""One slice to solve, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.methods.summary import Figures
from mrirecon.methods.surroundings import Surroundings
from mrirecon.operators.sense import Sense, sense
from mrirecon.tensors import as_channels, as_complex


@dataclass(frozen=True, eq=False)
class Problem:
    """One slice to solve: y = A x + noise.

    Attributes:
        kspace: (coil, y, x), zero where not sampled.
        mask: sampled points.
        maps: (set, coil, y, x); None for methods that use none.
        scale: bright level of the volume's images (`prepare.volume_scale`), which relative weights refer to.
        noise_std: of the k-space per real component (`noise.noise_level`); 0 for methods that do not ask for it.
        around: neighbouring slices, and calibration data better than the k-space itself.
        place: (volume, slice) in the scan.
    """

    kspace: Complex[Tensor, "coil y x"]
    mask: Bool[Tensor, "y x"]
    maps: Complex[Tensor, "set coil y x"] | None
    scale: float
    around: Surroundings
    place: tuple[int, int] = (0, 0)
    noise_std: float = 0.0

    def residual(self, predicted: Complex[Tensor, "coil y x"]) -> float:
        """||A x - y|| / ||y||: what of the measured data an image does not explain."""
        misfit = torch.linalg.vector_norm(predicted - self.kspace)
        return float(misfit / torch.linalg.vector_norm(self.kspace))

    @cached_property
    def operator(self) -> Sense:
        """A; images are (y, x) with one set of maps and (set, y, x) with several."""
        assert self.maps is not None
        if len(self.maps) == 1:
            return sense(self.maps[0], self.mask)
        return sense(self.maps, self.mask, sets=True)


@dataclass(frozen=True, eq=False)
class Result:
    """A slice solved.

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


def unwhitened_gain(maps: Tensor, whitening: Tensor) -> Float[Tensor, "set y x"]:
    """By what an image of prewhitened coils is multiplied to have the intensities of the coils as they were."""
    coils = torch.linalg.solve(whitening, maps.movedim(-3, -1).unsqueeze(-1))
    return torch.linalg.vector_norm(coils, dim=(-2, -1))
