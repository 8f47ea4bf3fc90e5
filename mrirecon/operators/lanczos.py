"""Functions of the singular values of an operator whose decomposition is too large to be computed, by Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.operators.spectrum import SMALLEST, Factors
from mrirecon.tensors import norm


@dataclass(frozen=True, eq=False)
class LanczosSpectrum:
    """The singular values of an operator A, as far as a few steps of Lanczos's method see them from given images.

    From x, `steps` applications of G = A^H A give orthonormal images Q, the first of them x / ||x||, and a tridiagonal
    matrix T = Q^H G Q, with f(G) x = ||x|| Q f(T) e_1 for every polynomial f of a degree below `steps`, and nearly so
    for smooth f (Golub & Meurant 2010, Matrices, Moments and Quadrature, chapter 4). With as many steps as there are
    pixels it holds for every f. It costs `steps` applications of G, and as many images of memory, for each image.

    Attributes:
        gram: applies G, whose eigenvalues lie between 0 and 1.
        steps: of Lanczos.
    """

    gram: Callable[[Tensor], Tensor]
    steps: int

    def apply(
        self, factors: Factors, *images: Complex[Tensor, "*batch y x"]
    ) -> Complex[Tensor, "*batch y x"]:
        """The sum over the images x_i of V f_i(d) V^H x_i, with f = factors(d); see `Spectrum.apply`."""
        x = torch.stack(images)
        basis, T = self._walk(x)
        eigenvalues, U = torch.linalg.eigh(T.double().cpu())  # small; not every device has float64
        d = eigenvalues.clamp(0, 1).sqrt()
        d = torch.where(d < SMALLEST, 0, d)
        weights = torch.stack([factors(values)[i] for i, values in enumerate(d)])
        columns = ((U * weights.unsqueeze(-2)) @ U[..., :1, :].mT).squeeze(-1)  # f(T) e_1
        columns = columns.to(basis[0].real) * norm(x, 2)[..., None]
        total = torch.zeros_like(images[0])
        for column, q in zip(columns.unbind(-1), basis, strict=True):
            total = total + (column[..., None, None] * q).sum(0)
        return total

    def _walk(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Q and T; each new image is made orthogonal to all before, which rounding errors ask for."""
        basis, diagonal, beside = [_normalised(x)], list[Tensor](), list[Tensor]()
        while True:
            w = self.gram(basis[-1])
            for q in reversed(basis):
                along = torch.linalg.vecdot(q.flatten(-2), w.flatten(-2))
                if q is basis[-1]:
                    diagonal.append(along.real)
                w = w - along[..., None, None] * q
            if len(basis) == self.steps:
                break
            beside.append(norm(w, 2))
            basis.append(_normalised(w))
        T = torch.diag_embed(torch.stack(diagonal, -1))
        if beside:
            off = torch.stack(beside, -1)
            T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
        return basis, T


def _normalised(x: Tensor) -> Tensor:
    """Each image over its norm; a zero image stays zero."""
    return x / norm(x, 2)[..., None, None].clamp_min(torch.finfo(x.real.dtype).tiny)
