"""The only interface to a prior: D(x, sigma) = E[x0 | x0 + sigma n = x], n of unit variance per real component."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.brief import brief
from mrirecon.diffusion.schedules import ddpm_time
from mrirecon.tensors import (
    as_channels,
    as_complex,
    center_crop,
    fft2,
    fftshift,
    ifft2,
    ifftshift,
    mirrored_to,
    resized,
)

Sigma: TypeAlias = float | Float[Tensor, " batch"]  # one for all images, or one for each


@runtime_checkable
class Denoiser(Protocol):
    """The posterior mean E[x0 | x] of the clean image x0 given a noisy image x; images are complex, (*batch, y, x).

    It is called with x = x0 + sigma n, where n has variance 1 per real component, and with sigma: one number for all
    images, or one for each.

    Attributes:
        sigma_range: lowest and highest noise level for which it is valid, in units of its images.

    Example:
        class White:  # exact for white images of variance 1 per real component
            sigma_range = (0.0, float("inf"))

            def __call__(self, x, sigma):
                return x / (1 + sigma**2)

        assert isinstance(White(), mr.Denoiser)
    """

    @property
    def sigma_range(self) -> tuple[float, float]: ...

    def __call__(
        self, x: Complex[Tensor, "*batch y x"], sigma: Sigma
    ) -> Complex[Tensor, "*batch y x"]: ...


Estimate = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _NetworkDenoiser:
    """A network on real channels as a denoiser of complex images.

    Attributes:
        network: (x, level) -> estimate, x (batch, channel, y, x), level (batch,).
        sigma_range: lowest and highest noise level.
        channels: 2 for real and imaginary part together; 1 for a prior of magnitudes, applied to both parts alike, as
            Score-MRI does (Chung & Ye 2022).
        multiple: the sides of the network's images are multiples of this; other images are mirrored at the lower and
            right edge up to the next one, and cropped afterwards.
    """

    network: Estimate
    sigma_range: tuple[float, float]
    channels: int = 2
    multiple: int = 1

    __repr__ = brief

    def __post_init__(self) -> None:
        """Refuse networks that do not work on complex images or magnitudes."""
        if self.channels not in (1, 2):
            raise ValueError(
                f"a prior of {self.channels} channels knows no complex images: it needs 2 (real and imaginary part), "
                "or 1 (magnitude)"
            )

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        channels = as_channels(x.reshape(-1, *x.shape[-2:]))
        height, width = x.shape[-2:]
        parts = mirrored_to(channels.reshape(-1, self.channels, height, width), self.multiple)
        if isinstance(sigma, Tensor):
            sigma = sigma.repeat_interleave(2 // self.channels)
        clean = self.clean(parts, sigma)[..., :height, :width]
        return as_complex(clean.reshape(channels.shape)).reshape(x.shape)

    def clean(self, x: Float[Tensor, "batch channel y x"], sigma: Sigma) -> Tensor:
        """The denoised images of noisy ones in the channels of the network; used in training."""
        if isinstance(sigma, Tensor):
            level = sigma.to(x)
            return self._clean(x, level, level[:, None, None, None]).to(x.dtype)
        level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        return self._clean(x, level, sigma).to(x.dtype)

    def to(self, device: torch.device | str) -> _NetworkDenoiser:
        """This denoiser, after moving its network to a device."""
        if isinstance(self.network, torch.nn.Module):
            self.network.to(device)
        return self

    def _clean(self, x: Tensor, level: Tensor, s: float | Tensor) -> Tensor:
        """The denoised images; `level` is sigma for each image, and `s` is sigma in a shape that broadcasts."""
        raise NotImplementedError


class CleanDenoiser(_NetworkDenoiser):
    """The denoiser of a network that predicts the clean image, as in EDM (Karras et al. 2022, arXiv:2206.00364).

    Args:
        network: (x, sigma) -> clean x, with x (batch, channel, y, x) real and sigma (batch,).
        sigma_range: lowest and highest noise level the network knows, in units of its images.
        channels: 2 for real and imaginary part; 1 for a prior of magnitudes, applied to both parts alike.
        multiple: the sides of the network's images are multiples of this; other images are mirrored at the lower and
            right edge up to the next one, and cropped afterwards.

    Raises:
        ValueError: if channels is neither 1 nor 2.

    Example:
        network, card = mr.load_weights("prior_tiny")
        denoiser = mr.CleanDenoiser(network, sigma_range=(0.005, 5.0))
        clean = denoiser(image, 0.1)
    """

    def _clean(self, x: Tensor, level: Tensor, s: float | Tensor) -> Tensor:
        return self.network(x, level)


class ScoreDenoiser(_NetworkDenoiser):
    """The denoiser of a VE score network by Tweedie's formula, D = x + sigma^2 score(x, sigma).

    Arguments and errors are those of `CleanDenoiser`; the network predicts the score, the gradient of the log density
    (Song et al. 2021, arXiv:2011.13456).

    Example:
        def score(x, sigma):  # of white images of variance 1
            return -x / (1 + sigma[:, None, None, None] ** 2)

        denoiser = mr.ScoreDenoiser(score, sigma_range=(0.01, 50.0))
    """

    def _clean(self, x: Tensor, level: Tensor, s: float | Tensor) -> Tensor:
        return x + s**2 * self.network(x, level).to(x.dtype)


class NoiseDenoiser(_NetworkDenoiser):
    """The denoiser of a DDPM network: D = x - sigma epsilon(x / sqrt(1 + sigma^2), t(sigma)) (Ho et al. 2020).

    Arguments and errors are those of `CleanDenoiser`. The network is given the step t of the linear schedule of 1000
    steps (fractional between two of them) and predicts the noise. Further channels, which predict the variance, are
    ignored.

    Example:
        denoiser = mr.NoiseDenoiser(lambda x, step: 0 * x, sigma_range=(0.01, 157.0))  # finds no noise
    """

    def _clean(self, x: Tensor, level: Tensor, s: float | Tensor) -> Tensor:
        if not isinstance(s, Tensor):
            level = torch.full_like(level, s, device="cpu")
        step = ddpm_time(level).to(x)
        noise = self.network(x / (1 + s**2) ** 0.5, step).to(x.dtype)
        return x - s * noise[:, : self.channels]


def denoiser_of(prior: Any) -> _NetworkDenoiser:
    """The denoiser for a network (`mrirecon.networks.Prior`), by what that predicts.

    Raises:
        ValueError: if its images are neither complex nor magnitudes.
    """
    kinds = {"clean": CleanDenoiser, "score": ScoreDenoiser, "noise": NoiseDenoiser}
    return kinds[prior.predicts](prior, tuple(prior.sigma_range), prior.channels, prior.multiple)


@dataclass(frozen=True)
class ScaledDenoiser:
    """D(level x, level sigma) / level: a denoiser trained on images that are `level` times as bright as x."""

    denoiser: Denoiser
    level: float

    __repr__ = brief

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Lowest and highest noise level of the inner denoiser, in units of x."""
        low, high = self.denoiser.sigma_range
        return low / self.level, high / self.level

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        return self.denoiser(self.level * x, self.level * sigma) / self.level

    def to(self, device: torch.device | str) -> ScaledDenoiser:
        """This denoiser with its network on a device."""
        return ScaledDenoiser(on_device(self.denoiser, device), self.level)


@dataclass(frozen=True, eq=False)
class GaussianDenoiser:
    """The exact denoiser of a stationary Gaussian prior; with it the posterior has a closed form.

    Smaller images than `mean` are taken for those whose outer k-space was cut away, which have a Gaussian prior too.

    Attributes:
        mean: mean of the images.
        power: variance per real component of each coefficient of the plain orthonormal FFT (origin at index 0).
        sigma_range: lowest and highest noise level; all levels by default.

    Example:
        prior = mr.GaussianDenoiser(torch.zeros_like(image), torch.ones(image.shape))
        clean = prior(image, 0.1)
    """

    mean: Complex[Tensor, "y x"]
    power: Float[Tensor, "y x"]
    sigma_range: tuple[float, float] = (0.0, math.inf)

    __repr__ = brief

    def __call__(self, x: Tensor, sigma: Sigma) -> Tensor:
        if x.shape[-2:] != self.power.shape:
            return self._smaller((x.shape[-2], x.shape[-1]))(x, sigma)
        s = sigma.reshape(*x.shape[:-2], 1, 1) if isinstance(sigma, Tensor) else sigma
        shrink = self.power / (self.power + s**2)
        return self.mean + ifft2(shrink * fft2(x - self.mean))

    def _smaller(self, shape: tuple[int, int]) -> GaussianDenoiser:
        """The prior of the images `resized` to a smaller shape."""
        share = math.prod(shape) / self.power.numel()
        power = share * ifftshift(center_crop(fftshift(self.power), shape))
        return GaussianDenoiser(resized(self.mean, shape), power, self.sigma_range)

    def to(self, device: torch.device | str) -> GaussianDenoiser:
        """This denoiser with its tensors on a device."""
        return GaussianDenoiser(self.mean.to(device), self.power.to(device), self.sigma_range)


def on_device(denoiser: Denoiser, device: torch.device | str) -> Denoiser:
    """The denoiser on a device; one without a method `to` is returned unchanged."""
    move = getattr(denoiser, "to", None)
    return denoiser if move is None else move(device)
