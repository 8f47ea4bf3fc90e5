"""Methods without learning: zero-filled, least squares, L1-wavelet and total variation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.methods.base import SliceMethod
from mrirecon.methods.problem import Problem
from mrirecon.operators import Gradient, Wavelet, fista, pdhg
from mrirecon.operators.gradient import project_to_ball, soft_threshold


@dataclass(frozen=True, kw_only=True)
class ZeroFilled(SliceMethod):
    """Root of the sum of squares (RSS) of the coils' inverse FFTs, missing samples left zero."""

    name: ClassVar[str] = "zero_filled"
    uses_maps: ClassVar[bool] = False

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        return problem.kspace


@dataclass(frozen=True, kw_only=True)
class Adjoint(SliceMethod):
    """Coil-combined zero-filled image A^H y; keeps the phase."""

    name: ClassVar[str] = "adjoint"

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        return problem.operator.adjoint(problem.kspace)


@dataclass(frozen=True, kw_only=True)
class MinNorm(SliceMethod):
    """The least-squares image of smallest norm, A^+ y, by conjugate gradients from zero.

    Unregularised: with many iterations it fits the noise.

    Attributes:
        iterations: most CG steps.
        tolerance: relative residual of the normal equations at which to stop.
    """

    iterations: int = 30
    tolerance: float = 1e-4

    name: ClassVar[str] = "min_norm"
    fits_data: ClassVar[bool] = True

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        A = problem.operator
        back = A.adjoint(problem.kspace)
        return A.solve(back, 0.0, iterations=self.iterations, tolerance=self.tolerance)


@dataclass(frozen=True, kw_only=True)
class CGSense(SliceMethod):
    """CG-SENSE: argmin ||A x - y||^2 + regularization ||x||^2 (Pruessmann et al. 2001).

    The weight needs no data scale: it compares with ||A||^2 <= 1.

    Attributes:
        regularization: Tikhonov weight.
        iterations: most CG steps.
        tolerance: relative residual of the normal equations at which to stop; 0 never stops early.
    """

    regularization: float = 0.02
    iterations: int = 30
    tolerance: float = 1e-4

    name: ClassVar[str] = "cg_sense"
    fits_data: ClassVar[bool] = True

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        A = problem.operator
        back, weight = A.adjoint(problem.kspace), self.regularization
        return A.solve(back, weight, iterations=self.iterations, tolerance=self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Sparse(SliceMethod):
    """argmin 1/2 ||A x - y||^2 + weight R(x) for a sparsity norm R.

    The weight is `regularization` times the volume's intensity scale (the bright level of its images, estimated from
    the measured centre of k-space), or `regularization` itself with `relative` false.

    Attributes:
        regularization: weight of R.
        relative: whether the weight is in units of the intensity scale.
        iterations: one A^H A each.
    """

    regularization: float = 0.005
    relative: bool = True
    iterations: int = 100

    uses_scale: ClassVar[bool] = True
    fits_data: ClassVar[bool] = True

    def weight(self, problem: Problem) -> float:
        """The absolute weight, in units of the image."""
        return self.regularization * (problem.scale if self.relative else 1.0)


@dataclass(frozen=True, kw_only=True)
class L1Wavelet(Sparse):
    """L1-wavelet compressed sensing (Lustig, Donoho & Pauly 2007): R(x) = ||W x||_1 with Daubechies-4 wavelets.

    Minimised by FISTA.

    Attributes:
        levels: wavelet levels; unset goes on while both sides are at least 16.
        cycle_spinning: shift the image at random before each proximal map, which makes the result shift-invariant
            (Coifman & Donoho 1995); the shifts are the same in every run.
    """

    levels: int | None = None
    cycle_spinning: bool = True

    name: ClassVar[str] = "l1_wavelet"

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        A, weight = problem.operator, self.weight(problem)
        W = Wavelet((A.maps.shape[-2], A.maps.shape[-1]), self.levels)
        backprojection = A.adjoint(problem.kspace)
        step = 1 / A.squared_norm_bound()
        shifts = np.random.default_rng(0)

        def prox(x: Tensor) -> Tensor:
            y, x_ = shifts.integers(16, size=2).tolist() if self.cycle_spinning else (0, 0)
            w = W(torch.roll(x, (y, x_), dims=(-2, -1)))
            return torch.roll(W.adjoint(soft_threshold(w, step * weight)), (-y, -x_), (-2, -1))

        return fista(
            lambda x: A.gram(x) - backprojection,
            prox,
            torch.zeros_like(backprojection),
            step=step,
            iterations=self.iterations,
            item_axes=A.image_axes,
        )


@dataclass(frozen=True, kw_only=True)
class TotalVariation(Sparse):
    """Total variation (Rudin, Osher & Fatemi 1992; Block, Uecker & Frahm 2007): R(x) = sum of |gradient x|.

    Minimised by accelerated primal-dual steps, which need no inner iteration.

    Attributes:
        isotropic: length of each pixel's gradient; false sums the magnitudes of its two components.
    """

    isotropic: bool = True

    name: ClassVar[str] = "tv"

    def solve(self, problem: Problem) -> Complex[Tensor, "*set y x"]:
        A, weight = problem.operator, self.weight(problem)
        D = Gradient()
        backprojection = A.adjoint(problem.kspace)

        def project(u: Tensor, _: float) -> Tensor:
            if self.isotropic:
                return project_to_ball(u, weight)
            return project_to_ball(u.unsqueeze(-3), weight).squeeze(-3)

        return pdhg(
            lambda x: A.gram(x) - backprojection,
            D,
            D.adjoint,
            project,
            torch.zeros_like(backprojection),
            lipschitz=A.squared_norm_bound(),
            norm=8**0.5,
            # The image is of size `scale`, its dual variable of size `weight`; root and factor are empirical.
            balance=3 * (problem.scale / weight) ** 0.5 if weight else math.inf,
            iterations=self.iterations,
        )
