"""Coil maps from a fully sampled calibration region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from mrirecon.tensors import ifft2c, pad_to, rss

# What calibrates most scans: side of the block and of the kernel in samples, share of singular values that are noise,
# eigenvalue below which there is no signal.
BLOCK, KERNEL, THRESHOLD, CROP = 24, 6, 0.02, 0.8


class CoilMaps(NamedTuple):
    """Maps of every set, and their ESPIRiT eigenvalues: close to 1 where there is signal, before cropping."""

    maps: Complex[Tensor, "*batch set coil y x"]
    eigenvalues: Float[Tensor, "*batch set y x"]


def espirit(
    calibration: Complex[Tensor, "*batch coil ky kx"],
    shape: tuple[int, int],
    *,
    kernel: int = KERNEL,
    threshold: float = THRESHOLD,
    crop: float = CROP,
    sets: int = 1,
    pixels_at_once: int = 2**16,
) -> CoilMaps:
    """ESPIRiT coil maps (Uecker et al. 2014).

    The projection onto the row space of the calibration matrix (all kernel x kernel windows of the calibration data)
    acts on k-space as a convolution, so in the image it is one coil x coil matrix per pixel, whose eigenvectors of
    eigenvalue 1 are the maps. That convolution has 2 kernel - 1 taps per axis: the matrices come from the projector
    directly, without a zero-padded FFT per kernel, and their leading eigenvectors from repeated squaring.

    Each set has sum over coils of |s|^2 = 1 where its eigenvalue exceeds `crop` and 0 elsewhere. Phase gauge: seen
    through the principal virtual coil of the calibration data, the maps are real and positive.

    Args:
        calibration: fully sampled, centred block of k-space.
        shape: image size (y, x) of the maps.
        kernel: window side in k-space samples.
        threshold: singular values below this share of the largest are taken as noise.
        crop: maps are zero where the eigenvalue is below this.
        sets: number of map sets, in order of falling eigenvalue.
        pixels_at_once: pixels whose coil x coil matrices are in memory together (times coils^2 complex numbers).

    Raises:
        ValueError: if the calibration block is smaller than the kernel, or more sets than coils are asked for.

    Example:
        found = mr.espirit(kspace[:, 10:30, 6:26], (40, 32))
        maps, eigenvalues = found.maps[0], found.eigenvalues[0]
    """
    height, width = calibration.shape[-2:]
    if min(height, width) < kernel:
        raise ValueError(
            f"calibration region is {height} x {width} samples, smaller than the {kernel} x {kernel} "
            "ESPIRiT kernel: use a smaller kernel, low-resolution maps, or maps from a file"
        )
    if not 1 <= sets <= calibration.shape[-3]:
        raise ValueError(f"{sets} sets of maps do not fit {calibration.shape[-3]} coils")
    taps = _convolution_taps(calibration, kernel, threshold)
    offsets = torch.arange(1 - kernel, kernel)  # on the CPU: not every device has float64
    phases_y, phases_x = (_phases(n, offsets).to(calibration) for n in shape)
    taps = torch.einsum("...cdij,xj->...xcdi", taps, phases_x)
    rows = max(1, pixels_at_once // taps[..., 0, 0, 0].numel())
    parts = []
    for chunk in phases_y.split(rows):
        matrices = torch.einsum("...xcdi,yi->...yxcd", taps, chunk)
        parts.append(_leading_eigenvectors(matrices, sets))
    maps = torch.cat([vectors for vectors, _ in parts], dim=-2)
    values = torch.cat([values for _, values in parts], dim=-2)
    maps = set_gauge(maps, principal_coil(calibration).unsqueeze(-2))
    return CoilMaps(maps * (values > crop).unsqueeze(-3), values)


def fitting_kernel(block: Sequence[int], kernel: int = KERNEL) -> int:
    """The kernel side for a calibration block (..., ky, kx): at most half its narrower side, and at least 2.

    A narrow block with a large kernel leaves eigenvalues below the crop in the middle of anatomy.
    """
    return min(kernel, max(2, min(block[-2:]) // 2))


def low_resolution_maps(
    calibration: Complex[Tensor, "*batch coil ky kx"], shape: tuple[int, int]
) -> Complex[Tensor, "*batch coil y x"]:
    """Coil images of the Hann-windowed calibration block over their RSS (McKenzie et al. 2002).

    They carry no object phase other than that of the principal virtual coil's image, and cover the whole image.
    """
    windows = [
        torch.hann_window(n + 2, periodic=False, dtype=calibration.real.dtype)[1:-1]
        for n in calibration.shape[-2:]
    ]
    window = torch.outer(*windows).to(calibration.device)
    images = ifft2c(pad_to(calibration * window, shape))
    maps = images / rss(images).clamp_min(torch.finfo(window.dtype).tiny).unsqueeze(-3)
    return set_gauge(maps, principal_coil(calibration))


def principal_coil(
    calibration: Complex[Tensor, "*batch coil ky kx"],
) -> Complex[Tensor, "*batch coil"]:
    """Unit coil weights w of the virtual coil w^H y that holds most of the energy (first principal component).

    Eigenvectors come with a phase that differs between devices: the largest weight is made real and positive.
    """
    samples = calibration.flatten(-2)
    weights = torch.linalg.eigh(samples @ samples.mH).eigenvectors[..., -1]
    largest = weights.abs().argmax(dim=-1, keepdim=True)
    return weights * weights.gather(-1, largest).sgn().conj()


def set_gauge(
    maps: Complex[Tensor, "*batch coil y x"], weights: Complex[Tensor, "*#batch coil"]
) -> Complex[Tensor, "*batch coil y x"]:
    """Rotate each pixel's phase so that the virtual coil w^H s is real and not negative."""
    virtual = torch.einsum("...c,...cyx->...yx", weights.conj(), maps)
    return maps * virtual.sgn().conj().unsqueeze(-3)


def _convolution_taps(calibration: Tensor, kernel: int, threshold: float) -> Tensor:
    """k-space taps (coil, coil, offset, offset) of the averaged projection onto the calibration row space."""
    *batch, coils, _, _ = calibration.shape
    windows = calibration.unfold(-2, kernel, 1).unfold(-2, kernel, 1)  # coil, py, px, ky, kx
    rows = windows.movedim(-5, -3).reshape(*batch, -1, coils * kernel**2)
    # Patches are rows a of A = U S V^H, so a^T = a^T V V^H and the projector acting on columns is its conjugate.
    values, vectors = torch.linalg.eigh(rows.mT @ rows.conj())
    signal = values > threshold**2 * values[..., -1:]
    projector = (vectors * signal.unsqueeze(-2)) @ vectors.mH
    projector = projector.reshape(*batch, coils, kernel, kernel, coils, kernel, kernel)
    size = 2 * kernel - 1
    taps = calibration.new_zeros(*batch, coils, coils, size, size)
    for i in range(kernel):
        for j in range(kernel):
            block = projector[..., :, i, j, :, :, :].flip(-2, -1)
            taps[..., i : i + kernel, j : j + kernel] += block
    return taps / kernel**2


def _phases(n: int, offsets: Int[Tensor, " offset"]) -> Complex[Tensor, "n offset"]:
    position = torch.arange(n, dtype=torch.float64) - n // 2
    return torch.exp(2j * torch.pi / n * torch.outer(position, offsets.double()))


def _leading_eigenvectors(matrices: Tensor, sets: int, squarings: int = 5) -> tuple[Tensor, Tensor]:
    """Eigenvectors (set, coil, y, x) and values (set, y, x) of Hermitian matrices (y, x, coil, coil).

    Squared `squarings` times, a matrix is nearly of rank one: its column of largest diagonal is the eigenvector, and
    two more products make that 3 * 2^squarings steps of the power method. Further sets come by deflation.
    """
    vectors, values = [], []
    for _ in range(sets):
        power = matrices
        for _ in range(squarings):
            power = power / _trace(power)
            power = power @ power
        column = power.diagonal(dim1=-2, dim2=-1).real.argmax(dim=-1, keepdim=True)
        v = torch.take_along_dim(power, column.unsqueeze(-2), dim=-1)
        for _ in range(2):
            v = power @ (v / _norm(v))
        v = v / _norm(v)
        value = (v.mH @ matrices @ v).real
        vectors.append(v.squeeze(-1).movedim(-1, -3))
        values.append(value.squeeze(-1).squeeze(-1))
        # Projected on both sides, so that the next set is orthogonal however inexact v is.
        if sets > 1:
            matrices = matrices - v @ (v.mH @ matrices)
            matrices = matrices - (matrices @ v) @ v.mH
    return torch.stack(vectors, dim=-4), torch.stack(values, dim=-3)


def _trace(matrices: Tensor) -> Tensor:
    # That of nothing may be negative by rounding.
    trace = matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1).abs()
    return trace.clamp_min(torch.finfo(trace.dtype).tiny)[..., None, None]


def _norm(vectors: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(vectors, dim=-2, keepdim=True)
    return norm.clamp_min(torch.finfo(norm.dtype).tiny)
