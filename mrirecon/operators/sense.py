"""The SENSE operator Mask @ Fourier @ Coils, without FFT shifts of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Complex, Shaped
from torch import Tensor
from torch.autograd.function import once_differentiable

from mrirecon.operators.base import LinearOperator, Shape
from mrirecon.operators.solvers import conjugate_gradient
from mrirecon.tensors import fft2, fftshift, ifft2, ifftshift, one_by_one

FEW_THREADS = 4  # with more threads, one coil at a time is too little work to divide


def sense(
    maps: Complex[Tensor, "*batch coil y x"],
    mask: Bool[Tensor, "*slices ky kx"],
    *,
    sets: bool = False,
    axes: Sequence[int] | None = None,
) -> Sense:
    """The operator A = M F S of multi-coil Cartesian MRI (Pruessmann et al., MRM 42:952, 1999).

    It maps images (*batch, y, x) to k-space (*batch, coil, y, x), zero where not sampled. Slices of a batch may have
    their own maps and masks. Single-coil data is one coil with map 1.

    Args:
        maps: coil maps; sum over coils of |s|^2 is 1 on the support, so that the norm of A is at most 1.
        mask: sampled points; leading axes are broadcast against those of the maps before sets and coils.
        sets: maps have an axis of map sets before the coils (ESPIRiT "soft SENSE"); images then have it before y.
        axes: those of -2 and -1 along which the mask varies (`varying_axes`); None looks at a mask on the CPU, and
            takes both for one elsewhere, which is right but slower.

    Raises:
        ValueError: if maps and mask differ in matrix size.

    Example:
        >>> A = mr.sense(maps, mask)
        >>> A
        Sense: 40 x 32 -> 4 x 40 x 32
        >>> y = A(image)  # (coil, y, x)
        >>> A.H(y).shape
        torch.Size([40, 32])
    """
    if maps.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"mask is {mask.shape[-2]} x {mask.shape[-1]}, coil maps are "
            f"{maps.shape[-2]} x {maps.shape[-1]}: make both for the same scan"
        )
    return Sense(maps, mask, sets=sets, axes=axes)


def varying_axes(mask: Shaped[Tensor, "*slices ky kx"]) -> tuple[int, ...]:
    """The axes, of -2 and -1, along which a mask is not constant; on a GPU this waits for its numbers."""
    return tuple(axis for axis in (-2, -1) if not bool((mask == mask.narrow(axis, 0, 1)).all()))


class Sense(LinearOperator):
    """The operator that `sense` makes; its attributes `maps` and `mask` are the arguments of `sense`.

    The centred FFT is shift @ F @ unshift. F^-1 M F is a circular convolution, which commutes with shifts of images:
    the Gram operator A^H A = S^H F^-1 M' F S shifts nothing but the mask, once on construction. In A and A^H the shift
    of the image is a phase of k-space, which goes with the mask; only k-space is shifted. Where the mask does not vary
    along an axis, the transforms along that axis cancel in A^H A and are left out.
    """

    def __init__(
        self,
        maps: Tensor,
        mask: Tensor,
        *,
        sets: bool = False,
        axes: Sequence[int] | None = None,
    ) -> None:
        self.maps, self.mask, self.sets = maps, mask, sets
        self._conjugate = maps.conj().resolve_conj()
        # Complex like the data that it multiplies, so that no conversion is needed.
        self._mask = ifftshift(mask).unsqueeze(-3).to(maps.dtype)
        # With the phase by which an inverse FFT gives a centred image.
        y, x = (_phase_ramp(n, self._mask) for n in mask.shape[-2:])
        self._centring = self._mask * (y[:, None] * x)
        if axes is None:
            axes = varying_axes(mask) if one_by_one(mask) else (-2, -1)
        self._gram_axes = tuple(axes)

    def forward(self, x: Shaped[Tensor, "*image_batch y x"]) -> Tensor:
        return fftshift(fft2(self._expand(x)) * self._centring.conj())

    def adjoint(self, y: Shaped[Tensor, "*batch coil y x"]) -> Tensor:
        return self._combine(ifft2(ifftshift(y) * self._centring))

    def gram(self, x: Tensor) -> Tensor:
        if (
            not self.sets
            and torch.is_grad_enabled()
            and (x.requires_grad or self.maps.requires_grad)
        ):
            return _Gram.apply(x, self.maps, self._mask, self._gram_axes)
        return self._gram(x)

    def solve(
        self,
        b: Tensor,
        weight: float | Tensor,
        start: Tensor | None = None,
        *,
        iterations: int,
        tolerance: float = 0.0,
    ) -> Tensor:
        inputs = (b, weight, start, self.maps)
        if torch.is_grad_enabled() and any(
            isinstance(x, Tensor) and x.requires_grad for x in inputs
        ):
            return super().solve(b, weight, start, iterations=iterations, tolerance=tolerance)
        shape = self._image_batch(b.shape, weight.shape if isinstance(weight, Tensor) else ())
        with torch.no_grad():
            return conjugate_gradient(
                self._gram,
                b.expand(shape),
                None if start is None else start.expand(shape),
                weight=weight,
                iterations=iterations,
                tolerance=tolerance,
                item_axes=self.image_axes,
            )

    def _gram(self, x: Tensor) -> Tensor:
        if self.sets or not one_by_one(x) or torch.get_num_threads() > FEW_THREADS:
            return self._combine(_masked(self._expand(x), self._mask, self._gram_axes))
        # Coil by coil, so that the data of one coil stay in the cache.
        mask = self._mask.squeeze(-3)
        image: Tensor | None = None
        for coil, conjugate in zip(self.maps.unbind(-3), self._conjugate.unbind(-3), strict=True):
            coil_image = _masked(coil * x, mask, self._gram_axes)
            image = (
                conjugate * coil_image if image is None else image.addcmul_(conjugate, coil_image)
            )
        assert image is not None
        return image

    @property
    def image_axes(self) -> int:
        return 3 if self.sets else 2

    @property
    def domain(self) -> Shape:
        coils = self.maps.ndim - 3
        sets = (self.maps.shape[coils - 1],) if self.sets else ()
        return (*sets, *self.maps.shape[-2:])

    @property
    def range(self) -> Shape:
        return tuple(self.maps.shape[-3:])

    def _image_batch(self, *shapes: tuple[int, ...]) -> torch.Size:
        """The shape of a batch of images, broadcast over maps, masks and the given shapes."""
        *leading, _, y, x = self.maps.shape
        sets = [leading.pop()] if self.sets else []
        masks = (*self.mask.shape[:-2], *[1] * (len(sets) + 2))
        return torch.broadcast_shapes((*leading, *sets, y, x), masks, *shapes)

    def support(self) -> Bool[Tensor, "*image_batch y x"]:
        """Where any coil map is not zero; elsewhere A x does not depend on x."""
        return (self.maps != 0).any(dim=-3)

    def squared_norm_bound(self) -> float:
        """Upper bound of ||A||^2, exact for full sampling: the largest eigenvalue of S^H S over all pixels.

        For maps that are zero everywhere it is 1, so that step sizes stay finite.
        """
        maps = self.maps if self.sets else self.maps.unsqueeze(-4)
        pixels = maps.flatten(-2).movedim(-1, -3)  # pixel, set, coil
        if pixels.shape[-2] == 1:
            return float(pixels.abs().square().sum(dim=-1).max()) or 1.0
        return float(torch.linalg.eigvalsh(pixels @ pixels.mH).max()) or 1.0

    def _expand(self, x: Tensor) -> Tensor:
        coil_images = self.maps * x.unsqueeze(-3)
        return coil_images.sum(dim=-4) if self.sets else coil_images

    def _combine(self, coil_images: Tensor) -> Tensor:
        if self.sets:
            coil_images = coil_images.unsqueeze(-4)
        return _combined(self._conjugate, coil_images)


def _masked(coil_images: Tensor, mask: Tensor, axes: Sequence[int]) -> Tensor:
    """F^-1 M F of coil images, overwritten, with the transforms along `axes` only."""
    spectrum = fft2(coil_images, axes) if axes else coil_images
    several = torch.broadcast_shapes(spectrum.shape, mask.shape) != spectrum.shape
    spectrum = spectrum * mask if several else spectrum.mul_(mask)
    return ifft2(spectrum, axes) if axes else spectrum


def _phase_ramp(n: int, like: Tensor) -> Tensor:
    """exp(-2 pi i k (n // 2) / n) for k = 0 ... n - 1, the phase that moves index 0 of the image to n // 2."""
    k = torch.arange(n, device=like.device)
    if n % 2 == 0:
        return (1 - 2 * (k % 2)).to(like.dtype)
    angle = (k * (n // 2) % n).to(like.real.dtype) * (-2 * torch.pi / n)
    return torch.polar(torch.ones_like(angle), angle)


def _combined(conjugate: Tensor, coil_images: Tensor) -> Tensor:
    if not one_by_one(coil_images):
        return (conjugate * coil_images).sum(-3)
    # One accumulation per coil: no multi-coil temporary, and faster than a product and a sum.
    coils = zip(conjugate.unbind(-3), coil_images.unbind(-3), strict=True)
    first, image_of_first = next(coils)
    image = first * image_of_first
    for of_coil, coil_image in coils:
        image.addcmul_(of_coil, coil_image)
    return image


class _Gram(torch.autograd.Function):
    """G x = S^H F^-1 M F S x, which is its own adjoint: the backward pass is one more application.

    With g the gradient of G x, that of x is G g and that of S is (F^-1 M F S g) x^* + (F^-1 M F S x) g^*.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor, mask: Tensor, axes: Sequence[int]) -> Tensor:
        coil_images = _masked(maps * x.unsqueeze(-3), mask, axes)
        ctx.axes = axes
        ctx.save_for_backward(x, maps, mask, coil_images if maps.requires_grad else None)
        return _combined(maps.conj(), coil_images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, maps, mask, coil_images = ctx.saved_tensors
        back = _masked(maps * g.unsqueeze(-3), mask, ctx.axes)
        of_x = (
            _combined(maps.conj(), back).sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        )
        of_maps = None
        if coil_images is not None:
            of_maps = back.mul_(x.conj().unsqueeze(-3))
            of_maps = of_maps.addcmul_(coil_images, g.conj().unsqueeze(-3)).sum_to_size(maps.shape)
        return of_x, of_maps, None, None
