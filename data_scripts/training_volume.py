"""One simulated acquisition of one image volume: what is varied between volumes, and how the scan is made.

Phase and coils act on the image's own grid or a finer one; k-space is then cut to the matrix of the training set, as by
a scanner of lower resolution. The reconstruction grid therefore cannot represent the object exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.gradient_echo import GradientEcho
from mrirecon.io.nifti import turned
from mrirecon.scan import Scan
from mrirecon.simulate import coupled_covariance, simulate_scan
from mrirecon.tensors import center_crop, complex_noise_like, ifft2c, rss

# Directions in which (readout, phase, slice) grow, as in nibabel: P is posterior, L left, I inferior.
ORIENTATIONS = {"axial": "PLS", "coronal": "ILA", "sagittal": "IPR"}
FOREGROUND = 0.15  # of the bright level: below it lies air


@dataclass(frozen=True)
class Ranges:
    """What to draw acquisitions from; a value that stands twice in a list is drawn twice as often."""

    matrix: Sequence[tuple[int, int]]
    coils: Sequence[int]
    snr_db: tuple[float, float]
    phase_rad: tuple[float, float]
    correlation: tuple[float, float]
    echo_ms: tuple[float, float]
    spin_echo: float

    def draw(self, grid: tuple[int, int], seed: Sequence[int]) -> Acquisition:
        """One acquisition of an image with that grid.

        Raises:
            ValueError: if every matrix is larger than the image's grid.
        """
        random = np.random.default_rng(seed)
        fitting = [size for size in self.matrix if size[0] <= grid[0] and size[1] <= grid[1]]
        if not fitting:
            raise ValueError(
                f"the image is {grid[0]} x {grid[1]}, smaller than every --matrix: "
                "leave it out with --exclude, or allow a smaller matrix"
            )
        coils = int(random.choice(np.asarray(self.coils)))
        elements = coils + int(random.integers(0, coils // 3 + 1))
        return Acquisition(
            matrix=fitting[int(random.integers(len(fitting)))],
            elements=elements,
            receivers=tuple(sorted(random.choice(elements, coils, replace=False).tolist())),
            gains=tuple(random.uniform(0.7, 1.3, coils).round(3).tolist()),
            gain_phases_rad=tuple(random.uniform(0, 2 * math.pi, coils).round(3).tolist()),
            snr_db=round(float(random.uniform(*self.snr_db)), 2),
            phase_rad=round(float(random.uniform(*self.phase_rad)), 2),
            correlation=round(float(random.uniform(*self.correlation)), 3),
            seed=int(random.integers(2**31)),
            echo=None
            if random.random() < self.spin_echo
            else GradientEcho.drawn(random, self.echo_ms),
        )


@dataclass(frozen=True)
class Acquisition:
    """How one volume is measured.

    Attributes:
        matrix: (readout, phase) of k-space and image.
        elements: coils around the head; only `receivers` of them are connected, so that the array is uneven.
        receivers: which.
        gains: of each receiver, so that the RSS image is shaded, as a real one.
        gain_phases_rad: of each receiver.
        snr_db: 20 log10 of the bright image level over the noise (per real component) of one coil's image.
        phase_rad: bound of the object's smooth phase.
        correlation: of the noise of neighbouring coils.
        seed: of phase and noise.
        echo: what turns the phase of air, fat and tissue; None for a spin echo.
    """

    matrix: tuple[int, int]
    elements: int
    receivers: tuple[int, ...]
    gains: tuple[float, ...]
    gain_phases_rad: tuple[float, ...]
    snr_db: float
    phase_rad: float
    correlation: float
    seed: int
    echo: GradientEcho | None

    @property
    def described(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def oriented(
    image: Float[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"] | None, orientation: str
) -> tuple[Float[np.ndarray, "readout phase slice"], Float[np.ndarray, "4 4"] | None]:
    """The image with axes (readout, phase, slice) of an orientation, or as `stored`.

    Raises:
        ValueError: if the image does not say how it lies.
    """
    if orientation == "stored":
        return image, affine
    if affine is None:
        raise ValueError("the image has no orientation: give --orientation stored")
    return turned(image, affine, ORIENTATIONS[orientation])


def thinned(
    image: Float[np.ndarray, "readout phase slice"],
    affine: Float[np.ndarray, "4 4"] | None,
    spacing_mm: float,
    share: float,
    most: int,
) -> tuple[Float[np.ndarray, "readout phase slice"], Float[np.ndarray, "4 4"] | None, list[int]]:
    """The run of slices that show something, at least `spacing_mm` apart; at most `most`, around their middle.

    A slice shows something if it has at least `share` of the foreground of the slice with the most.

    Returns:
        Image, affine, and the numbers of the slices in the image that was given.
    """
    step = 1
    if affine is not None:
        step = max(1, round(spacing_mm / float(np.linalg.norm(affine[:3, 2]))))
    area = (image[:, :, ::step] > FOREGROUND * bright_level(image)).mean(axis=(0, 1))
    good = np.concatenate([[False], area >= share * area.max(), [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(good) == 1), np.flatnonzero(np.diff(good) == -1)
    longest = int(np.argmax(stops - starts))
    start, stop = int(starts[longest]), int(stops[longest])
    start += max(0, stop - start - most) // 2
    numbers = [step * index for index in range(start, min(stop, start + most))]
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += numbers[0] * affine[:3, 2]
        affine[:3, 2] *= step
    return image[:, :, numbers], affine, numbers


def bright_level(image: Float[np.ndarray, "..."]) -> float:
    """The 0.99 quantile of what is not zero, as in `simulate_scan`.

    Raises:
        ValueError: if all is zero.
    """
    if not image.any():
        raise ValueError("the image is zero everywhere: leave it out with --exclude")
    return float(np.quantile(np.abs(image[image != 0]), 0.99))


def acquire(
    image: Float[np.ndarray, "readout phase slice"],
    affine: Float[np.ndarray, "4 4"] | None,
    how: Acquisition,
    noisy_target: bool = False,
) -> Scan:
    """A fully sampled scan with its target: the RSS of the noise-free k-space, or of the noisy one.

    Args:
        image: magnitudes.
        affine: from array index to RAS mm; None if not known.
        how: matrix, coils, noise, phase.
        noisy_target: as in fastMRI, where only the RSS of measured data exists.
    """
    grid = (image.shape[0], image.shape[1])
    finer = all(n >= 1.5 * m for n, m in zip(grid, how.matrix, strict=True))
    source = simulate_scan(
        image,
        coils=how.elements,
        phase_rad=how.phase_rad,
        echo=how.echo,
        oversample=1 if finer else 2,
        affine=affine,
        seed=how.seed,
    ).scan
    coils = len(how.receivers)
    gains = torch.polar(torch.tensor(how.gains), torch.tensor(how.gain_phases_rad))[:, None, None]
    # Fewer samples at the same image level: the orthonormal transform asks for a smaller k-space.
    gain = math.sqrt(math.prod(how.matrix) / math.prod(grid))
    noise_std = bright_level(image) / 10 ** (how.snr_db / 20)
    covariance = coupled_covariance(coils, noise_std, how.correlation)
    mixing = torch.linalg.cholesky(covariance).to(torch.complex64) / math.sqrt(2)

    @lru_cache(maxsize=64)  # the writer asks for all k-space first, then for all targets
    def clean(index: int) -> Tensor:
        kspace = source.kspace(index)[list(how.receivers)]
        return gain * gains * center_crop(kspace, how.matrix)

    def read(_: int, index: int) -> Tensor:
        seed = int(np.random.default_rng([how.seed, index]).integers(2**62))
        generator = torch.Generator().manual_seed(seed)
        white = complex_noise_like(clean(index), generator)
        return clean(index) + (mixing @ white.flatten(1)).reshape(white.shape)

    def target(index: int) -> Tensor:
        return rss(ifft2c(read(0, index) if noisy_target else clean(index)))

    full = torch.ones(how.matrix, dtype=torch.bool)
    return replace(
        source,
        shape=(image.shape[2], coils, *how.matrix),
        read=read,
        acquired=full,
        sampling=lambda volume, index: full,
        crop=(slice(0, how.matrix[0]), slice(0, how.matrix[1])),
        matrix=how.matrix,
        geometry=_coarser(source.geometry, grid, how.matrix),
        noise_covariance=covariance,
        reference=target,
        attributes={},
    )


def _coarser(geometry: Geometry, grid: tuple[int, int], matrix: tuple[int, int]) -> Geometry:
    """The same field of view with fewer pixels; pixel N // 2 stays where it was."""
    if geometry.voxel_mm is None:
        return geometry
    readout, phase, between = geometry.voxel_mm
    size = (readout * grid[0] / matrix[0], phase * grid[1] / matrix[1], between)
    return replace(geometry, voxel_mm=size)
