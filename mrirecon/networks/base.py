"""What every end-to-end network is: k-space of a slice and its neighbours in, one magnitude image out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from mrirecon.coverage import calibration_region
from mrirecon.tensors import fft2c, rss_of_each


class Network(nn.Module, ABC):
    """A network that reconstructs one slice, or a batch of slices of one k-space size.

    Attributes:
        name: key in `mrirecon.networks.NETWORKS`.
        adjacent_slices: slices it looks at (1, 3, 5, ...); the one in the middle is reconstructed.
        config: constructor arguments as plain JSON values; `type(network)(**network.config)` rebuilds the network.
    """

    name: ClassVar[str]
    adjacent_slices: int = 1
    config: dict[str, Any]

    @abstractmethod
    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        """Magnitude images, in the units of the k-space.

        Args:
            kspace: centred, zero where not sampled.
            mask: sampled points.
            calibration: the part of k-space a sensitivity network may see (`calibration_of`); True everywhere is all.
            crop: rows and columns of the k-space grid that are the output (`Scan.crop`).
        """


class UnrolledNetwork(Network):
    """A network that refines k-space: its image is the root sum of squares (RSS) of the coil images it ends with."""

    @abstractmethod
    def coil_images(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
    ) -> Iterator[Tensor]:
        """Images of the middle slice's coils after the last cascade, one at a time."""

    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        coil_images = self.coil_images(kspace, mask, calibration)
        return rss_of_each(image[(..., *crop)] for image in coil_images)

    def refine(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
    ) -> Complex[Tensor, "batch coil y x"]:
        """The k-space after the last cascade; `forward` is the RSS of its coil images, cropped."""
        return fft2c(torch.stack(list(self.coil_images(kspace, mask, calibration)), dim=1))


def calibration_of(
    mask: Bool[Tensor, "batch y x"], columns: int | None = None
) -> Bool[Tensor, "batch y x"]:
    """The fully sampled centre of each mask, which the sensitivity networks look at.

    Masks that vary along x only follow fastMRI, whose published weights expect exactly this: n columns from
    (x - n + 1) // 2, where n is `columns`, or else twice the sampled run on the shorter side of x // 2 and at least 1
    (so a mask whose right or left half is full has 1). Other masks have their largest centred full rectangle.

    Raises:
        ValueError: if a 2D mask does not sample the origin of k-space, or `columns` exceeds the width.
    """
    if columns is not None and not 0 <= columns <= mask.shape[-1]:
        raise ValueError(
            f"{columns} calibration columns of {mask.shape[-1]}: give at most as many as there are"
        )
    calibration = torch.zeros_like(mask, memory_format=torch.contiguous_format)
    for sampled, seen in zip(mask, calibration, strict=True):
        if columns or bool((sampled == sampled[:1]).all()):
            seen[:, _fastmri_columns(sampled[0], columns)] = True
        else:
            region = calibration_region(sampled)
            if region is None:
                raise ValueError(
                    "mask does not sample the origin of k-space, so there is nothing to estimate coil maps from: "
                    "use a mask with a fully sampled centre"
                )
            seen[region] = True
    return calibration


def _fastmri_columns(line: Tensor, columns: int | None) -> slice:
    width = len(line)
    if not columns:
        runs = []
        for side in (line[: width // 2].flip(0), line[width // 2 :]):
            gaps = torch.nonzero(~side)
            runs.append(int(gaps[0]) if len(gaps) else 0)
        columns = max(2 * min(runs), 1)
    start = (width - columns + 1) // 2
    return slice(start, start + columns)
