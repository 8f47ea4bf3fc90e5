"""The operator algebra: immutable linear maps with an exact adjoint."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mrirecon.operators.solvers import conjugate_gradient


class LinearOperator(ABC):
    """A linear map A between complex arrays; leading batch axes are allowed throughout.

    An author writes `forward` and `adjoint` (exact: <A x, y> = <x, A^H y>), and `gram` where A^H A is cheaper than
    the two. `A(x)` applies, `A.H` is the adjoint operator, `A @ B` composes.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y."""

    def gram(self, x: Tensor) -> Tensor:
        """A^H A x."""
        return self.adjoint(self.forward(x))

    def solve(
        self,
        b: Tensor,
        weight: float | Tensor,
        start: Tensor | None = None,
        *,
        iterations: int,
        tolerance: float = 0.0,
    ) -> Tensor:
        """(A^H A + weight)^-1 b by conjugate gradients; arguments as those of `conjugate_gradient`."""
        return conjugate_gradient(
            lambda v: self.gram(v) + weight * v,
            b,
            start,
            iterations=iterations,
            tolerance=tolerance,
            item_axes=self.image_axes,
        )

    @property
    def image_axes(self) -> int:
        """Trailing axes of one image: (y, x), or (set, y, x)."""
        return 2

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x)

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator."""
        return _Adjoint(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        return _Composed(self, other)


class _Adjoint(LinearOperator):
    def __init__(self, operator: LinearOperator) -> None:
        self._operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self._operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._operator.forward(y)

    @property
    def H(self) -> LinearOperator:
        return self._operator


class _Composed(LinearOperator):
    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        self._outer, self._inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self._outer.forward(self._inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._inner.adjoint(self._outer.adjoint(y))

    def gram(self, x: Tensor) -> Tensor:
        return self._inner.adjoint(self._outer.gram(self._inner.forward(x)))
