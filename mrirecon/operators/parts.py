"""The factors of the MRI operator, from which others can be composed; `sense` is their product, but faster."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.operators.base import LinearOperator, Shape
from mrirecon.tensors import fft2c, ifft2c


class Fourier(LinearOperator):
    """The centred orthonormal Fourier transform along the last two axes, or some of them; unitary for every size.

    Args:
        axes: axes to transform, counted from the last.

    Example:
        kspace = mr.Fourier()(image)
    """

    def __init__(self, axes: Sequence[int] = (-2, -1)) -> None:
        self.axes = tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        return fft2c(x, self.axes)

    def adjoint(self, y: Tensor) -> Tensor:
        return ifft2c(y, self.axes)

    def gram(self, x: Tensor) -> Tensor:
        return x

    @property
    def domain(self) -> Shape:
        return (None, None)

    @property
    def range(self) -> Shape:
        return (None, None)


class Coils(LinearOperator):
    """Multiplies images (*batch, y, x) by coil maps, to coil images (*batch, coil, y, x).

    Args:
        maps: coil maps s; the adjoint is the sum over coils of conj(s) times the coil images.

    Example:
        coil_images = mr.Coils(maps)(image)
    """

    def __init__(self, maps: Complex[Tensor, "*batch coil y x"]) -> None:
        self.maps = maps

    def forward(self, x: Complex[Tensor, "*batch y x"]) -> Tensor:
        return self.maps * x.unsqueeze(-3)

    def adjoint(self, y: Complex[Tensor, "*batch coil y x"]) -> Tensor:
        return (self.maps.conj() * y).sum(-3)

    @property
    def domain(self) -> Shape:
        return tuple(self.maps.shape[-2:])

    @property
    def range(self) -> Shape:
        return tuple(self.maps.shape[-3:])


class Mask(LinearOperator):
    """Keeps the sampled points of k-space (*batch, y, x) and sets the others to 0.

    Args:
        mask: True at sampled points.

    Example:
        measured = mr.Mask(mask)(kspace)
    """

    def __init__(self, mask: Bool[Tensor, "*batch y x"]) -> None:
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.mask

    def gram(self, x: Tensor) -> Tensor:
        return x * self.mask

    @property
    def domain(self) -> Shape:
        return tuple(self.mask.shape[-2:])

    @property
    def range(self) -> Shape:
        return tuple(self.mask.shape[-2:])
