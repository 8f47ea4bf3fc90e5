"""Volumes of 3D scans, which are transformed as a whole and kept in memory for their slices to be taken from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

KEPT = 2**30  # bytes of samples of all volumes that are kept; one volume is, whatever its size


class SampledVolume(NamedTuple):
    """The samples of a volume after the inverse FFT along its slices, without what lies between them.

    Attributes:
        samples: (slice, coil, sample), samples in the order of the True points of the mask.
        mask: points of both phase encodings that were sampled.
    """

    samples: Complex[Tensor, "slice coil sample"]
    mask: Bool[Tensor, "y x"]

    def plane(self, index: int) -> Complex[Tensor, "coil y x"]:
        """k-space of one slice, zero where not sampled."""
        plane = torch.zeros(self.samples.shape[1], *self.mask.shape, dtype=torch.complex64)
        plane[:, self.mask] = self.samples[index]
        return plane


class KeptVolumes:
    """Volumes by number, as many of those asked for last as `KEPT` bytes of samples hold.

    May be pickled where `build` may; what is kept is not.

    Args:
        build: reads and transforms a volume.
    """

    def __init__(self, build: Callable[[int], SampledVolume]) -> None:
        self._build = build
        self._kept: dict[int, SampledVolume] = {}  # the one that was asked for last is the last

    def __call__(self, volume: int) -> SampledVolume:
        """A volume, built unless it is kept."""
        found = self._kept.pop(volume, None)
        if found is None:
            self._make_room()
            found = self._build(volume)
        self._kept[volume] = found
        return found

    def _make_room(self) -> None:
        """Forget what was asked for longest ago, until a volume like the largest fits too."""
        sizes = {number: one.samples.nbytes for number, one in self._kept.items()}
        while sizes and sum(sizes.values()) + max(sizes.values()) > KEPT:
            oldest = next(iter(sizes))
            del sizes[oldest], self._kept[oldest]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}
