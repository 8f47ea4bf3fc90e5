"""The exact singular value decomposition of the SENSE operator, where it is cheap to compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.operators.sense import Sense
from mrirecon.tensors import fft2c, ifft2c

Change = Callable[[Tensor], Tensor]
# Of singular values: what the coefficients of each of several images are multiplied by.
Factors = Callable[[Tensor], Sequence[Tensor]]
SMALLEST = 1e-3  # singular values below are rounding errors where no coil is sensitive
LINES = 2**18  # matrix entries that are factorized at the same time, few enough for the cache


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values d and right singular vectors V of A = U diag(d) V^H; V^H x has the shape of an image.

    Attributes:
        values: singular values d.
        analyse: x -> V^H x.
        synthesise: c -> V c.
    """

    values: Float[Tensor, "*batch y x"]
    analyse: Change
    synthesise: Change

    def apply(
        self, factors: Factors, *images: Complex[Tensor, "*batch y x"]
    ) -> Complex[Tensor, "*batch y x"]:
        """The sum over the images x_i of V f_i(d) V^H x_i, with f = factors(d).

        Example:
            gram = basis.apply(lambda d: (d**2,), x)  # A^H A x
        """
        terms = zip(factors(self.values), images, strict=True)
        return self.synthesise(sum((f * self.analyse(x) for f, x in terms), torch.zeros(())))


def spectrum(A: Sense) -> Spectrum:
    """The singular value decomposition of A = M F S.

    For one coil of sensitivity magnitude 1, V^H is the Fourier transform and d the mask. For a mask that varies along
    one axis only, A^H A is a small matrix for each position along the other axis, and all of them are diagonalised in
    one batch. Values of d below 1e-3, which are rounding errors where no coil is sensitive, are set to 0.

    Raises:
        ValueError: for all other operators, whose decomposition is too large to be computed (`has_spectrum`).
    """
    maps, mask = A.maps, A.mask
    if A.sets:
        raise ValueError("the spectrum is known for one set of coil maps only: use one set")
    if _is_one_coil(A):
        coil = maps.squeeze(-3)
        values = mask.expand(torch.broadcast_shapes(mask.shape, coil.shape)).to(maps.real.dtype)
        return Spectrum(values, lambda x: fft2c(coil * x), lambda c: coil.conj() * ifft2c(c))
    if not has_lines(A):
        raise ValueError(
            "this mask varies along both axes, so that the spectrum of a multi-coil scan is too large to compute: "
            "give coils: lanczos or each, or a mask of whole lines"
        )
    rows, kernel, transposed = _lines(A)
    grams = (rows.mH @ rows) * kernel.unsqueeze(-3)
    try:
        eigenvalues, vectors = torch.linalg.eigh(grams)
    except torch.linalg.LinAlgError:  # float32 fails on many equal eigenvalues; float64 is slower
        found = torch.linalg.eigh(grams.to(torch.complex128))
        eigenvalues, vectors = found[0].to(maps.real.dtype), found[1].to(maps.dtype)
    values = eigenvalues.clamp_min(0).sqrt()
    values = torch.where(values < SMALLEST, 0, values)

    def turned(x: Tensor) -> Tensor:
        return x.mT if transposed else x

    def analyse(x: Tensor) -> Tensor:
        return turned((vectors.mH @ turned(x).unsqueeze(-1)).squeeze(-1))

    def synthesise(c: Tensor) -> Tensor:
        return turned((vectors @ turned(c).unsqueeze(-1)).squeeze(-1))

    return Spectrum(turned(values), analyse, synthesise)


def has_spectrum(A: Sense) -> bool:
    """Whether `spectrum` computes the decomposition of an operator."""
    return not A.sets and (_is_one_coil(A) or has_lines(A))


def has_lines(A: Sense) -> bool:
    """Whether A^H A is a small matrix for each image line, that is, the mask varies along one axis at most."""
    return not A.sets and (_same_rows(A.mask) or _same_rows(A.mask.mT))


def solve_by_lines(A: Sense, b: Complex[Tensor, "y x"], weight: float) -> Complex[Tensor, "y x"]:
    """(A^H A + weight)^-1 b by a Cholesky factorization for each line, in the precision of A and without refinement.

    Lines and columns without coil sensitivity, where A^H A is 0, are not factorized.

    Args:
        A: an operator for which `has_lines` holds.
        b: right-hand side.
        weight: damping, above 0.
    """
    rows, kernel, transposed = _lines(A)
    b = b.mT if transposed else b
    seen = (rows != 0).any(-2)
    inside, across = seen.any(1).nonzero().flatten(), seen.any(0)
    kernel, x = kernel[across][:, across], b / weight
    damping = weight * torch.eye(len(kernel), dtype=b.dtype, device=b.device)
    for some in inside.split(max(1, LINES // max(1, len(kernel) ** 2))):
        coils = rows[some][..., across]
        grams = (coils.mH @ coils).mul_(kernel).add_(damping)
        factors, _ = torch.linalg.cholesky_ex(grams)
        solved = torch.cholesky_solve(b[some][:, across, None], factors).squeeze(-1)
        x[some[:, None], across.nonzero().flatten()] = solved
    return x.mT if transposed else x


def _lines(A: Sense) -> tuple[Tensor, Tensor, bool]:
    """Coil maps (*batch, line, coil, position), F^-1 M F of a line, and whether lines are the columns of the image."""
    transposed = not _same_rows(A.mask)
    maps, mask = (A.maps.mT, A.mask.mT) if transposed else (A.maps, A.mask)
    identity = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    kspace = fft2c(identity, dim=(0,))  # rows are frequencies, columns positions
    return maps.movedim(-3, -2), kspace.mH @ (mask[..., 0, :, None] * kspace), transposed


def _is_one_coil(A: Sense) -> bool:
    """Whether there is one coil, of sensitivity magnitude 1."""
    return A.maps.shape[-3] == 1 and bool(((A.maps.abs() - 1).abs() < 1e-5).all())


def _same_rows(mask: Tensor) -> bool:
    return bool((mask == mask[..., :1, :]).all())
