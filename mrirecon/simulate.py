"""Scans whose truth is known: coil maps, phase, noise and geometry are ours, and there is no inverse crime.

The object lives on a grid `oversample` times finer than the image; its k-space is cut out of the finer grid's. The
reconstruction grid therefore cannot represent the object exactly, as with a real scanner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.birdcage import birdcage_maps
from mrirecon.geometry import Geometry, geometry_from_affine
from mrirecon.gradient_echo import GradientEcho
from mrirecon.scan import Scan
from mrirecon.tensors import center_crop, fft2c, ifft2c, pad_to

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

    def __repr__(self) -> str:
        return f"Simulation of {self.scan!r}, with truth and maps"


def simulate_scan(
    image: Float[np.ndarray, "..."],
    *,
    coils: int = 8,
    noise_std: float | None = None,
    snr: float | None = None,
    correlation: float = 0.0,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    phase_rad: float = 3.0,
    echo: GradientEcho | None = None,
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
        echo: phase of air, fat and tissue on top of it; None for a spin echo, which has none. The truth is complex: its
            magnitude is below the image's where fat meets water.
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
    magnitude = _checked_image(image)
    if coils < 1:
        raise ValueError(f"a scan with {coils} coils measures nothing: give 1 or more")
    if oversample < 1:
        raise ValueError(
            f"oversample is {oversample}: the finer grid needs an integer of 1 or more"
        )
    if not 1 <= readout_oversampling < math.inf:
        raise ValueError(f"readout_oversampling is {readout_oversampling}: give 1 or more")
    noise = _resolve_covariance(magnitude, coils, noise_std, snr, correlation, noise_covariance)
    height, width, slices = magnitude.shape
    rows = round(readout_oversampling * height)
    acquired = _partial_fourier(rows, width, partial_fourier)
    geometry = Geometry() if affine is None else geometry_from_affine(affine, magnitude.shape)
    voxel = geometry.voxel_mm or (1.0, 1.0, 1.0)
    if echo is not None:
        magnitude = echo(magnitude, voxel, _field_direction(affine))
    scanner = _Scanner(magnitude, voxel, coils, acquired, noise, phase_rad, oversample, seed)
    start = rows // 2 - height // 2
    scan = Scan(
        source=source,
        format="simulation",
        shape=(slices, coils, rows, width),
        read=scanner.measure,
        acquired=acquired,
        sampling=lambda volume, index: acquired,
        crop=(slice(start, start + height), slice(0, width)),
        matrix=(height, width),
        geometry=replace(geometry, frame=frame),
        oversampling=rows / height,
        noise_covariance=noise,
        reference=lambda index: scanner.truth(index).abs(),
        attributes={"seed": seed, "phase_rad": phase_rad, "oversample": oversample},
        notes=("simulated",),
    )
    return Simulation(scan, scanner.truth, scanner.maps)


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


@dataclass(frozen=True, eq=False)
class _Scanner:
    """What is measured of an object, slice by slice.

    Attributes:
        object: magnitudes or complex values, (readout, phase, slice).
        voxel_mm: size of its voxels; the coil array lies around their middle.
        coils: how many.
        acquired: points of k-space (readout, phase).
        noise: its covariance; None for no noise.
        phase_rad, oversample, seed: as of `simulate_scan`.
    """

    object: np.ndarray
    voxel_mm: tuple[float, float, float]
    coils: int
    acquired: Tensor
    noise: Tensor | None
    phase_rad: float
    oversample: int
    seed: int

    def measure(self, _: int, index: int) -> Tensor:
        """k-space (coil, readout, phase) with noise."""
        fine = self._object(index)
        kspace = self._central_kspace(self._maps_on(fine, index) * fine.to(torch.complex64))
        if self.noise is not None:
            kspace = kspace + _noise(self.noise, kspace.shape, (_NOISE, self.seed, index))
        return kspace * self.acquired

    def truth(self, index: int) -> Tensor:
        """`Simulation.truth`."""
        image = ifft2c(self._central_kspace(self._object(index)))
        return center_crop(image, self.object.shape[:2]).to(torch.complex64)

    def maps(self, index: int) -> Tensor:
        """`Simulation.maps`."""
        rows, width = self.acquired.shape
        return pad_to(self._maps_on(self.object[:, :, index], index), (rows, width))

    def _object(self, index: int) -> Tensor:
        """A slice of the object on its fine grid."""
        fine = _upsampled(self.object[:, :, index], self.oversample)
        depth = index / max(self.object.shape[2] - 1, 1)
        phase = smooth_phase(fine.shape, self.phase_rad, depth, self.seed)
        return torch.from_numpy(fine) * torch.polar(torch.ones_like(phase), phase)

    def _maps_on(self, image: Tensor | np.ndarray, index: int) -> Tensor:
        """Coil maps of a slice on the grid of an image."""
        rows, columns = image.shape
        height, width, slices = self.object.shape
        fov = (height * self.voxel_mm[0], width * self.voxel_mm[1])
        place = (index - (slices - 1) / 2) * self.voxel_mm[2]
        return birdcage_maps((rows, columns), self.coils, fov_mm=fov, positions_mm=[place])[0]

    def _central_kspace(self, fine: Tensor) -> Tensor:
        """The central k-space of images on the object's grid; keeps image intensities."""
        rows, width = self.acquired.shape
        kspace = center_crop(fft2c(fine, (-1,)), (fine.shape[-2], width))
        kspace = pad_to(kspace, (rows * self.oversample, width))
        return center_crop(fft2c(kspace, (-2,)), (rows, width)) / self.oversample


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


def _field_direction(affine: np.ndarray | None) -> np.ndarray:
    """Unit vector of the main field, from foot to head, along the array's axes; across the slices where unknown."""
    if affine is None:
        return np.array([0.0, 0.0, 1.0])
    along = affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return along / np.linalg.norm(along)


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
