"""What every network is. End to end: k-space of a slice and its neighbours in, one magnitude image out.

A prior: a noisy image in, and what its noise is, out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from mrirecon.coverage import calibration_region
from mrirecon.tensors import fft2c, ifft2c, rss_of_each

Combine = Literal["rss", "maps"]


def at_least_one(**numbers: int) -> None:
    """Check options of a network.

    Raises:
        ValueError: if one is below 1.
    """
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: give at least 1")


class Model(nn.Module, ABC):
    """A network whose weights travel with its name and configuration.

    Attributes:
        name: key in `mrirecon.networks.MODELS`.
        config: constructor arguments as plain JSON values; `type(network)(**network.config)` rebuilds the network.
    """

    name: ClassVar[str]
    config: dict[str, Any]

    def compile_parts(self) -> None:
        """Let torch.compile fuse the real-valued parts, where the time goes; complex arithmetic it leaves as it is."""
        # Each image size is compiled once.
        torch._dynamo.config.recompile_limit = 64
        for part in self.parts_to_compile():
            part.compile(dynamic=True)

    @abstractmethod
    def parts_to_compile(self) -> list[nn.Module]:
        """Modules inside, or the network itself."""


class Prior(Model):
    """A network that knows what images look like, as diffusion models do; `mrirecon.diffusion` makes it a denoiser.

    Attributes:
        channels: channels of an image: 2 for real and imaginary part, 1 for a magnitude (or 3 for colour).
        predicts: what `forward` gives, and of what. noise: epsilon, from x / sqrt(1 + sigma^2) and the step t of the
            linear DDPM schedule, whole or fractional; score: the gradient of the log density, from x and sigma;
            clean: E[x0 | x], from x and sigma.
        sigma_range: lowest and highest noise level it was trained for, in units of its images.
        multiple: of what the sides of the images must be multiples; a denoiser mirrors others up to that.
    """

    channels: int
    predicts: ClassVar[Literal["noise", "score", "clean"]]
    sigma_range: tuple[float, float]
    multiple: int = 1

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch channel y x"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        """See `predicts`."""

    def parts_to_compile(self) -> list[nn.Module]:
        return [self]


class Network(Model):
    """A network that reconstructs one slice, or a batch of slices of one k-space size.

    Attributes:
        adjacent_slices: slices it looks at (1, 3, 5, ...); the one in the middle is reconstructed.
    """

    adjacent_slices: int = 1

    def parts_to_compile(self) -> list[nn.Module]:
        """Modules of real numbers only; none, unless the network names some."""
        return []

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


@dataclass(frozen=True)
class Unrolled:
    """Where the cascades end: k-space k = y - F S p where it was sampled and y - F S q elsewhere.

    Attributes:
        y: measured k-space.
        mask: sampled points.
        maps: coil maps S of the slice.
        p: what was taken from the measured samples.
        q: what was taken from the missing ones.
    """

    y: Complex[Tensor, "batch coil y x"]
    mask: Bool[Tensor, "batch y x"]
    maps: Complex[Tensor, "batch coil y x"]
    p: Complex[Tensor, "batch y x"]
    q: Complex[Tensor, "batch y x"]

    def coil_images(self) -> Iterator[Tensor]:
        """F^-1 k, one coil (batch, y, x) at a time."""
        for coil_map, coil_kspace in zip(self.maps.unbind(1), self.y.unbind(1), strict=True):
            unfit = self.mask * fft2c(coil_map * (self.q - self.p))
            yield ifft2c(coil_kspace + unfit) - coil_map * self.q

    def kspace(self) -> Complex[Tensor, "batch coil y x"]:
        """The k-space k."""
        return fft2c(torch.stack(list(self.coil_images()), dim=1))

    def rss(self, crop: tuple[slice, slice]) -> Float[Tensor, "batch h w"]:
        """Root of the sum of squares of the cropped coil images."""
        return rss_of_each(image[(..., *crop)] for image in self.coil_images())

    def matched(self, crop: tuple[slice, slice]) -> Float[Tensor, "batch h w"]:
        """|S^H F^-1 k| / ||S||: what of the coil images agrees with the maps, in the units of the RSS."""
        norm = rss_of_each(self.maps.unbind(1))
        return (self.combined() / torch.where(norm > 0, norm, 1))[(..., *crop)].abs()

    def combined(self) -> Complex[Tensor, "batch y x"]:
        """S^H F^-1 k."""
        parts = zip(self.maps.unbind(1), self.coil_images(), strict=True)
        combined = sum(coil_map.conj() * image for coil_map, image in parts)
        assert isinstance(combined, Tensor)
        return combined


class UnrolledNetwork(Network):
    """A network that refines k-space and combines its coil images.

    Attributes:
        combine: rss is the published networks' root sum of squares, which adds up the noise of all coils; maps takes
            only what agrees with the coil maps. Weights belong to the one they were trained with.
    """

    combine: Combine = "rss"

    @abstractmethod
    def unroll(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        calibration_kspace: Complex[Tensor, "batch adjacent coil y x"] | None = None,
    ) -> Unrolled:
        """The middle slice after the last cascade.

        Args:
            kspace: as of `forward`.
            mask: as of `forward`.
            calibration: as of `forward`.
            calibration_kspace: seen by the sensitivity network in place of `kspace`, such as separately acquired lines.
        """

    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        return self.image(self.unroll(kspace, mask, calibration), crop)

    def image(self, end: Unrolled, crop: tuple[slice, slice]) -> Float[Tensor, "batch h w"]:
        """The magnitude image of where the cascades end."""
        return end.rss(crop) if self.combine == "rss" else end.matched(crop)

    def refine(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        calibration_kspace: Complex[Tensor, "batch adjacent coil y x"] | None = None,
    ) -> Complex[Tensor, "batch coil y x"]:
        """The k-space after the last cascade; arguments as those of `unroll`."""
        return self.unroll(kspace, mask, calibration, calibration_kspace).kspace()

    def _combine_by(self, combine: Combine) -> None:
        """Take over the constructor's choice; a published configuration does not know of it."""
        if combine not in ("rss", "maps"):
            raise ValueError(f"combine is {combine!r}: choose rss or maps")
        self.combine = combine
        if combine != "rss":
            self.config["combine"] = combine


def calibration_of(
    mask: Bool[Tensor, "batch y x"], columns: int | None = None
) -> Bool[Tensor, "batch y x"]:
    """The fully sampled centre of each mask, which the sensitivity networks look at.

    Masks that vary along x only follow fastMRI, whose published weights expect exactly this: n columns from
    (x - n + 1) // 2, where n is `columns`, or else twice the sampled run on the shorter side of x // 2 and at least 1
    (so a mask whose right or left half is full has 1). Other masks have their largest centred full rectangle.

    Raises:
        ValueError: if a mask does not sample the origin of k-space (with `columns` it is not looked at), or `columns`
            exceeds the width.
    """
    if columns is not None and not 0 <= columns <= mask.shape[-1]:
        raise ValueError(
            f"{columns} calibration columns of {mask.shape[-1]}: give at most as many as there are"
        )
    calibration = torch.zeros_like(mask, memory_format=torch.contiguous_format)
    for sampled, seen in zip(mask, calibration, strict=True):
        if not columns and not bool(sampled[sampled.shape[0] // 2, sampled.shape[1] // 2]):
            raise ValueError(
                "mask does not sample the origin of k-space, so there is nothing to estimate coil maps from: "
                "use a mask with a fully sampled centre"
            )
        if columns or bool((sampled == sampled[:1]).all()):
            seen[:, _fastmri_columns(sampled[0], columns)] = True
        else:
            region = calibration_region(sampled)
            assert region is not None
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
