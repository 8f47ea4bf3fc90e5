"""Phase of tissue in a gradient echo: air bends the main field, and fat precesses more slowly than water."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float

from mrirecon.tensors import fft2, ifft2

PROTON_MHZ = 42.577  # per tesla
AIR_PPM = 9.4  # susceptibility of air over that of tissue
FAT_PPM = -3.4  # chemical shift of fat
TISSUE = 0.1  # of the bright level: below it lies air, bone or a cavity
CAVITY_PPM = 0.0, 4.0  # what is drawn from
TISSUE_PPM = -0.2, 0.2
FAT = 0.45, 0.08  # of the bright level: above it scalp is fat, and how sharply
SCALP_MM = 7.0  # depth under the skin at which bright tissue is as likely fat as not


@dataclass(frozen=True)
class GradientEcho:
    """What turns phase in a gradient echo; a spin echo has none of it.

    Attributes:
        echo_ms: time from excitation to echo.
        tesla: main field.
        cavity_ppm: susceptibility of what is dark inside the head (bone, sinuses) over that of tissue.
        tissue_ppm: susceptibility of the brightest tissue over that of the darkest.

    Raises:
        ValueError: if the echo time is below 0, or the field not above it.

    Example:
        image, affine = mr.read_image("head.nii.gz")
        scan = mr.simulate_scan(image, affine=affine, echo=mr.GradientEcho(echo_ms=4.0)).scan
    """

    echo_ms: float
    tesla: float = 3.0
    cavity_ppm: float = 2.0
    tissue_ppm: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.echo_ms < math.inf:
            raise ValueError(f"echo_ms is {self.echo_ms}: give a time from 0 on")
        if not 0 < self.tesla < math.inf:
            raise ValueError(f"tesla is {self.tesla}: give a field above 0")

    @classmethod
    def drawn(cls, random: np.random.Generator, echo_ms: tuple[float, float]) -> GradientEcho:
        """One with an echo time from a range, and susceptibilities from those of heads."""
        time, cavity, tissue = (random.uniform(*r) for r in (echo_ms, CAVITY_PPM, TISSUE_PPM))
        return cls(round(time, 2), cavity_ppm=round(cavity, 2), tissue_ppm=round(tissue, 3))

    def __call__(
        self,
        magnitude: Float[np.ndarray, "y x z"],
        voxel_mm: tuple[float, float, float],
        field_direction: Float[np.ndarray, "3"],
    ) -> Complex[np.ndarray, "y x z"]:
        """Complex image of an object.

        Fat and water of a voxel add up as complex numbers, so that magnitudes fall where they meet with opposite phase.

        Args:
            magnitude: of the object; the slices before its first and after its last one are taken to be like these.
            voxel_mm: size of its voxels.
            field_direction: unit vector of the main field along the array's axes.
        """
        bright = float(np.quantile(magnitude[magnitude != 0], 0.99))
        relative = magnitude / bright
        tissue, head = _tissue(relative)
        susceptibility = np.where(
            tissue, self.tissue_ppm * np.minimum(relative, 1), self.cavity_ppm
        )
        susceptibility[~head] = AIR_PPM
        field = shimmed(field_ppm(susceptibility, voxel_mm, field_direction), tissue)
        turns_per_ppm = PROTON_MHZ * self.tesla * self.echo_ms / 1e3
        fat = fat_fraction(relative, head, voxel_mm[:2])
        turned = 1 + fat * (np.exp(2j * math.pi * turns_per_ppm * FAT_PPM) - 1)
        return magnitude * turned * np.exp(2j * math.pi * turns_per_ppm * field)


def field_ppm(
    susceptibility_ppm: Float[np.ndarray, "y x z"],
    voxel_mm: tuple[float, float, float],
    direction: Float[np.ndarray, "3"],
) -> Float[np.ndarray, "y x z"]:
    """Shift of the main field, with the sphere of Lorentz: F^-1 (1/3 - (k b)^2 / k^2) F susceptibility.

    Marques & Bowtell, Concepts Magn. Reson. B 25:65 (2005). The mean is 0. In the third direction the volume is
    continued by its end slices.
    """
    slices = susceptibility_ppm.shape[2]
    around = np.pad(
        susceptibility_ppm, ((0, 0), (0, 0), (slices // 2, slices - slices // 2)), "edge"
    )
    k = np.meshgrid(
        *(_frequencies(n, mm) for n, mm in zip(around.shape, voxel_mm, strict=True)),
        indexing="ij",
        sparse=True,
    )
    squared = sum(one**2 for one in k)
    squared[0, 0, 0] = 1
    along = sum(one * b for one, b in zip(k, direction, strict=True))
    kernel = 1 / 3 - along**2 / squared
    kernel[0, 0, 0] = 0
    axes = (0, 1, 2)
    spectrum = fft2(torch.from_numpy(around.astype(np.complex64)), axes) * torch.from_numpy(
        kernel.astype(np.float32)
    )
    start = slices // 2
    return ifft2(spectrum, axes).real.numpy()[:, :, start : start + slices]


def _frequencies(n: int, mm: float) -> Float[np.ndarray, " n"]:
    """Periods per mm of each component of a transform whose zero frequency comes first."""
    return ((np.arange(n) + n // 2) % n - n // 2) / (n * mm)


def shimmed(
    field: Float[np.ndarray, "y x z"], where: Bool[np.ndarray, "y x z"]
) -> Float[np.ndarray, "y x z"]:
    """The field without the polynomial of second order that is nearest to it there, as shims of a scanner leave it."""
    y, x, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in field.shape), indexing="ij")
    terms = (np.ones(field.shape), y, x, z, y * y, x * x, z * z, y * x, y * z, x * z)
    # The polynomial is smooth: few points tell it.
    step = tuple(slice(None, None, max(1, n // 48)) for n in field.shape)
    inside = where[step]
    if inside.sum() < len(terms):
        return field
    matrix = np.stack([term[step][inside] for term in terms], axis=1)
    weights, *_ = np.linalg.lstsq(matrix, field[step][inside], rcond=None)
    return field - sum(weight * term for weight, term in zip(weights, terms, strict=True))


def fat_fraction(
    relative: Float[np.ndarray, "y x z"],
    head: Bool[np.ndarray, "y x z"],
    pixel_mm: tuple[float, ...],
) -> Float[np.ndarray, "y x z"]:
    """Fat of each voxel: what is bright within the scalp; a guess that needs no more than one image."""
    from scipy import ndimage

    depth = np.stack(
        [ndimage.distance_transform_edt(one, sampling=pixel_mm) for one in np.moveaxis(head, 2, 0)],
        axis=2,
    )
    bright = 1 / (1 + np.exp(-(relative - FAT[0]) / FAT[1]))
    return bright * np.exp(-math.log(2) * (depth / SCALP_MM) ** 2)


def _tissue(
    relative: Float[np.ndarray, "y x z"],
) -> tuple[Bool[np.ndarray, "y x z"], Bool[np.ndarray, "y x z"]]:
    """Where there is signal, and the same with what it encloses in each slice."""
    from scipy import ndimage

    tissue = ndimage.gaussian_filter(relative, (1, 1, 0)) > TISSUE
    filled = [ndimage.binary_fill_holes(one) for one in np.moveaxis(tissue, 2, 0)]
    return tissue, np.stack(filled, axis=2)
