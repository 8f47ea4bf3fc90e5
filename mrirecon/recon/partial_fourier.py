"""Filling in the side of k-space that a partial Fourier acquisition left out.

Both methods assume that, but for a smooth phase, the image is real. They act on a reconstructed image, so they follow
any method.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.tensors import fft2c, ifft2c


def missing_side(acquired: Bool[Tensor, "y x"]) -> tuple[int, int, int] | None:
    """(axis, first, stop) of the acquired run where one side of k-space is cut shorter than the other, else None.

    It is the run about the centre: where k-space was rolled to have its echo there, a part that lies beyond the grid is
    at the other end. A difference of up to 2 % of the axis is the usual placement of an even grid, not partial Fourier.
    """
    for axis in (0, 1):
        line = acquired.any(dim=1 - axis)
        if not bool(line.any()):
            return None
        size, places = len(line), line.nonzero().flatten()
        first, stop = int(places[0]), int(places[-1]) + 1
        if bool(line[size // 2]):
            gaps = (~line).nonzero().flatten().tolist()
            first = max((gap + 1 for gap in gaps if gap < size // 2), default=0)
            stop = min((gap for gap in gaps if gap > size // 2), default=size)
        before, after = size // 2 - first, stop - 1 - size // 2
        if abs(before - after) > max(1, 0.02 * size):
            return axis, first, stop
    return None


def zero_filled(image: Complex[Tensor, "*batch y x"], acquired: Bool[Tensor, "y x"]) -> Tensor:
    """The image as it is."""
    return image


def homodyne(image: Complex[Tensor, "*batch y x"], acquired: Bool[Tensor, "y x"]) -> Tensor:
    """Homodyne detection (Noll, Nishimura & Macovski 1991).

    k-space is weighted by 2 where only one of each conjugate pair was acquired, by a ramp over the symmetric centre
    and by 0 on the missing side; the real part, seen in the phase of the symmetric centre, is kept.
    """
    side = missing_side(acquired)
    if side is None:
        return image
    phase = _smooth_phase(image, side)
    weights = _along(_homodyne_weights(side, acquired.shape[side[0]]), side[0]).to(image)
    return (ifft2c(fft2c(image) * weights) * phase.conj()).real * phase


def pocs(
    image: Complex[Tensor, "*batch y x"], acquired: Bool[Tensor, "y x"], iterations: int = 12
) -> Tensor:
    """Projection onto convex sets (Haacke, Lindskog & Lin 1991).

    Alternates the smooth phase of the symmetric centre with the acquired part of k-space.
    """
    side = missing_side(acquired)
    if side is None:
        return image
    phase = _smooth_phase(image, side)
    kspace = fft2c(image)
    axis = side[0]
    kept = _along(acquired.any(dim=1 - axis).to(image.device), axis)
    for _ in range(iterations):
        constrained = (image * phase.conj()).real.clamp_min(0) * phase
        image = ifft2c(torch.where(kept, kspace, fft2c(constrained)))
    return image


PARTIAL_FOURIER = {"zero": zero_filled, "homodyne": homodyne, "pocs": pocs}


def _symmetric_half(side: tuple[int, int, int], size: int) -> int:
    """How far the acquired run reaches on its shorter side of the k-space origin."""
    _, first, stop = side
    return min(size // 2 - first, stop - 1 - size // 2)


def _smooth_phase(image: Tensor, side: tuple[int, int, int]) -> Tensor:
    axis, size = side[0], image.shape[side[0] - 2]
    half = _symmetric_half(side, size)
    position = torch.arange(size, dtype=torch.float64) - size // 2
    window = torch.cos(position / (half + 1) * torch.pi / 2).square() * (position.abs() <= half)
    return ifft2c(fft2c(image) * _along(window, axis).to(image)).sgn()


def _homodyne_weights(side: tuple[int, int, int], size: int) -> Tensor:
    _, first, stop = side
    half = _symmetric_half(side, size)
    position = torch.arange(size, dtype=torch.float64) - size // 2
    if size // 2 - first > stop - 1 - size // 2:  # the late side is the missing one
        position = -position
    return 1 + (position / (half + 0.5)).clamp(-1, 1)


def _along(line: Tensor, axis: int) -> Tensor:
    return line[:, None] if axis == 0 else line[None, :]
