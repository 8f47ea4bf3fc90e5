"""What samplers that act on singular values work with: the coils jointly, or each coil image by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from mrirecon.diffusion.samplers.steps import Image
from mrirecon.operators.lanczos import LanczosSpectrum
from mrirecon.operators.sense import Sense, sense
from mrirecon.operators.spectrum import Factors, Spectrum, has_spectrum, spectrum

CoilUse: TypeAlias = Literal["auto", "joint", "lanczos", "each"]
BRIGHT = 0.99  # quantile of an image that is its bright level, as in `scale`


@dataclass(frozen=True, eq=False)
class Coefficients:
    """A x = y with the singular values of A = U diag(d) V^H.

    Coil by coil x are the coil images, each divided by its `level`, and A is the Fourier transform of each at the
    sampled points: d is 1 there and 0 elsewhere.

    Attributes:
        A: the operator of x.
        back: A^H y.
        values: applies functions of d.
        noise_std: of y per real component; coil by coil it is that of each coil, (*batch, coil, 1, 1).
        start: first image, in units of x.
        combine: coil maps times levels, coil by coil.
    """

    A: Sense
    back: Tensor
    values: Spectrum | LanczosSpectrum
    noise_std: float | Tensor
    start: Image | None
    combine: Tensor | None = None

    def residual(self, x: Image) -> Image:
        """A^H (y - A x)."""
        return self.back - self.A.gram(x)

    def apply(self, factors: Factors, *images: Image) -> Image:
        """The sum over the images x_i of V f_i(d) V^H x_i, with f = factors(d)."""
        return self.values.apply(factors, *images)

    def image(self, x: Tensor) -> Tensor:
        """The image that x stands for: x itself, or coil images combined by their maps."""
        return x if self.combine is None else (self.combine.conj() * x).sum(-3)


def coefficients(
    y: Tensor, A: Sense, noise_std: float, start: Image | None, coils: CoilUse, lanczos_steps: int
) -> Coefficients:
    """The problem as `coils` has it; auto is joint where the decomposition of A can be computed, and else lanczos.

    Raises:
        ValueError: if `coils` is joint and the decomposition is too large.
    """
    if coils == "each":
        return _coil_by_coil(y, A, noise_std, start)
    exact = coils == "joint" or (coils == "auto" and (A.sets or has_spectrum(A)))
    values = spectrum(A) if exact else LanczosSpectrum(A.gram, lanczos_steps)
    return Coefficients(A, A.adjoint(y), values, noise_std, start)


def _coil_by_coil(y: Tensor, A: Sense, noise_std: float, start: Image | None) -> Coefficients:
    """Each coil image in units in which its bright level is 1, as that of the images the prior knows."""
    each = sense(torch.ones_like(A.maps).unsqueeze(-3), A.mask.unsqueeze(-3))
    combined = A.adjoint(y)
    of_coils = _bright_level(A.maps * combined.unsqueeze(-3))
    level = of_coils / _bright_level(combined.unsqueeze(-3)).clamp_min(1e-30)
    level = torch.where(level > 0, level, 1)
    if start is not None:
        start = A.maps * start.unsqueeze(-3) / level
    back = each.adjoint((y / level).unsqueeze(-3))
    return Coefficients(each, back, spectrum(each), noise_std / level, start, A.maps * level)


def _bright_level(x: Image) -> Tensor:
    values = x.abs().flatten(-2)
    return values.kthvalue(max(1, round(BRIGHT * values.shape[-1])), dim=-1).values[..., None, None]
