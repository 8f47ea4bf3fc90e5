"""DICOM series: a folder of slices as a volume with its affine. Needs pydicom (`pip install pydicom`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float


def is_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM signature."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_series(
    folder: Path,
) -> tuple[Float[np.ndarray, "row column slice"], Float[np.ndarray, "4 4"]]:
    """The slices of one series, sorted along their normal, and the affine from array index to RAS mm.

    Source: DICOM PS3.3 C.7.6.2.1.1; positions there are LPS.

    Raises:
        ModuleNotFoundError: without pydicom.
        ValueError: if the folder has no images, several series, gaps, or images that are damaged or have no position.
    """
    try:
        return _series(folder)
    except (ModuleNotFoundError, ValueError) as error:
        if str(folder) in str(error):
            raise
        raise ValueError(f"{folder}: the DICOM series cannot be read: {error}") from error
    except Exception as error:  # pydicom raises many types of errors on damaged files
        raise ValueError(
            f"{folder}: the DICOM series is damaged, or has no position or size in its images ({error}): "
            "dcm2niix may make NIfTI of it"
        ) from error


def _series(folder: Path) -> tuple[Float[np.ndarray, "row column slice"], Float[np.ndarray, "4 4"]]:
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{folder} holds DICOM files, which need pydicom: pip install pydicom"
        ) from error

    images: list[Any] = [
        pydicom.dcmread(path) for path in sorted(folder.iterdir()) if is_dicom(path)
    ]
    images = [image for image in images if "PixelData" in image]
    if not images:
        raise ValueError(f"{folder} has no DICOM images: give the folder of a series")
    series = {image.SeriesInstanceUID for image in images}
    if len(series) > 1:
        raise ValueError(f"{folder} has {len(series)} series: put each into a folder of its own")
    first = images[0]
    along_row, along_column = np.asarray(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    images.sort(key=lambda image: float(normal @ np.asarray(image.ImagePositionPatient, float)))
    origins = np.asarray([image.ImagePositionPatient for image in images], float)
    steps = np.diff(origins @ normal)
    if steps.size and (steps.min() <= 0 or steps.max() > 1.01 * steps.min() + 1e-3):
        raise ValueError(
            f"{folder}: slice distances range from {steps.min():.3g} to {steps.max():.3g} mm: "
            "slices are missing or doubled, export the series again"
        )
    row_mm, column_mm = map(float, first.PixelSpacing)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = along_column * row_mm, along_row * column_mm
    thickness = float(first.get("SliceThickness") or 1)
    lps[:3, 2] = (
        (origins[-1] - origins[0]) / (len(images) - 1) if steps.size else normal * thickness
    )
    lps[:3, 3] = origins[0]
    pixels = [
        image.pixel_array * float(image.get("RescaleSlope", 1))
        + float(image.get("RescaleIntercept", 0))
        for image in images
    ]
    return np.stack(pixels, axis=-1).astype(np.float32), np.diag([-1.0, -1, 1, 1]) @ lps
