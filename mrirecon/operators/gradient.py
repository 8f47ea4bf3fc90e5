"""Finite differences and the proximal maps of the norms used with them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.operators.base import LinearOperator, Shape
from mrirecon.tensors import rss


class Gradient(LinearOperator):
    """Forward differences along both image axes, zero at the last row and column; the norm is at most sqrt(8).

    Maps (*batch, y, x) to (*batch, 2, y, x). With `isotropic` shrinkage of its output this is the total variation of
    Rudin, Osher & Fatemi 1992.

    Example:
        D = mr.Gradient()
        total_variation = D(image).norm(dim=-3).sum()
    """

    @property
    def domain(self) -> Shape:
        return (None, None)

    @property
    def range(self) -> Shape:
        return (2, None, None)

    def forward(self, x: Complex[Tensor, "*batch y x"]) -> Complex[Tensor, "*batch 2 y x"]:
        rows = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
        columns = F.pad(x[..., 1:] - x[..., :-1], (0, 1))
        return torch.stack([rows, columns], dim=-3)

    def adjoint(self, y: Complex[Tensor, "*batch 2 y x"]) -> Complex[Tensor, "*batch y x"]:
        rows, columns = y[..., 0, :-1, :], y[..., 1, :, :-1]
        along_y = F.pad(rows, (0, 0, 1, 0)) - F.pad(rows, (0, 0, 0, 1))
        along_x = F.pad(columns, (1, 0)) - F.pad(columns, (0, 1))
        return along_y + along_x


def soft_threshold(
    x: Complex[Tensor, "*shape"], threshold: float | Float[Tensor, "*#shape"]
) -> Complex[Tensor, "*shape"]:
    """Proximal map of threshold * sum |x|: shrinks magnitudes, keeps phases."""
    magnitude = x.abs()
    gain = (magnitude - threshold).clamp_min_(0) / magnitude.clamp_min_(
        torch.finfo(magnitude.dtype).tiny
    )
    return x * gain


def project_to_ball(
    x: Complex[Tensor, "*batch component y x"], radius: float | Float[Tensor, "*#batch 1 y x"]
) -> Complex[Tensor, "*batch component y x"]:
    """Scale each pixel's vector of components to a length of at most `radius`.

    This is the proximal map of the convex conjugate of radius * sum |x| (isotropic total variation's dual).
    """
    length = rss(x).unsqueeze(-3)
    return x * (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)
