"""Coil maps from a fully sampled calibration region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from mrirecon.tensors import ifft2c, one_by_one, pad_to, rss

# Defaults: side of the calibration block and of the kernel in samples, singular values (over the largest one) that are
# noise, eigenvalue below which there is no signal.
BLOCK, KERNEL, THRESHOLD, CROP = 24, 6, 0.02, 0.8
# Along an axis at so many pixels eigenvectors are found from scratch. Those between start from these, with so many more
# than are asked for, and take so many iterations.
NODES, SPARE, ITERATIONS = 64, 3, 2


class CoilMaps(NamedTuple):
    """Coil maps of every set, and their ESPIRiT eigenvalues before cropping, close to 1 where there is signal."""

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
    entries_at_once: int = 2**18,
) -> CoilMaps:
    """ESPIRiT coil maps (Uecker et al., MRM 71:990, 2014).

    The projection onto the row space of the calibration matrix (all kernel x kernel windows of the calibration data)
    acts on k-space as a convolution, so in the image it is one coil x coil matrix per pixel, whose eigenvectors of
    eigenvalue 1 are the maps. That convolution has 2 kernel - 1 taps per axis: the matrices come from the projector
    directly, without a zero-padded FFT per kernel. Their eigenvectors are found on a coarse grid, and from there, by
    subspace iteration, at every pixel: the work grows with the square of the coils, not with their cube.

    In each set the sum over coils of |s|^2 is 1 where its eigenvalue exceeds `crop` and 0 elsewhere. The phase is fixed
    by requiring that the maps, combined by the weights of the principal virtual coil, are real and positive.

    Args:
        calibration: fully sampled, centred block of k-space.
        shape: image size (y, x) of the maps.
        kernel: window side in k-space samples.
        threshold: singular values below this fraction of the largest are taken as noise.
        crop: maps are zero where the eigenvalue is below this.
        sets: number of map sets, in order of falling eigenvalue.
        entries_at_once: entries of the coil x coil matrices that are held in memory at the same time; those of one row
            of pixels at least. Few of them stay in the cache of a CPU; a GPU takes 256 times as many.

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
    steps = [max(1, n // NODES) for n in shape]
    nodes = [torch.arange(step // 2, n, step) for n, step in zip(shape, steps, strict=True)]
    nodes_y, nodes_x = nodes
    span = min(sets + SPARE, calibration.shape[-3])
    matrices = _matrices(taps[..., nodes_x, :, :, :], phases_y[nodes_y])
    spans = torch.linalg.eigh(matrices).eigenvectors[..., -span:]
    y, x = (
        (torch.arange(n) // step).clamp_max(len(some) - 1)
        for n, step, some in zip(shape, steps, nodes, strict=True)
    )
    entries = entries_at_once if one_by_one(taps) else 256 * entries_at_once
    rows = max(1, entries // taps[..., 0].numel())
    parts = [
        _leading_eigenvectors(
            _matrices(taps, phases), spans[..., near, :, :, :][..., x, :, :], sets
        )
        for phases, near in zip(phases_y.split(rows), y.split(rows), strict=True)
    ]
    maps = torch.cat([vectors for vectors, _ in parts], dim=-2)
    values = torch.cat([values for _, values in parts], dim=-2)
    maps = set_gauge(maps, principal_coil(calibration).unsqueeze(-2))
    return CoilMaps(maps * (values > crop).unsqueeze(-3), values)


def fitting_kernel(block: Sequence[int], kernel: int = KERNEL) -> int:
    """The kernel side for a calibration block (..., ky, kx): at most half its narrower side, and at least 2.

    With a larger kernel, a narrow block gives eigenvalues below the crop inside the anatomy.
    """
    return min(kernel, max(2, min(block[-2:]) // 2))


def low_resolution_maps(
    calibration: Complex[Tensor, "*batch coil ky kx"], shape: tuple[int, int]
) -> Complex[Tensor, "*batch coil y x"]:
    """Coil images of the Hann-windowed calibration block over their RSS (McKenzie et al., MRM 47:529, 2002).

    They cover the whole image, and their phase is relative to the image of the principal virtual coil.
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
    """Unit coil weights w of the virtual coil w^H y with the largest energy (first principal component).

    The phase of eigenvectors differs between devices, so that the largest weight is made real and positive.
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
    # Patches are rows a of A = U S V^H, so a^T = a^T V V^H and the projector acting on columns is its conjugate. The
    # smaller of the two Gram matrices gives V: itself, or as A^H U / S.
    wide = rows.shape[-1] > rows.shape[-2]
    gram = rows.conj() @ rows.mT if wide else rows.mT @ rows.conj()
    values, vectors = torch.linalg.eigh(gram)
    signal = values > threshold**2 * values[..., -1:]
    if wide:
        scale = torch.where(signal, values, 1).rsqrt()
        vectors = rows.mT @ (vectors * scale.unsqueeze(-2))
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


def _matrices(
    taps: Complex[Tensor, "*batch x coil coil offset"], phases: Complex[Tensor, "y offset"]
) -> Complex[Tensor, "*batch y x coil coil"]:
    return torch.einsum("...xcdi,yi->...yxcd", taps, phases)


def _leading_eigenvectors(
    matrices: Complex[Tensor, "*batch y x coil coil"],
    span: Complex[Tensor, "*batch y x coil span"],
    sets: int,
) -> tuple[Complex[Tensor, "*batch set coil y x"], Float[Tensor, "*batch set y x"]]:
    """Leading eigenvectors and eigenvalues, by subspace iteration from eigenvectors of a pixel nearby.

    The Rayleigh-Ritz step at the end tells eigenvectors apart whose eigenvalues are close, as at the rim of the head.
    """
    for _ in range(ITERATIONS):
        span = _orthonormal(matrices @ span)
    inner = span.mH @ matrices @ span
    vectors = span @ _by_squaring(inner, span, sets)
    vectors = vectors / _norm(vectors)
    values = _inner(vectors, matrices @ vectors).squeeze(-2).real
    return vectors.movedim((-1, -2), (-4, -3)), values.movedim(-1, -3)


def _orthonormal(vectors: Tensor) -> Tensor:
    """Columns made orthonormal one after another (Gram and Schmidt)."""
    done: list[Tensor] = []
    for v in vectors.split(1, dim=-1):
        for other in done:
            v = v - other * _inner(other, v)
        done.append(v / _norm(v))
    return torch.cat(done, dim=-1)


def _by_squaring(matrices: Tensor, span: Tensor, sets: int, squarings: int = 5) -> Tensor:
    """Leading eigenvectors (..., row, set) of Hermitian matrices that are small, since they are taken within a span.

    After `squarings` squarings the matrix of all coils is nearly of rank one, and its column with the largest diagonal
    entry is the eigenvector; with two more products this equals 3 * 2^squarings steps of the power method. Further sets
    are found by deflation.
    """
    vectors = []
    for _ in range(sets):
        power = matrices
        for _ in range(squarings):
            power = power / _trace(power)
            power = power @ power
        of_coils = (span @ power * span.conj()).sum(-1).real  # the diagonal
        coil = of_coils.argmax(dim=-1, keepdim=True).unsqueeze(-1)
        v = power @ torch.take_along_dim(span, coil, dim=-2).mH
        for _ in range(2):
            v = power @ (v / _norm(v))
        v = v / _norm(v)
        vectors.append(v)
        if sets > 1:  # on both sides, so that the next set is orthogonal even if v is inexact
            matrices = matrices - v @ (v.mH @ matrices)
            matrices = matrices - (matrices @ v) @ v.mH
    return torch.cat(vectors, dim=-1)


def _trace(matrices: Tensor) -> Tensor:
    # For zero matrices rounding may give a negative trace.
    trace = matrices.diagonal(dim1=-2, dim2=-1).real.sum(-1).abs()
    return trace.clamp_min(torch.finfo(trace.dtype).tiny)[..., None, None]


def _norm(vectors: Tensor) -> Tensor:
    # On CPUs three times faster than the norm of complex numbers that torch has.
    norm = _inner(vectors, vectors).real.sqrt()
    return norm.clamp_min(torch.finfo(norm.dtype).tiny)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).sum(-2, keepdim=True)
