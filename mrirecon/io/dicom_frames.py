"""A reconstruction as frames of DICOM images: 16-bit pixels, turned as viewers show them, and where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.io.nifti import LPS_TO_RAS, affine_ras, axis_codes, turned

LARGEST = 65535  # of 16 bits
# Where rows, columns and slices should grow, by where slices do: right at the left, anterior or superior at the top.
SHOWN = {
    **dict.fromkeys("SI", "PLS"),
    **dict.fromkeys("AP", "ILP"),
    **dict.fromkeys("RL", "IPR"),
}


@dataclass(frozen=True, eq=False)
class Frames:
    """All images of a series.

    Attributes:
        stored: pixels; scale * value = slope * stored + intercept.
        scale: power of ten that values are shown times.
        slope: as DICOM writes it, a decimal of at most 16 characters.
        intercept: the same.
        window: centre and width for display, of scale * value.
        spacing_mm: distance between rows, between columns, and between slices; None where unknown.
        orientation: LPS directions in which columns and rows grow, in DICOM's order; None where unknown.
        positions_mm: LPS centre of the first pixel of each slice; None where unknown.
        phase_along: ROW where the phase axis of the image runs along rows, else COL.
    """

    stored: np.ndarray
    scale: float
    slope: str
    intercept: str
    window: tuple[float, float]
    spacing_mm: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    positions_mm: tuple[tuple[float, float, float], ...] | None
    phase_along: str = "ROW"

    @property
    def known(self) -> bool:
        """Whether position and orientation are."""
        return self.positions_mm is not None


def scale_of(image: Complex[Tensor, "volume slice readout phase"]) -> float:
    """The power of ten that brings the largest magnitude to 1000 or more, 1 where it is that large.

    Many viewers show no window that is narrower than 1, and k-space often gives images of far smaller intensities.
    """
    largest = float(torch.nan_to_num(image.abs(), nan=0.0).max())
    return 10.0 ** max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 1.0


def frames_of(
    image: Complex[Tensor, "volume slice readout phase"], geometry: Geometry, scale: float = 1.0
) -> Frames:
    """The magnitude as frames, times a power of ten; voxels that are NaN become 0.

    Rows and columns are swapped and flipped so that the patient's right is at the left of axial and coronal slices, and
    anterior (axial, and at the left of sagittal ones) or superior at the top; nothing is resampled. Without an
    orientation rows are the readout and columns the phase encoding.

    Raises:
        ValueError: if geometry and image have different numbers of slices.
    """
    values = torch.nan_to_num(image.abs().float(), nan=0.0).permute(2, 3, 1, 0).numpy() * scale
    rows, columns, slices, _ = values.shape
    spacing, orientation, positions, along = geometry.voxel_mm, None, None, "ROW"
    if geometry.known and geometry.directions is not None:
        if len(geometry.centers_mm or ()) != slices:
            raise ValueError(
                f"the geometry has {len(geometry.centers_mm or ())} slice positions, the image {slices} slices"
            )
        affine = affine_ras(geometry, (rows, columns))
        values, affine = turned(values, affine, SHOWN[axis_codes(affine)[2]])
        lps = LPS_TO_RAS @ affine
        steps = np.linalg.norm(lps[:3, :3], axis=0)
        spacing = (float(steps[0]), float(steps[1]), float(steps[2]))
        along_row, along_column = lps[:3, 1] / steps[1], lps[:3, 0] / steps[0]
        along = "ROW" if abs(np.dot(geometry.directions[1], along_row)) > 0.5 else "COL"
        orientation = tuple(map(float, (*along_row, *along_column)))
        positions = tuple(_triple(lps[:3] @ [0, 0, index, 1]) for index in range(slices))
    stored, slope, intercept = _quantized(values.transpose(3, 2, 0, 1))
    window = _window(values)
    return Frames(stored, scale, slope, intercept, window, spacing, orientation, positions, along)


def _quantized(values: Float[np.ndarray, "*any"]) -> tuple[np.ndarray, str, str]:
    """16-bit numbers, slope and intercept; values come back to half a slope."""
    low, high = min(0.0, float(values.min())), float(values.max())
    intercept = f"{low:.8e}" if low else "0"
    # Rounded up, so that the largest number fits.
    slope = f"{(high - float(intercept)) / LARGEST * (1 + 1e-8):.8e}" if high > low else "1"
    stored = np.rint((values.astype(np.float64) - float(intercept)) / float(slope))
    return np.clip(stored, 0, LARGEST).astype("<u2"), slope, intercept


def _window(values: np.ndarray) -> tuple[float, float]:
    """From 0, or the lowest value, to what one pixel in 200 exceeds."""
    low, high = min(0.0, float(values.min())), float(np.quantile(values, 0.995))
    high = high if high > low else max(float(values.max()), low + 1.0)
    return (low + high) / 2, high - low


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
