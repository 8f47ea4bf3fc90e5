"""A normalizing flow of complex images, RealNVP, whose density is known: x = g(z), z white.

log q(x) = log N(z; 0, I) - log |det dg/dz|, in real coordinates: a complex pixel counts as two numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from mrirecon.networks.base import at_least_one
from mrirecon.tensors import as_channels, as_complex, complex_noise_like, fft2, ifft2, norm

Size: TypeAlias = tuple[int, int]
Couplings = Literal["dense", "convolutional"]
# What a layer gives, and the log determinant of its Jacobian in the direction from z to x.
Moved: TypeAlias = tuple[Tensor, Float[Tensor, " batch"]]
# Sums and differences of four neighbours: orthonormal, symmetric, and its own inverse.
HAAR = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
SMALLEST = 8  # pixels along a side that is still halved


class Flow(nn.Module):
    """RealNVP (Dinh, Sohl-Dickstein & Bengio 2017, arXiv:1605.08803) of complex images, ending in an affine layer.

    Before training it is x = mean + spread z. Random numbers come from one generator alone.

    Args:
        size: sides of the images.
        couplings: dense ones see all pixels, convolutional ones the neighbours of each at several scales.
        steps: couplings, of each scale where they are convolutional.
        width: of the hidden layers of their networks.
        scales: how often the image is halved, as long as a side has 8 pixels; of convolutional couplings.
        mean: the image to begin with.
        spread: standard deviation of each real component in the beginning.
        generator: of the weights.
    """

    def __init__(
        self,
        size: Size,
        *,
        couplings: Couplings,
        steps: int,
        width: int,
        scales: int = 1,
        mean: Complex[Tensor, "y x"] | None = None,
        spread: float = 1.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        at_least_one(steps=steps, width=width, scales=scales)
        if couplings == "dense":
            self.body: _Dense | _Scale = _Dense(2 * math.prod(size), steps, width, generator)
        else:
            scales = max(1, min(scales, 1 + int(math.log2(max(min(size), 2) / SMALLEST))))
            self.body = _Scale(scales, steps, width, generator)
        self.end = Affine(size, mean, spread)

    def draw(
        self, count: int, generator: torch.Generator | Sequence[torch.Generator]
    ) -> Complex[Tensor, "count y x"]:
        """White noise z for so many images."""
        like = torch.empty(
            count, *self.end.size, dtype=torch.complex64, device=self.end.mean.device
        )
        return complex_noise_like(like.to(as_complex(self.end.mean).dtype), generator)

    def forward(
        self, z: Complex[Tensor, "batch y x"]
    ) -> tuple[Complex[Tensor, "batch y x"], Float[Tensor, " batch"]]:
        """Images g(z), and log |det dg/dz| of each."""
        u, inner = self.body(as_channels(z))
        x, outer = self.end(as_complex(u))
        return x, inner + outer

    def inverse(
        self, x: Complex[Tensor, "batch y x"]
    ) -> tuple[Complex[Tensor, "batch y x"], Float[Tensor, " batch"]]:
        """The z of images, and log |det dg/dz| of each."""
        u, outer = self.end.inverse(x)
        z, inner = self.body.inverse(as_channels(u))
        return as_complex(z), inner + outer

    def log_density(self, x: Complex[Tensor, "batch y x"]) -> Float[Tensor, " batch"]:
        """The log density of each image, log q(x), in nats."""
        z, log_det = self.inverse(x)
        return -norm(z, 2).square() / 2 - z[0].numel() * math.log(2 * math.pi) - log_det


class Affine(nn.Module):
    """x = mean + a F^-1 b F z: one scale a for each pixel, one gain b for each frequency of the plain FFT."""

    def __init__(self, size: Size, mean: Complex[Tensor, "y x"] | None, spread: float) -> None:
        super().__init__()
        self.size = size
        begun = torch.zeros(2, *size) if mean is None else as_channels(mean.detach().clone())
        self.mean = nn.Parameter(begun)
        self.log_scale = nn.Parameter(torch.full_like(begun[0], math.log(spread)))
        self.log_gain = nn.Parameter(torch.zeros_like(begun[0]))

    def forward(self, z: Tensor) -> Moved:
        u = ifft2(self.log_gain.exp() * fft2(z))
        return as_complex(self.mean) + self.log_scale.exp() * u, self._log_det(z)

    def inverse(self, x: Tensor) -> Moved:
        u = (x - as_complex(self.mean)) * (-self.log_scale).exp()
        return ifft2((-self.log_gain).exp() * fft2(u)), self._log_det(x)

    def _log_det(self, x: Tensor) -> Float[Tensor, " batch"]:
        return (2 * (self.log_scale.sum() + self.log_gain.sum())).expand(len(x))


class Coupling(nn.Module):
    """Half of the channels, scaled and shifted by what a network makes of the others: v <- v exp(tanh s(u)) + t(u).

    Args:
        network: from half of the channels to twice as many, zero in the beginning.
        channels: of what is coupled.
        generator: of which channels are moved.
    """

    order: Tensor
    back: Tensor

    def __init__(self, network: nn.Module, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = network
        order = torch.randperm(channels, generator=generator)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor) -> Moved:
        kept, moved = x[:, self.order].chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        x = torch.cat([kept, moved * log_scale.exp() + shift], 1)
        return x[:, self.back], log_scale.flatten(1).sum(1)

    def inverse(self, x: Tensor) -> Moved:
        kept, moved = x[:, self.order].chunk(2, 1)
        log_scale, shift = self._scale_and_shift(kept)
        x = torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1)
        return x[:, self.back], log_scale.flatten(1).sum(1)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.network(kept).chunk(2, 1)
        return log_scale.tanh(), shift


class _Chain(nn.Module):
    """Couplings one after the other."""

    def __init__(self, couplings: Sequence[Coupling]) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(couplings)

    def forward(self, x: Tensor) -> Moved:
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return x, total

    def inverse(self, x: Tensor) -> Moved:
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for coupling in reversed([*self.couplings]):
            assert isinstance(coupling, Coupling)
            x, log_det = coupling.inverse(x)
            total = total + log_det
        return x, total


class _Dense(_Chain):
    """Couplings of all numbers of an image, by networks of two hidden layers."""

    def __init__(self, numbers: int, steps: int, width: int, generator: torch.Generator) -> None:
        def network() -> nn.Module:
            sizes = [(numbers // 2, width), (width, width), (width, numbers)]
            return _network([skip_init(nn.Linear, *pair) for pair in sizes], generator)

        super().__init__([Coupling(network(), numbers, generator) for _ in range(steps)])

    def forward(self, x: Tensor) -> Moved:
        moved, log_det = super().forward(x.flatten(1))
        return moved.reshape(x.shape), log_det

    def inverse(self, x: Tensor) -> Moved:
        moved, log_det = super().inverse(x.flatten(1))
        return moved.reshape(x.shape), log_det


class _Scale(nn.Module):
    """Couplings of the bands of a Haar transform, the coarse one of which came through coarser scales before.

    An odd last row or column goes past them.
    """

    def __init__(self, scales: int, steps: int, width: int, generator: torch.Generator) -> None:
        super().__init__()

        def network() -> nn.Module:
            sizes = [(4, width, 3), (width, width, 1), (width, 8, 3)]
            layers = [
                skip_init(nn.Conv2d, inputs, outputs, k, padding=k // 2)
                for inputs, outputs, k in sizes
            ]
            return _network(layers, generator)

        self.coarser = _Scale(scales - 1, steps, width, generator) if scales > 1 else None
        self.chain = _Chain([Coupling(network(), 8, generator) for _ in range(steps)])

    def forward(self, x: Tensor) -> Moved:
        bands, log_det = haar(x), torch.zeros(len(x), dtype=x.dtype, device=x.device)
        if self.coarser is not None:
            coarse, log_det = self.coarser(bands[:, :2])
            bands = torch.cat([coarse, bands[:, 2:]], 1)
        bands, own = self.chain(bands)
        return unhaar(bands, x), log_det + own

    def inverse(self, x: Tensor) -> Moved:
        bands, log_det = self.chain.inverse(haar(x))
        if self.coarser is not None:
            coarse, inner = self.coarser.inverse(bands[:, :2])
            bands, log_det = torch.cat([coarse, bands[:, 2:]], 1), log_det + inner
        return unhaar(bands, x), log_det


def haar(x: Float[Tensor, "batch 2 y x"]) -> Float[Tensor, "batch 8 h w"]:
    """The four bands of blocks of 2 x 2 pixels, both channels of the mean first; orthonormal."""
    y, x_side = (n // 2 * 2 for n in x.shape[-2:])
    blocks = F.pixel_unshuffle(x[..., :y, :x_side], 2).unflatten(1, (2, 4))
    return torch.einsum("kl,bclyx->bkcyx", _haar_matrix(x), blocks).flatten(1, 2)


def unhaar(bands: Float[Tensor, "batch 8 h w"], like: Float[Tensor, "batch 2 y x"]) -> Tensor:
    """Inverse of `haar`; an odd last row or column is that of `like`."""
    blocks = torch.einsum("kl,blcyx->bckyx", _haar_matrix(like), bands.unflatten(1, (4, 2)))
    even = F.pixel_shuffle(blocks.flatten(1, 2), 2)
    y, x = even.shape[-2:]
    rows = torch.cat([even, like[..., :y, x:]], -1)
    return torch.cat([rows, like[..., y:, :]], -2)


def _haar_matrix(like: Tensor) -> Float[Tensor, "4 4"]:
    return torch.tensor(HAAR, dtype=like.dtype, device=like.device) / 2


def _network(layers: Sequence[nn.Module], generator: torch.Generator) -> nn.Sequential:
    """Layers with SiLU between them and PyTorch's usual weights, the last one zero."""
    parts: list[nn.Module] = []
    for layer in layers:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        parts += [layer, nn.SiLU()]
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(*parts[:-1])
