"""The coil-sensitivity forward operator: Mask @ Fourier @ Coils, with the FFT shifts folded away."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Shaped
from torch import Tensor

from mrirecon.operators.base import LinearOperator
from mrirecon.tensors import fft2, fftshift, ifft2, ifftshift


def sense(
    maps: Complex[Tensor, "*batch coil y x"],
    mask: Bool[Tensor, "*slices ky kx"],
    *,
    sets: bool = False,
) -> Sense:
    """The operator A = M F S of multi-coil Cartesian MRI (Pruessmann et al. 1999).

    It maps images (*batch, y, x) to k-space (*batch, coil, y, x), zero where not sampled. Slices of a batch may have
    their own maps and masks. Single-coil data is one coil with map 1.

    Args:
        maps: coil maps; sum over coils of |s|^2 is 1 on the support, so that the norm of A is at most 1.
        mask: sampled points; leading axes are broadcast against those of the maps before sets and coils.
        sets: maps have an axis of map sets before the coils (ESPIRiT "soft SENSE"); images then have it before y.

    Raises:
        ValueError: if maps and mask differ in matrix size.
    """
    if maps.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"mask is {mask.shape[-2]} x {mask.shape[-1]}, coil maps are "
            f"{maps.shape[-2]} x {maps.shape[-1]}: make both for the same scan"
        )
    return Sense(maps, mask, sets=sets)


class Sense(LinearOperator):
    """See `sense`. `maps` and `mask` are centred, as given.

    The centred FFT is shift @ F @ unshift. Maps and mask are unshifted once here, so that the Gram operator
    A^H A = shift @ S'^H F^-1 M' F S' @ unshift shifts nothing but the single-channel image, for any size. Where the
    mask does not vary along an axis, the transforms along that axis cancel in A^H A and are left out.
    """

    def __init__(self, maps: Tensor, mask: Tensor, *, sets: bool = False) -> None:
        self.maps, self.mask, self.sets = maps, mask, sets
        self._maps = ifftshift(maps).contiguous()
        self._conjugate = self._maps.conj().resolve_conj()
        self._mask = ifftshift(mask).unsqueeze(-3)
        self._gram_axes = [
            axis for axis in (-2, -1) if not bool((mask == mask.narrow(axis, 0, 1)).all())
        ]

    def forward(self, x: Shaped[Tensor, "*image_batch y x"]) -> Tensor:
        kspace = fft2(self._expand(ifftshift(x)))
        return fftshift(kspace * self._mask)

    def adjoint(self, y: Shaped[Tensor, "*batch coil y x"]) -> Tensor:
        return fftshift(self._combine(ifft2(ifftshift(y) * self._mask)))

    def gram(self, x: Tensor) -> Tensor:
        coil_images = self._expand(ifftshift(x))
        if self._gram_axes:
            coil_images = ifft2(
                fft2(coil_images, self._gram_axes).mul_(self._mask), self._gram_axes
            )
        else:
            coil_images = coil_images * self._mask
        return fftshift(self._combine(coil_images))

    @property
    def image_axes(self) -> int:
        """Trailing axes of one image: (y, x), or (set, y, x)."""
        return 3 if self.sets else 2

    def support(self) -> Bool[Tensor, "*image_batch y x"]:
        """Where an image has any coil to see it; outside, A x does not depend on x."""
        return (self.maps != 0).any(dim=-3)

    def squared_norm_bound(self) -> float:
        """Upper bound of ||A||^2, reached when all points are sampled: the largest of the pixels' own norms.

        Maps that are zero everywhere have 1, so that step sizes stay finite.
        """
        maps = self.maps if self.sets else self.maps.unsqueeze(-4)
        pixels = maps.flatten(-2).movedim(-1, -3)  # pixel, set, coil
        if pixels.shape[-2] == 1:
            return float(pixels.abs().square().sum(dim=-1).max()) or 1.0
        return float(torch.linalg.eigvalsh(pixels @ pixels.mH).max()) or 1.0

    def _expand(self, x: Tensor) -> Tensor:
        coil_images = self._maps * x.unsqueeze(-3)
        return coil_images.sum(dim=-4) if self.sets else coil_images

    def _combine(self, coil_images: Tensor) -> Tensor:
        # One accumulation per coil: no multi-coil temporary, and faster than a product and a sum.
        if self.sets:
            coil_images = coil_images.unsqueeze(-4)
        coils = zip(self._conjugate.unbind(-3), coil_images.unbind(-3), strict=True)
        first, image_of_first = next(coils)
        image = first * image_of_first
        for conjugate, coil_image in coils:
            image.addcmul_(conjugate, coil_image)
        return image
