"""Orthogonal wavelet transform of images of any size, as one small convolution per level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Complex
from torch import Tensor

from mrirecon.operators.base import LinearOperator
from mrirecon.tensors import as_channels, as_complex

# Daubechies' scaling filter with four vanishing moments ("db4"; Ten Lectures on Wavelets, table 6.1).
DB4 = (
    0.23037781330885523,
    0.7148465705525415,
    0.6308807679295904,
    -0.02798376941698385,
    -0.18703481171888114,
    0.030841381835986965,
    0.032883011666982945,
    -0.010597401784997278,
)


class Wavelet(LinearOperator):
    """Periodised 2D Daubechies-4 transform W with W^H W = W W^H = I for every image size (Mallat 1989).

    Coefficients fill an array of the image's size, coarse scales at the top left. Where a level has an odd length its
    last row or column stays as it is: that keeps the transform orthogonal, which padding would not.

    In polyphase form (2 x 2 neighbourhoods as channels) a level is one 4 -> 4 channel convolution, and so is its
    inverse.

    Args:
        shape: image size (y, x).
        levels: decomposition levels; None goes on while both sides are at least 16.

    Raises:
        ValueError: if the image is too small for so many levels.
    """

    def __init__(self, shape: tuple[int, int], levels: int | None = None) -> None:
        self.shape = shape
        self._even: list[tuple[int, int]] = []  # the even-sized corner transformed at each level
        y, x = shape
        while (min(y, x) >= 16) if levels is None else (len(self._even) < levels):
            if min(y, x) < 6:  # half of it must hold the filter's periodic border
                raise ValueError(f"{levels} wavelet levels are too many for a {shape} image")
            self._even.append((y // 2 * 2, x // 2 * 2))
            y, x = y // 2, x // 2

    def forward(self, x: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
        planes = as_channels(x).reshape(-1, 1, *self.shape)
        filters = _polyphase_filters(planes)
        out = planes.clone()
        for height, width in self._even:
            phases = F.pixel_unshuffle(planes[..., :height, :width], 2)
            bands = F.conv2d(F.pad(phases, (0, 3, 0, 3), mode="circular"), filters)
            out[..., :height, :width] = _tile(bands)
            planes = bands[:, :1]
        return as_complex(out.reshape(*x.shape[:-2], 2, *self.shape))

    def adjoint(self, y: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
        planes = as_channels(y).reshape(-1, 1, *self.shape)
        # The transpose of a convolution: channels swapped, taps reversed.
        filters = _polyphase_filters(planes).transpose(0, 1).flip(-2, -1)
        out = planes.clone()
        for height, width in reversed(self._even):
            bands = _untile(out[..., :height, :width])
            phases = F.conv2d(F.pad(bands, (3, 0, 3, 0), mode="circular"), filters)
            out = out.clone()
            out[..., :height, :width] = F.pixel_shuffle(phases, 2)
        return as_complex(out.reshape(*y.shape[:-2], 2, *self.shape))

    def gram(self, x: Tensor) -> Tensor:
        return x


def _polyphase_filters(like: Tensor) -> Tensor:
    """(band, phase, 4, 4): bands low-low, low-high, high-low, high-high; phases as pixel_unshuffle orders them."""
    low = torch.tensor(DB4, dtype=torch.float64)
    high = low.flip(0) * torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    pairs = torch.stack([low, high]).reshape(2, 4, 2)  # (band, tap, phase)
    filters = torch.einsum("akp,blq->abpqkl", pairs, pairs).reshape(4, 4, 4, 4)
    return filters.to(like)


def _tile(bands: Tensor) -> Tensor:
    low_low, low_high, high_low, high_high = bands.split(1, dim=1)
    top, bottom = torch.cat([low_low, low_high], -1), torch.cat([high_low, high_high], -1)
    return torch.cat([top, bottom], -2)


def _untile(x: Tensor) -> Tensor:
    top, bottom = x.chunk(2, dim=-2)
    return torch.cat([*top.chunk(2, dim=-1), *bottom.chunk(2, dim=-1)], dim=1)
