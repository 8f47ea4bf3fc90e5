"""Orthogonal wavelet transform of images of any size, as one small convolution per level."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Complex
from torch import Tensor

from mrirecon.operators.base import LinearOperator, Shape
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

    Coefficients have the size of the image, with coarse scales at the top left. Where a level has an odd length, its
    last row or column is left unchanged, which keeps the transform orthogonal; padding would not.

    A level is one convolution of stride 2 with four 8 x 8 filters. Its transpose is computed as a convolution from the
    four bands to the four pixels of each 2 x 2 neighbourhood.

    Args:
        shape: image size (y, x).
        levels: number of decomposition levels; None decomposes as long as both sides are at least 16.

    Raises:
        ValueError: if the image is too small for so many levels.

    Example:
        W = mr.Wavelet(image.shape)
        assert torch.allclose(W.H(W(image)), image, atol=1e-5)
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

    @property
    def domain(self) -> Shape:
        return self.shape

    @property
    def range(self) -> Shape:
        return self.shape

    def forward(self, x: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
        out = as_channels(x).reshape(-1, 1, *self.shape)
        filters = _filters(out)
        for height, width in self._even:
            around = F.pad(out[..., :height, :width], (0, 6, 0, 6), mode="circular")
            bands = F.conv2d(around, filters, stride=2)
            for band, quadrant in enumerate(_quadrants(height, width)):
                out[(..., *quadrant)] = bands[:, band : band + 1]
        return as_complex(out.reshape(*x.shape[:-2], 2, *self.shape))

    def adjoint(self, y: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch y x"]:
        out = as_channels(y).reshape(-1, 1, *self.shape)
        # The transpose of a convolution: channels swapped, taps reversed.
        filters = F.pixel_unshuffle(_filters(out), 2).transpose(0, 1).flip(-2, -1)
        for height, width in reversed(self._even):
            bands = torch.cat([out[(..., *q)] for q in _quadrants(height, width)], dim=1)
            phases = F.conv2d(F.pad(bands, (3, 0, 3, 0), mode="circular"), filters)
            out[..., :height, :width] = F.pixel_shuffle(phases, 2)
        return as_complex(out.reshape(*y.shape[:-2], 2, *self.shape))

    def gram(self, x: Tensor) -> Tensor:
        return x


def _filters(like: Tensor) -> Tensor:
    """(band, 1, 8, 8): bands low-low, low-high, high-low, high-high."""
    low = torch.tensor(DB4, dtype=torch.float64)
    high = low.flip(0) * torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)
    pair = torch.stack([low, high])
    return torch.einsum("ak,bl->abkl", pair, pair).reshape(4, 1, 8, 8).to(like)


def _quadrants(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the four bands of a level."""
    rows = (slice(0, height // 2), slice(height // 2, height))
    columns = (slice(0, width // 2), slice(width // 2, width))
    return [(row, column) for row in rows for column in columns]
