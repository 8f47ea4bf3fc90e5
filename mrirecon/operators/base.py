"""The operator algebra: immutable linear maps with an exact adjoint."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mrirecon.operators.solvers import conjugate_gradient

Shape = tuple[int | None, ...]  # trailing axes; None is any size


class LinearOperator(ABC):
    """A linear map A between complex arrays; leading batch axes are allowed throughout.

    A subclass implements `forward` and `adjoint` (exact: <A x, y> = <x, A^H y>); `gram` where A^H A is cheaper than
    both in turn; and `domain` and `range` where shapes are known, so that wrong shapes raise a clear error.

    `A(x)` applies, `A.H` is the adjoint operator, `A @ B` composes, `A + B` and `A - B` add, `2 * A` scales.

    Example:
        A = mr.Mask(mask) @ mr.Fourier() @ mr.Coils(maps)
        x = A.H(y)
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
        """(A^H A + weight)^-1 b by conjugate gradients.

        Args:
            b: right-hand side, in the domain of A.
            weight: added to A^H A; a tensor broadcasts against b.
            start: first guess; zero when None.
            iterations: most iterations.
            tolerance: relative residual at which an image is done; 0 runs all iterations.
        """
        return conjugate_gradient(
            self.gram,
            b,
            start,
            weight=weight,
            iterations=iterations,
            tolerance=tolerance,
            item_axes=self.image_axes,
        )

    @property
    def image_axes(self) -> int:
        """Number of trailing axes that make one image: 2 for (y, x), 3 for (set, y, x)."""
        return 2

    @property
    def domain(self) -> Shape:
        """Sizes of the trailing axes of the input; None is any size, and () any shape."""
        return ()

    @property
    def range(self) -> Shape:
        """Sizes of the trailing axes of the output; None is any size, and () any shape."""
        return ()

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(_checked(self, x, self.domain))

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator."""
        return _Adjoint(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        return _Composed(self, other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return _Sum(self, other)

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return _Sum(self, -1 * other)

    def __mul__(self, factor: int | float | complex) -> LinearOperator:
        if not isinstance(factor, (int, float, complex)):
            return NotImplemented
        return _Scaled(self, factor)

    def __rmul__(self, factor: int | float | complex) -> LinearOperator:
        return self.__mul__(factor)

    def __neg__(self) -> LinearOperator:
        return -1 * self

    def __repr__(self) -> str:
        return f"{self._name()}: {_in_words(self.domain)} -> {_in_words(self.range)}"

    def _name(self) -> str:
        return type(self).__name__


class _Adjoint(LinearOperator):
    def __init__(self, operator: LinearOperator) -> None:
        self._operator = operator

    def forward(self, x: Tensor) -> Tensor:
        return self._operator.adjoint(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._operator.forward(y)

    @property
    def domain(self) -> Shape:
        return self._operator.range

    @property
    def range(self) -> Shape:
        return self._operator.domain

    @property
    def H(self) -> LinearOperator:
        return self._operator

    def _name(self) -> str:
        name = self._operator._name()
        return f"({name}).H" if " " in name else f"{name}.H"


class _Composed(LinearOperator):
    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if not _agree(outer.domain, inner.range):
            raise ValueError(
                f"{outer!r} cannot follow {inner!r}: it takes {_in_words(outer.domain)}"
            )
        self._outer, self._inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self._outer.forward(self._inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._inner.adjoint(self._outer.adjoint(y))

    def gram(self, x: Tensor) -> Tensor:
        return self._inner.adjoint(self._outer.gram(self._inner.forward(x)))

    @property
    def domain(self) -> Shape:
        return self._inner.domain

    @property
    def range(self) -> Shape:
        """The range of the outer operator, preceded by axes of the inner range that the outer one treats as batch."""
        outer, inner = self._outer, self._inner.range
        return (*inner[: max(0, len(inner) - len(outer.domain))], *outer.range)

    def _name(self) -> str:
        return f"{self._outer._name()} @ {self._inner._name()}"


class _Sum(LinearOperator):
    def __init__(self, one: LinearOperator, other: LinearOperator) -> None:
        shapes = (one.domain, other.domain), (one.range, other.range)
        if not all(_agree(*pair) and _as_many(*pair) for pair in shapes):
            raise ValueError(f"{one!r} and {other!r} differ in shape: they cannot be added")
        self._one, self._other = one, other

    def forward(self, x: Tensor) -> Tensor:
        return self._one.forward(x) + self._other.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._one.adjoint(y) + self._other.adjoint(y)

    @property
    def domain(self) -> Shape:
        return self._one.domain or self._other.domain

    @property
    def range(self) -> Shape:
        return self._one.range or self._other.range

    def _name(self) -> str:
        return f"({self._one._name()} + {self._other._name()})"


class _Scaled(LinearOperator):
    def __init__(self, operator: LinearOperator, factor: int | float | complex) -> None:
        self._operator, self._factor = operator, factor

    def forward(self, x: Tensor) -> Tensor:
        return self._factor * self._operator.forward(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return complex(self._factor).conjugate() * self._operator.adjoint(y)

    def gram(self, x: Tensor) -> Tensor:
        return abs(self._factor) ** 2 * self._operator.gram(x)

    @property
    def domain(self) -> Shape:
        return self._operator.domain

    @property
    def range(self) -> Shape:
        return self._operator.range

    def _name(self) -> str:
        return f"{self._factor:g} * {self._operator._name()}"


def _checked(operator: LinearOperator, x: Tensor, shape: Shape) -> Tensor:
    """The input of an operator, checked for its shape.

    Raises:
        ValueError: if its trailing axes do not agree with `shape`.
    """
    if len(x.shape) < len(shape) or not _agree(tuple(x.shape[len(x.shape) - len(shape) :]), shape):
        raise ValueError(f"{operator!r} is given {_in_words(tuple(x.shape))}")
    return x


def _agree(one: Shape, other: Shape) -> bool:
    """Whether trailing axes agree, as far as both shapes are known."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return all(a is None or b is None or a == b for a, b in pairs)


def _as_many(one: Shape, other: Shape) -> bool:
    """Whether shapes have the same number of axes, where both are known."""
    return not one or not other or len(one) == len(other)


def _in_words(shape: Shape) -> str:
    return " x ".join("?" if n is None else str(n) for n in shape) or "any shape"
