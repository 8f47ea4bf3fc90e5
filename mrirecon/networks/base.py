"""Base classes of networks.

End-to-end networks map the k-space of a slice and its neighbours to a magnitude image. Priors map a noisy image to an
estimate of its noise, its score or the clean image. Generators map latent variables to an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from mrirecon.coverage import calibration_region
from mrirecon.operators.sense import sense
from mrirecon.tensors import fft2, fft2c, ifft2c, ifftshift, norm, one_by_one, rss, rss_of_each

Combine = Literal["rss", "maps"]


def at_least_one(**numbers: int) -> None:
    """Check options of a network that are counts.

    Raises:
        ValueError: naming the first one that is below 1.
    """
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value}: give at least 1")


class Model(nn.Module, ABC):
    """A network whose weights are saved together with its name and configuration.

    Attributes:
        name: key in `mrirecon.networks.MODELS`.
        config: constructor arguments as plain JSON values; `type(network)(**network.config)` rebuilds the network.
    """

    name: ClassVar[str]
    config: dict[str, Any]

    def __repr__(self) -> str:
        """In one line; `torch.nn.Module.__repr__(network)` lists the layers."""
        options = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return f"{type(self).__name__}({options}): {self.size:,} parameters"

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(one.numel() for one in self.parameters())

    def compile_parts(self) -> None:
        """Compile the real-valued parts, which take most time; torch.compile does not fuse complex arithmetic."""
        # Each image size is compiled once.
        torch._dynamo.config.recompile_limit = 64
        for part in self.parts_to_compile():
            part.compile(dynamic=True)

    @abstractmethod
    def parts_to_compile(self) -> list[nn.Module]:
        """The modules that torch.compile is to fuse: submodules, or the network itself."""


class Prior(Model):
    """A diffusion model of images; `mrirecon.diffusion.denoiser_of` makes it a denoiser.

    Attributes:
        channels: channels of an image: 2 for real and imaginary part, 1 for a magnitude (or 3 for colour).
        predicts: what `forward` returns, and its arguments. noise: epsilon, from x / sqrt(1 + sigma^2) and the step t
            of the linear DDPM schedule, whole or fractional; score: the gradient of the log density, from x and sigma;
            clean: E[x0 | x], from x and sigma.
        sigma_range: lowest and highest noise level it was trained for, in units of its images.
        multiple: the sides of images must be multiples of this; a denoiser pads other images by mirroring.
    """

    channels: int
    predicts: ClassVar[Literal["noise", "score", "clean"]]
    sigma_range: tuple[float, float]
    multiple: int = 1

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch channel y x"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        """The prediction from noisy images and one level per image; `predicts` says of what."""

    def parts_to_compile(self) -> list[nn.Module]:
        return [self]


class Generator(Model):
    """A network that makes complex images from latent variables of unit normal distribution, and its way back.

    Images have real and imaginary part as channels, and the bright level 1.

    Attributes:
        latent: channels of the latent, an image `multiple` times smaller along each side, rounded up.
        multiple: pixels along a side that one of the latent stands for.
    """

    latent: int
    multiple: int

    @abstractmethod
    def forward(
        self, z: Float[Tensor, "batch latent v u"], shape: tuple[int, int]
    ) -> Float[Tensor, "batch 2 y x"]:
        """The images, of this shape (y, x), of these latents."""

    @abstractmethod
    def encode(
        self, image: Float[Tensor, "batch 2 y x"]
    ) -> tuple[Float[Tensor, "batch latent v u"], Float[Tensor, "batch latent v u"]]:
        """Mean and logarithm of the variance of the latents that such images come from."""

    def latent_shape(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        """The shape (latent, v, u) of the latent of an image (y, x)."""
        y, x = (-(-side // self.multiple) for side in shape)
        return self.latent, y, x


class Network(Model):
    """A network that reconstructs one slice, or a batch of slices of one k-space size.

    Attributes:
        adjacent_slices: number of input slices (1, 3, 5, ...); the one in the middle is reconstructed.
    """

    adjacent_slices: int = 1

    def parts_to_compile(self) -> list[nn.Module]:
        """Submodules that compute with real numbers only; none by default."""
        return []

    @abstractmethod
    def forward(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
        crop: tuple[slice, slice],
    ) -> Float[Tensor, "batch h w"]:
        """Magnitude images (batch, h, w), in the units of the k-space.

        Args:
            kspace: centred k-space, zero where not sampled.
            mask: True at sampled points.
            calibration: points that a sensitivity network may use (`calibration_of`).
            crop: rows and columns of the image grid that are the output (`Scan.crop`).
        """


@runtime_checkable
class PredictsKspace(Protocol):
    """A network that gives all of k-space, so that it can be held against samples that it did not see."""

    def refine(
        self,
        kspace: Complex[Tensor, "batch adjacent coil y x"],
        mask: Bool[Tensor, "batch y x"],
        calibration: Bool[Tensor, "batch y x"],
    ) -> Complex[Tensor, "batch coil y x"]:
        """All of k-space as the network has it; arguments as those of `Network.forward`."""
        ...


@dataclass(frozen=True)
class Unrolled:
    """The k-space after the last cascade: k = y - F S p where it was sampled, and y - F S q elsewhere.

    Attributes:
        y: measured k-space.
        mask: True at sampled points.
        maps: coil maps S of the slice.
        p: image whose k-space was subtracted at sampled points.
        q: image whose k-space was subtracted at all other points.
    """

    y: Complex[Tensor, "batch coil y x"]
    mask: Bool[Tensor, "batch y x"]
    maps: Complex[Tensor, "batch coil y x"]
    p: Complex[Tensor, "batch y x"]
    q: Complex[Tensor, "batch y x"]

    def coil_images(self) -> Iterator[Tensor]:
        """The coil images F^-1 k, (batch, coil, y, x): on a CPU one coil after the other, elsewhere all at once."""
        for maps, y in self._parts():
            unfit = self.mask.unsqueeze(1) * fft2c(maps * (self.q - self.p).unsqueeze(1))
            yield ifft2c(y + unfit) - maps * self.q.unsqueeze(1)

    def only(self, number: int) -> Unrolled:
        """That of one item of the batch."""
        one = slice(number, number + 1)
        return Unrolled(self.y[one], self.mask[one], self.maps[one], self.p[one], self.q[one])

    def misfit(self) -> Float[Tensor, " batch"]:
        """||M k - y||, the norm of M F S p; shifts of images and k-space alter no magnitude."""
        mask, p = ifftshift(self.mask).unsqueeze(1), self.p.unsqueeze(1)
        coils = [norm(fft2(maps * p) * mask, 3) for maps, _ in self._parts()]
        return torch.stack(coils).square().sum(0).sqrt()

    def kspace(self) -> Complex[Tensor, "batch coil y x"]:
        """The k-space k."""
        parts = []
        for maps, y in self._parts():
            unfit = self.mask.unsqueeze(1) * fft2c(maps * (self.q - self.p).unsqueeze(1))
            parts.append(y + unfit - fft2c(maps * self.q.unsqueeze(1)))
        return torch.cat(parts, dim=1)

    def rss(self, crop: tuple[slice, slice]) -> Float[Tensor, "batch h w"]:
        """Root of the sum of squares of the cropped coil images."""
        parts = (images[(..., *crop)] for images in self.coil_images())
        if one_by_one(self.y):
            return rss_of_each(coil for images in parts for coil in images.unbind(1))
        return rss(next(parts))

    def matched(self, crop: tuple[slice, slice]) -> Float[Tensor, "batch h w"]:
        """|S^H F^-1 k| / ||S||: the part of the coil images that agrees with the maps, in the units of the RSS."""
        norm = rss(self.maps)
        return (self.combined() / torch.where(norm > 0, norm, 1))[(..., *crop)].abs()

    def combined(self) -> Complex[Tensor, "batch y x"]:
        """The coil-combined image S^H F^-1 k."""
        A = sense(self.maps, self.mask)
        unfit = A.gram(self.q - self.p) - rss(self.maps).square() * self.q
        return A.H(self.y) + unfit

    def _parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps and measured k-space of the coils that are handled at once."""
        coils = 1 if one_by_one(self.y) else self.y.shape[1]
        return zip(self.maps.split(coils, 1), self.y.split(coils, 1), strict=True)


class UnrolledNetwork(Network):
    """A network that refines k-space and combines its coil images.

    Attributes:
        combine: "rss" is the root sum of squares of the published networks, to which the noise of all coils
            contributes; "maps" combines by the coil maps. Weights must be used with the choice they were trained with.
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
            kspace: see `forward`.
            mask: see `forward`.
            calibration: see `forward`.
            calibration_kspace: input of the sensitivity network in place of `kspace`, such as separate calibration
                lines.
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
        """The magnitude image of the result of the cascades, combined as `combine` says."""
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
        """Set `combine`, and add it to `config` unless it is the default; published configurations do not have it."""
        if combine not in ("rss", "maps"):
            raise ValueError(f"combine is {combine!r}: choose rss or maps")
        self.combine = combine
        if combine != "rss":
            self.config["combine"] = combine


def calibration_of(
    mask: Bool[Tensor, "batch y x"], columns: int | None = None
) -> Bool[Tensor, "batch y x"]:
    """The fully sampled centre of each mask, which is the input of the sensitivity networks.

    For masks that vary along x only it is that of fastMRI, which the published weights expect: n columns from
    (x - n + 1) // 2, where n is `columns`, or else twice the shorter of the two sampled runs on either side of column
    x // 2 (0 for a side without gaps), and at least 1. For other masks it is the largest fully sampled rectangle around
    the origin.

    Args:
        mask: True at sampled points.
        columns: number of calibration columns where it is known; None finds it from the mask.

    Raises:
        ValueError: if a mask does not sample the origin of k-space (not checked with `columns`), or `columns` exceeds
            the width.
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
