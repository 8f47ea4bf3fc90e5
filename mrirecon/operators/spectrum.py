"""The exact spectrum of the SENSE operator, where it is cheap to have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.operators.sense import Sense
from mrirecon.tensors import fft2c, ifft2c

Change = Callable[[Tensor], Tensor]
LINES = 2**18  # entries of the matrices that are factorized together, few enough for the cache


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A = U diag(d) V^H, with the images' half of it; coefficients V^H x have the shape of an image.

    Attributes:
        values: singular values d.
        analyse: x -> V^H x.
        synthesise: c -> V c.
    """

    values: Float[Tensor, "*batch y x"]
    analyse: Change
    synthesise: Change

    def measured(self, A: Sense, y: Complex[Tensor, "*batch coil y x"]) -> Tensor:
        """U^H y = V^H A^H y / d, and 0 where d is."""
        back = self.analyse(A.adjoint(y))
        return torch.where(self.values > 0, back / self.values.clamp_min(1e-12), 0)


def spectrum(A: Sense) -> Spectrum:
    """The spectrum of A = M F S.

    With one coil of sensitivity magnitude 1 it is k-space itself, and d is the mask. With a mask that varies along one
    axis only, A^H A is a small matrix for each position along the other axis (Hermitian eigenvalues in one batch).
    Values of d below 1e-3, rounding errors of what no coil sees, are 0.

    Raises:
        ValueError: for all other operators, whose spectrum is too large to be computed.
    """
    maps, mask = A.maps, A.mask
    if A.sets:
        raise ValueError("the spectrum is known for one set of coil maps only: use one set")
    if maps.shape[-3] == 1 and bool(((maps.abs() - 1).abs() < 1e-5).all()):
        coil = maps.squeeze(-3)
        values = mask.expand(torch.broadcast_shapes(mask.shape, coil.shape)).to(maps.real.dtype)
        return Spectrum(values, lambda x: fft2c(coil * x), lambda c: coil.conj() * ifft2c(c))
    if not has_lines(A):
        raise ValueError(
            "this mask varies along both axes, so that the spectrum of a multi-coil scan is too large to compute: "
            "use the sampler ddnm, or a mask of whole lines"
        )
    rows, kernel, transposed = _lines(A)
    grams = (rows.mH @ rows) * kernel.unsqueeze(-3)
    try:
        eigenvalues, vectors = torch.linalg.eigh(grams)
    # float32 fails where many eigenvalues are alike; three times slower.
    except torch.linalg.LinAlgError:
        found = torch.linalg.eigh(grams.to(torch.complex128))
        eigenvalues, vectors = found[0].to(maps.real.dtype), found[1].to(maps.dtype)
    values = eigenvalues.clamp_min(0).sqrt()
    values = torch.where(values < 1e-3, 0, values)

    def turned(x: Tensor) -> Tensor:
        return x.mT if transposed else x

    def analyse(x: Tensor) -> Tensor:
        return turned((vectors.mH @ turned(x).unsqueeze(-1)).squeeze(-1))

    def synthesise(c: Tensor) -> Tensor:
        return turned((vectors @ turned(c).unsqueeze(-1)).squeeze(-1))

    return Spectrum(turned(values), analyse, synthesise)


def has_lines(A: Sense) -> bool:
    """Whether A^H A is a small matrix for each line of the image: the mask varies along one axis at most."""
    return not A.sets and (_same_rows(A.mask) or _same_rows(A.mask.mT))


def solve_by_lines(A: Sense, b: Complex[Tensor, "y x"], weight: float) -> Complex[Tensor, "y x"]:
    """(A^H A + weight)^-1 b, factorized line by line in the precision of A; its rounding errors are not looked at.

    Lines and columns that no coil sees, where A^H A is 0, cost nothing.
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


def _same_rows(mask: Tensor) -> bool:
    return bool((mask == mask[..., :1, :]).all())
