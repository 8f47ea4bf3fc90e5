"""Scans whose truth is known: coil maps, phase, noise and geometry are ours, and there is no inverse crime.

The object lives on a grid `oversample` times finer than the image; its k-space is cut out of the finer grid's. The
reconstruction grid therefore cannot represent the object exactly, as with a real scanner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.phantom import shepp_logan, shepp_logan_kspace
from mrirecon.scan import Geometry, Scan
from mrirecon.tensors import center_crop, fft2c, ifft2c, pad_to, rss

__all__ = [
    "Simulation",
    "birdcage_maps",
    "coupled_covariance",
    "demo_simulation",
    "geometry_from_affine",
    "shepp_logan",
    "shepp_logan_kspace",
    "simulate_scan",
    "smooth_phase",
]

_NODES = 32  # Chebyshev nodes per axis for the coil fields
_SEGMENTS = 64  # of each coil loop
_PHASE, _NOISE = 1, 2  # first word of the seeds, so that the streams differ


class Simulation(NamedTuple):
    """A simulated scan and what it was made from.

    Attributes:
        scan: noisy, fully sampled up to partial Fourier; `scan.reference` is the magnitude of `truth`.
        truth: slice -> complex image (readout, phase) of `scan.matrix` size, noise-free, limited to the k-space band.
        maps: slice -> coil maps (coil, readout, phase) on the k-space grid, zero outside the reconstruction FOV.
    """

    scan: Scan
    truth: Callable[[int], Complex[Tensor, "readout phase"]]
    maps: Callable[[int], Complex[Tensor, "coil readout phase"]]


def simulate_scan(
    image: Float[np.ndarray, "..."],
    *,
    coils: int = 8,
    noise_std: float | None = None,
    snr: float | None = None,
    correlation: float = 0.0,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    phase_rad: float = 3.0,
    oversample: int = 2,
    readout_oversampling: float = 1.0,
    partial_fourier: float = 1.0,
    affine: Float[np.ndarray, "4 4"] | None = None,
    frame: str = "scanner",
    seed: int = 0,
    source: str = "simulation",
) -> Simulation:
    """Multi-coil k-space of an image volume, lazy by slice and independent of the order in which slices are read.

    Args:
        image: array axes are taken as (readout, phase[, slice]); its values are the magnitude.
        coils: number of receive coils, see `birdcage_maps`.
        noise_std: standard deviation of the k-space noise per real component, in image units.
        snr: instead of `noise_std`: the 0.99 quantile of the non-zero image values over noise_std.
        correlation: noise correlation of neighbouring coils, in [0, 1), see `coupled_covariance`.
        noise_covariance: instead of the three above: E[n n^H] per complex sample.
        phase_rad: bound of the smooth random phase of the object.
        oversample: ratio of the object's grid to the image's; 1 makes the discrete model exact (an inverse crime).
        readout_oversampling: k-space FOV over image FOV along the readout.
        partial_fourier: fraction of the phase-encoding columns that are acquired, above 0.5.
        affine: 4 x 4 from array index to RAS mm, as in NIfTI; None leaves the geometry unknown.
        frame: what the affine refers to (`Geometry.frame`).
        seed: seed of the phase and of the noise.
        source: name of the scan.

    Raises:
        ValueError: if an argument is out of its range, or the image is empty, zero or not finite.

    Example:
        image, affine = mr.read_image("head.nii.gz")
        scan, truth, maps = mr.simulate_scan(image, coils=8, snr=40.0, affine=affine)
    """
    volume = _checked_image(image)
    if coils < 1:
        raise ValueError(f"a scan with {coils} coils measures nothing: give 1 or more")
    if oversample < 1:
        raise ValueError(
            f"oversample is {oversample}: the finer grid needs an integer of 1 or more"
        )
    if not 1 <= readout_oversampling < math.inf:
        raise ValueError(f"readout_oversampling is {readout_oversampling}: give 1 or more")
    covariance = _resolve_covariance(volume, coils, noise_std, snr, correlation, noise_covariance)
    height, width, slices = volume.shape
    rows = round(readout_oversampling * height)
    acquired = _partial_fourier(rows, width, partial_fourier)
    geometry = Geometry() if affine is None else geometry_from_affine(affine, volume.shape)
    geometry = replace(geometry, frame=frame)
    voxel = geometry.voxel_mm or (1.0, 1.0, 1.0)
    fov = (height * voxel[0], width * voxel[1])
    positions = [(index - (slices - 1) / 2) * voxel[2] for index in range(slices)]

    def maps_on(shape: tuple[int, int], index: int) -> Tensor:
        return birdcage_maps(shape, coils, fov_mm=fov, positions_mm=positions[index : index + 1])[0]

    def measure(fine: Tensor) -> Tensor:
        """The central k-space of images on the object's grid; keeps image intensities."""
        kspace = center_crop(fft2c(fine, (-1,)), (fine.shape[-2], width))
        kspace = pad_to(kspace, (rows * oversample, width))
        return center_crop(fft2c(kspace, (-2,)), (rows, width)) / oversample

    def fine_object(index: int) -> Tensor:
        magnitude = _upsampled(volume[:, :, index], oversample)
        phase = smooth_phase(magnitude.shape, phase_rad, index / max(slices - 1, 1), seed)
        return torch.polar(torch.from_numpy(magnitude), phase)

    def read(_: int, index: int) -> Tensor:
        fine = fine_object(index)
        kspace = measure(maps_on((fine.shape[0], fine.shape[1]), index) * fine.to(torch.complex64))
        if covariance is not None:
            kspace = kspace + _noise(covariance, kspace.shape, (_NOISE, seed, index))
        return kspace * acquired

    def truth(index: int) -> Tensor:
        return center_crop(ifft2c(measure(fine_object(index))), (height, width)).to(torch.complex64)

    start = rows // 2 - height // 2
    scan = Scan(
        source=source,
        format="simulation",
        shape=(slices, coils, rows, width),
        read=read,
        acquired=acquired,
        sampling=lambda volume, index: acquired,
        crop=(slice(start, start + height), slice(0, width)),
        matrix=(height, width),
        geometry=geometry,
        oversampling=rows / height,
        noise_covariance=covariance,
        reference=lambda index: truth(index).abs(),
        attributes={"seed": seed, "phase_rad": phase_rad, "oversample": oversample},
        notes=("simulated",),
    )
    return Simulation(scan, truth, lambda i: pad_to(maps_on((height, width), i), (rows, width)))


def demo_simulation(
    image: Float[np.ndarray, "readout phase slice"],
    affine: Float[np.ndarray, "4 4"],
    *,
    slices: slice = slice(None),
    **options: Any,
) -> Simulation:
    """The embedded scan of `mrirecon demo`: 8 coupled coils, strong phase, noise and twofold readout oversampling.

    Args:
        image: nibabel's own brain volume (the first of `nibabel/tests/data/example4d.nii.gz`), or any other.
        affine: its 4 x 4 matrix from array index to RAS mm.
        slices: run of slices to simulate.
        options: of `simulate_scan`, to differ from the demo's.
    """
    preset = {"coils": 8, "snr": 40.0, "correlation": 0.3, "readout_oversampling": 2.0}
    start, stop, _ = slices.indices(image.shape[2])
    shifted = affine.copy()
    shifted[:3, 3] = affine[:3, 3] + start * affine[:3, 2]
    return simulate_scan(image[:, :, start:stop], affine=shifted, **{**preset, **options})


def birdcage_maps(
    shape: tuple[int, int],
    coils: int,
    *,
    fov_mm: tuple[float, float] | None = None,
    positions_mm: Sequence[float] = (0.0,),
    distance: float = 1.5,
) -> Complex[Tensor, "slice coil readout phase"]:
    """Coil maps of current loops on an elliptic cylinder around the FOV, by the law of Biot and Savart.

    The map of a coil is B_x - i B_y, its receive sensitivity by reciprocity for B0 along the slice axis (Roemer et al.
    1990), divided by the root sum of squares of all coils. More than 12 coils are spread over several rings along
    the slice axis, each turned against the last. Pixel (N // 2, N // 2) is the centre; the same position has the same
    value on every grid.

    Args:
        shape: (readout, phase).
        coils: how many, 1 or more.
        fov_mm: extent of the image; None stands for 1 mm pixels.
        positions_mm: one per slice, distance from the centre of the coil array along the slice axis.
        distance: semi-axes of the cylinder in units of half the FOV; above 1.42, so that no wire crosses the image.

    Raises:
        ValueError: if there are no coils, no pixels, or wires would cross the image.

    Example:
        maps = mr.birdcage_maps((64, 48), 8)[0]  # (coil, readout, phase)
    """
    if coils < 1 or min(shape) < 1:
        raise ValueError(f"cannot make maps of {coils} coils on a {shape[0]} x {shape[1]} grid")
    if distance < 1.42:
        raise ValueError(f"coil distance is {distance}: below 1.42 its wires cross the image")
    half_x, half_y = (0.5 * length for length in (shape if fov_mm is None else fov_mm))
    loops = _coil_array(coils, distance * half_x, distance * half_y)
    # The fields are analytic inside the FOV: few Chebyshev nodes represent them, on any grid.
    polynomial = np.polynomial.chebyshev
    nodes = polynomial.chebpts1(_NODES)
    fit = np.linalg.inv(polynomial.chebvander(nodes, _NODES - 1))
    rows, columns = (
        torch.from_numpy(polynomial.chebvander((np.arange(n) - n // 2) * 2 / n, _NODES - 1) @ fit)
        for n in shape
    )
    x, y = torch.meshgrid(*(torch.from_numpy(h * nodes) for h in (half_x, half_y)), indexing="ij")
    maps = []
    for z in positions_mm:
        points = torch.stack([x, y, torch.full_like(x, z)], dim=-1).reshape(-1, 3)
        fields = _receive_fields(loops, points).reshape(coils, _NODES, _NODES)
        fields = (rows.to(fields.dtype) @ fields @ columns.to(fields.dtype).T).to(torch.complex64)
        maps.append(fields / rss(fields, dim=0))
    return torch.stack(maps)


def smooth_phase(
    shape: tuple[int, ...], bound_rad: float, depth: float = 0.0, seed: int = 0
) -> Float[Tensor, "readout phase"]:
    """Smooth random phase within +-bound_rad: eight cosines of at most one period per FOV and axis.

    Args:
        shape: (readout, phase) of the grid on which it is evaluated; positions are relative to the FOV.
        bound_rad: the sum of the amplitudes.
        depth: position along the slice axis, 0 to 1.
        seed: the same seed is the same function of position on every grid.
    """
    random = np.random.default_rng([_PHASE, seed])
    amplitudes = random.uniform(0.5, 1.0, 8)
    y, x = ((np.arange(n) - n // 2) / n for n in shape)
    phase = np.zeros(shape)
    for amplitude in bound_rad * amplitudes / amplitudes.sum():
        ky, kx, kz = random.uniform(-1, 1, 3)
        offset = random.uniform(0, 1)
        turns = ky * y[:, None] + kx * x[None, :] + kz * depth + offset
        phase += amplitude * np.cos(2 * np.pi * turns)
    return torch.from_numpy(phase)


def coupled_covariance(
    coils: int, noise_std: float, correlation: float
) -> Complex[Tensor, "coil coil"]:
    """Noise covariance E[n n^H] = 2 noise_std^2 r^|i-j| e^(i(i-j)) of coils that couple to their neighbours.

    Raises:
        ValueError: if the correlation r lies outside [0, 1) or noise_std is not positive.
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"noise correlation is {correlation}: give a value in [0, 1)")
    if not 0 < noise_std < math.inf:
        raise ValueError(f"noise_std is {noise_std}: give a positive number, or none for no noise")
    lag = torch.arange(coils, dtype=torch.float64)
    lag = lag[:, None] - lag[None, :]
    return 2 * noise_std**2 * torch.polar(correlation ** lag.abs(), lag)


def geometry_from_affine(affine: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> Geometry:
    """LPS geometry of an image grid from its RAS affine; a sheared or degenerate affine leaves the orientation unknown.

    Args:
        affine: from array index (readout, phase, slice) to RAS mm.
        shape: of the array.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, dtype=float)
    columns = lps[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(lps).all() or lengths.min() <= 0:
        return Geometry(note="the image's affine is degenerate: geometry unknown")
    voxel = (float(lengths[0]), float(lengths[1]), float(lengths[2]))
    directions = columns / lengths
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-3):
        return Geometry(voxel_mm=voxel, note="the image's affine is sheared: orientation unknown")
    centers = [lps[:3] @ [shape[0] // 2, shape[1] // 2, index, 1] for index in range(shape[2])]
    return Geometry(
        voxel_mm=voxel,
        directions=tuple((float(a), float(b), float(c)) for a, b, c in directions.T),
        centers_mm=tuple((float(a), float(b), float(c)) for a, b, c in centers),
    )


class _Loops(NamedTuple):
    """Circular current loops whose axes lie in the image plane."""

    centers: Float[Tensor, "coil 3"]
    tangents: Float[Tensor, "coil 3"]
    radius: float


def _coil_array(coils: int, semi_x: float, semi_y: float) -> _Loops:
    """Rings of at most 12 loops on an elliptic cylinder; neighbours overlap a little, as in real arrays."""
    rings = math.ceil(coils / 12)
    mean = 0.5 * (semi_x + semi_y)
    per_ring = [coils // rings + (ring < coils % rings) for ring in range(rings)]
    radius = min(0.55 * 2 * math.pi * mean / per_ring[0], 0.7 * mean)
    centers, tangents = [], []
    for ring, count in enumerate(per_ring):
        height = 1.5 * radius * (ring - (rings - 1) / 2)
        for step in range(count):
            angle = 2 * math.pi * (step + 0.5 * (ring % 2)) / count
            centers.append([semi_x * math.cos(angle), semi_y * math.sin(angle), height])
            tangents.append([-semi_x * math.sin(angle), semi_y * math.cos(angle), 0.0])
    tangent = torch.tensor(tangents, dtype=torch.float64)
    return _Loops(
        torch.tensor(centers, dtype=torch.float64),
        tangent / torch.linalg.vector_norm(tangent, dim=1, keepdim=True),
        radius,
    )


def _receive_fields(
    loops: _Loops, points: Float[Tensor, "point 3"]
) -> Complex[Tensor, "coil point"]:
    """B_x - i B_y of unit currents, without the factor mu0 / 4 pi: the sum of dl x r / |r|^3 along each loop.

    The trapezoidal rule is exact to rounding here: the integrand is periodic and analytic off the wire.
    """
    angle = torch.arange(_SEGMENTS, dtype=torch.float64)[:, None] * (2 * math.pi / _SEGMENTS)
    axial = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    fields = []
    for center, tangent in zip(loops.centers, loops.tangents, strict=True):
        wire = center + loops.radius * (angle.cos() * tangent + angle.sin() * axial)
        step = loops.radius * (angle.cos() * axial - angle.sin() * tangent) * angle[1]
        r = points[:, None] - wire
        field = torch.linalg.cross(step.expand_as(r), r)
        field = (field / torch.linalg.vector_norm(r, dim=-1, keepdim=True) ** 3).sum(dim=1)
        fields.append(torch.complex(field[:, 0], -field[:, 1]))
    return torch.stack(fields)


def _checked_image(image: np.ndarray) -> np.ndarray:
    """The image as float64 (readout, phase, slice)."""
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(f"image to simulate from is {image.shape}: give (readout, phase[, slice])")
    volume = np.asarray(image, dtype=np.float64)
    if not np.isfinite(volume).all():
        raise ValueError("image to simulate from holds NaN or infinite values: repair it first")
    if not volume.any():
        raise ValueError("image to simulate from is zero everywhere: there is nothing to scan")
    return volume if volume.ndim == 3 else volume[:, :, None]


def _resolve_covariance(
    volume: np.ndarray,
    coils: int,
    noise_std: float | None,
    snr: float | None,
    correlation: float,
    covariance: Tensor | None,
) -> Tensor | None:
    """Noise covariance from whichever of the three ways it was given in; None for no noise."""
    if sum(option is not None for option in (noise_std, snr, covariance)) > 1:
        raise ValueError("noise is given twice: use one of noise_std, snr and noise_covariance")
    if covariance is not None:
        if tuple(covariance.shape) != (coils, coils):
            raise ValueError(
                f"noise covariance is {tuple(covariance.shape)}, the array has {coils} coils"
            )
        if torch.linalg.cholesky_ex(covariance).info != 0:
            raise ValueError(
                "noise covariance is not positive definite: it is singular or no covariance"
            )
        return covariance.to(torch.complex128)
    if snr is not None:
        if not 0 < snr < math.inf:
            raise ValueError(f"snr is {snr}: give a positive number")
        noise_std = float(np.quantile(np.abs(volume[volume != 0]), 0.99)) / snr
    return None if noise_std is None else coupled_covariance(coils, noise_std, correlation)


def _partial_fourier(rows: int, width: int, fraction: float) -> Tensor:
    """Acquired points: the last columns, a fraction of them."""
    if not 0.5 < fraction <= 1:
        raise ValueError(f"partial_fourier is {fraction}: give a fraction above 0.5, at most 1")
    columns = math.ceil(fraction * width - 1e-9)  # 0.55 * 100 is above 55
    acquired = torch.ones(rows, width, dtype=torch.bool)
    acquired[:, : width - columns] = False
    return acquired


def _upsampled(image: np.ndarray, factor: int) -> np.ndarray:
    """Cubic spline through the pixels on a grid `factor` times finer; index N // 2 stays the same place."""
    from scipy import ndimage  # slow to import

    if factor == 1:
        return image
    grids = [n // 2 + (np.arange(factor * n) - factor * n // 2) / factor for n in image.shape]
    return ndimage.map_coordinates(
        image, np.meshgrid(*grids, indexing="ij"), order=3, mode="grid-constant"
    )


def _noise(covariance: Tensor, shape: torch.Size, seed: tuple[int, ...]) -> Tensor:
    """Complex normal noise (coil, readout, phase) with the given covariance between coils."""
    parts = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, *shape)))
    white = torch.complex(parts[0], parts[1]) / math.sqrt(2)  # E|n|^2 = 1
    mixed = torch.linalg.cholesky(covariance) @ white.flatten(1)
    return mixed.reshape(shape).to(torch.complex64)
