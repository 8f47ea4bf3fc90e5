"""Methods without learning: zero-filled, least squares, L1-wavelet and total variation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mrirecon.methods.base import Needs, Problem, Search, SliceMethod, Solution
from mrirecon.operators import Gradient, Wavelet, fista, pdhg
from mrirecon.operators.gradient import project_to_ball, soft_threshold
from mrirecon.options import Count


@dataclass(frozen=True, kw_only=True)
class ZeroFilled(SliceMethod):
    """Root of the sum of squares (RSS) of the coils' inverse FFTs, missing samples left zero."""

    name: ClassVar[str] = "zero_filled"
    needs = Needs(maps=False)

    def solve_slice(self, problem: Problem) -> Solution:
        return Solution(kspace=problem.kspace)


@dataclass(frozen=True, kw_only=True)
class Adjoint(SliceMethod):
    """Coil-combined zero-filled image A^H y; keeps the phase."""

    name: ClassVar[str] = "adjoint"

    def solve_slice(self, problem: Problem) -> Solution:
        return Solution(image=problem.operator.adjoint(problem.kspace))


@dataclass(frozen=True, kw_only=True)
class MinNorm(SliceMethod):
    """The least-squares image of smallest norm, A^+ y, by conjugate gradients from zero.

    Unregularised: with many iterations it fits the noise.

    Attributes:
        iterations: most CG steps.
        tolerance: relative residual of the normal equations at which to stop.
    """

    iterations: Count = 30
    tolerance: float = 1e-4

    name: ClassVar[str] = "min_norm"
    fits_data: ClassVar[bool] = True

    def solve_slice(self, problem: Problem) -> Solution:
        A = problem.operator
        back = A.adjoint(problem.kspace)
        x = A.solve(back, 0.0, iterations=self.iterations, tolerance=self.tolerance)
        return Solution(image=x)


@dataclass(frozen=True, kw_only=True)
class Regularized(SliceMethod):
    """A method with a weight that may be left to the scan.

    Attributes:
        regularization: weight; auto predicts left-out samples with several weights and takes the best.
    """

    regularization: float | Literal["auto"]

    fits_data: ClassVar[bool] = True
    # What the weight that predicts left-out samples best is multiplied by.
    correction: ClassVar[float] = 1.0

    def searches(self) -> dict[str, Search]:
        if self.regularization != "auto":
            return {}
        default = {one.name: one.default for one in fields(self)}["regularization"]
        assert isinstance(default, float)
        return {"regularization": Search(default, self.correction)}

    @property
    def weight_given(self) -> float:
        """The weight as a number.

        Raises:
            ValueError: if it is auto, which only a scan can tell.
        """
        if self.regularization == "auto":
            raise ValueError(
                f"{self.name}: regularization auto is chosen by `reconstruct` and `run`, which see the scan: "
                "give a number here"
            )
        return self.regularization


@dataclass(frozen=True, kw_only=True)
class CGSense(Regularized):
    """CG-SENSE: argmin ||A x - y||^2 + regularization ||x||^2 (Pruessmann et al. 2001).

    The weight needs no data scale: it compares with ||A||^2 <= 1.

    Attributes:
        regularization: Tikhonov weight; auto predicts left-out samples with several weights and takes the best.
        iterations: most CG steps.
        tolerance: relative residual of the normal equations at which to stop; 0 never stops early.
    """

    regularization: float | Literal["auto"] = 0.02
    iterations: Count = 30
    tolerance: float = 1e-4

    name: ClassVar[str] = "cg_sense"

    def solve_slice(self, problem: Problem) -> Solution:
        A = problem.operator
        back, weight = A.adjoint(problem.kspace), self.weight_given
        x = A.solve(back, weight, iterations=self.iterations, tolerance=self.tolerance)
        return Solution(image=x)


@dataclass(frozen=True, kw_only=True)
class Sparse(Regularized):
    """argmin 1/2 ||A x - y||^2 + weight R(x) for a sparsity norm R.

    The weight is `regularization` times the volume's intensity scale (the bright level of its images, estimated from
    the measured centre of k-space), or `regularization` itself with `relative` false.

    Attributes:
        regularization: weight of R; auto predicts left-out samples with several weights and takes the best.
        relative: whether the weight is in units of the intensity scale.
        iterations: one A^H A each.
    """

    regularization: float | Literal["auto"] = 0.005
    relative: bool = True
    iterations: Count = 100

    needs = Needs(scale=True)
    # Between 0.73, which leads nearest to the truth on simulated scans, and 1, which predicts left-out samples best.
    correction: ClassVar[float] = 0.85

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: as every method, or if an absolute weight is left to the scan.
        """
        super().__post_init__()
        if self.regularization == "auto" and not self.relative:
            raise ValueError(
                f"{self.name}: regularization auto is in units of the intensity scale: leave out relative false"
            )

    def weight(self, problem: Problem) -> float:
        """The absolute weight, in units of the image."""
        return self.weight_given * (problem.scale if self.relative else 1.0)


@dataclass(frozen=True, kw_only=True)
class L1Wavelet(Sparse):
    """L1-wavelet compressed sensing (Lustig, Donoho & Pauly 2007): R(x) = ||W x||_1 with Daubechies-4 wavelets.

    Minimised by FISTA.

    Attributes:
        levels: wavelet levels; auto goes on while both sides are at least 16.
        cycle_spinning: shift the image at random before each proximal map, which makes the result shift-invariant
            (Coifman & Donoho 1995); the shifts are the same in every run.
    """

    levels: Count | Literal["auto"] = "auto"
    cycle_spinning: bool = True

    name: ClassVar[str] = "l1_wavelet"

    def solve_slice(self, problem: Problem) -> Solution:
        A, weight = problem.operator, self.weight(problem)
        levels = None if self.levels == "auto" else self.levels
        shape = (A.maps.shape[-2], A.maps.shape[-1])
        backprojection = A.adjoint(problem.kspace)
        step = 1 / A.squared_norm_bound()
        x = fista(
            lambda x: A.gram(x) - backprojection,
            wavelet_shrinkage(shape, step * weight, levels, self.cycle_spinning),
            torch.zeros_like(backprojection),
            step=step,
            iterations=self.iterations,
            item_axes=A.image_axes,
        )
        return Solution(image=x)


def wavelet_shrinkage(
    shape: tuple[int, int],
    threshold: float,
    levels: int | None = None,
    cycle_spinning: bool = True,
) -> Callable[[Tensor], Tensor]:
    """The proximal map of threshold * ||W x||_1; with cycle spinning each call shifts the image at random first."""
    W, shifts = Wavelet(shape, levels), np.random.default_rng(0)

    def shrink(x: Tensor) -> Tensor:
        y, x_ = shifts.integers(16, size=2).tolist() if cycle_spinning else (0, 0)
        w = W(torch.roll(x, (y, x_), dims=(-2, -1)))
        return torch.roll(W.adjoint(soft_threshold(w, threshold)), (-y, -x_), (-2, -1))

    return shrink


@dataclass(frozen=True, kw_only=True)
class TotalVariation(Sparse):
    """Total variation (Rudin, Osher & Fatemi 1992; Block, Uecker & Frahm 2007): R(x) = sum of |gradient x|.

    Minimised by accelerated primal-dual steps, which need no inner iteration.

    Attributes:
        isotropic: length of each pixel's gradient; false sums the magnitudes of its two components.
    """

    isotropic: bool = True

    name: ClassVar[str] = "tv"

    def solve_slice(self, problem: Problem) -> Solution:
        A, weight = problem.operator, self.weight(problem)
        D = Gradient()
        backprojection = A.adjoint(problem.kspace)

        def project(u: Tensor, _: float) -> Tensor:
            if self.isotropic:
                return project_to_ball(u, weight)
            return project_to_ball(u.unsqueeze(-3), weight).squeeze(-3)

        x = pdhg(
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
        return Solution(image=x)
