"""The energy of the part of an image that a measurement hardly determines, by Gauss quadrature and Lanczos."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex
from torch import Tensor

EVERY = 5  # steps between evaluations of the bounds


def damped_share(
    gram: Callable[[Tensor], Tensor],
    x: Complex[Tensor, "y x"],
    delta: float,
    *,
    steps: int,
    accuracy: float,
) -> tuple[float, float]:
    """Bounds of ||delta (G + delta)^-1 x||^2 / ||x||^2, for a Hermitian positive semi-definite G.

    The steps of conjugate gradients on (G + delta) u = x fill a tridiagonal matrix T, and ||T^-1 e1||^2 is Gauss's rule
    for x^H (G + delta)^-2 x / ||x||^2. It is a lower bound; with one more row whose last entry makes `delta` an
    eigenvalue (Gauss-Radau) it is an upper one, and ||r|| bounds the error as well (Golub & Meurant 2010, Matrices,
    Moments and Quadrature, chapters 6 and 7). The bounds meet in a half to a third of the steps that u itself needs.

    Args:
        gram: applies G.
        x: image.
        delta: damping, above 0 and well above the rounding error of G.
        steps: largest number of applications of G.
        accuracy: relative gap between the bounds at which the iteration stops.

    Returns:
        Lower and upper bound; both are 0 for a zero image.
    """
    r, p = x.clone(), x.clone()
    norm = rr = _dot(r, r)
    if norm == 0:
        return 0.0, 0.0
    pivots: list[float] = []  # T = L D L^T: the diagonal of D
    below: list[float] = []  # the subdiagonal of L
    shifted = 0.0  # the last pivot of T - delta
    low, high = 0.0, 1.0
    for step in range(1, steps + 1):
        gp = torch.add(gram(p), p, alpha=delta)
        pivot = _dot(p, gp) / rr
        r.sub_(gp, alpha=1 / pivot)
        previous, rr = rr, _dot(r, r)
        diagonal = pivot + (below[-1] ** 2 * pivots[-1] if below else 0.0)
        coupled = (below[-1] * pivots[-1]) ** 2 / shifted if below and shifted else 0.0
        shifted = diagonal - delta - coupled
        pivots.append(pivot)
        below.append((rr / previous) ** 0.5)
        if step % EVERY == 0 or step == steps or rr < 1e-12 * norm:
            low = delta**2 * _first_column(pivots, below[:-1])
            high = (low**0.5 + (rr / norm) ** 0.5) ** 2
            if shifted > 0:
                last = delta + (below[-1] * pivot) ** 2 * (1 / shifted - 1 / pivot)
                high = min(high, delta**2 * _first_column([*pivots, last], below))
            if high <= (1 + accuracy) * low:
                break
        p.mul_(rr / previous).add_(r)
    return low, high


def _first_column(pivots: Sequence[float], below: Sequence[float]) -> float:
    """||T^-1 e1||^2 of T = L D L^T, L having ones on its diagonal."""
    forward, column = 1.0, []
    for pivot, entry in zip(pivots, [*below, 0.0], strict=True):
        column.append(forward / pivot)
        forward *= -entry
    solved = square = 0.0
    for value, entry in zip(reversed(column), [0.0, *reversed(below)], strict=True):
        solved = value - entry * solved
        square += solved**2
    return square


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vecdot(a.flatten(), b.flatten()).real)
