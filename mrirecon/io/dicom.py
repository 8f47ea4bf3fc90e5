"""DICOM series as volumes with their affine. Needs pydicom (`pip install pydicom`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# What a reconstruction of the same scan takes over, by DICOM keyword.
KEYWORDS = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyDescription", "SeriesNumber"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "Laterality"),
    *("BodyPartExamined", "ProtocolName", "Manufacturer", "ManufacturerModelName"),
    *("DeviceSerialNumber", "StationName", "InstitutionName", "InstitutionAddress"),
    *("InstitutionalDepartmentName", "MagneticFieldStrength", "ImagingFrequency"),
    *("ImagedNucleus", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName"),
    *("MRAcquisitionType", "EchoTrainLength", "NumberOfAverages", "PixelBandwidth"),
    *("PercentSampling", "PercentPhaseFieldOfView", "ReceiveCoilName", "SliceThickness"),
    *("ApplicableSafetyStandardAgency", "InPlanePhaseEncodingDirection"),
)


@dataclass(frozen=True, eq=False)
class SeriesHeaders:
    """What the headers of a series say.

    Attributes:
        shape: rows, columns, slices.
        affine: from array index (row, column, slice) to RAS mm.
        phase_axis: 0 where phase encoding runs along the rows' index, 1 along the columns', None where it is not said.
        attributes: values by keyword, those of `KEYWORDS`.
    """

    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    phase_axis: int | None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Plane:
    """One slice: LPS centre of its first pixel, LPS directions along a row and down a column, and mm."""

    position: np.ndarray
    along_row: np.ndarray
    along_column: np.ndarray
    spacing: tuple[float, float]
    thickness: float
    pixels: Callable[[], np.ndarray]


def is_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM signature."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def series_files(path: Path) -> tuple[Path, ...]:
    """The files of a folder in DICOM, or those of the series that a file belongs to, beside it.

    Raises:
        ModuleNotFoundError: without pydicom.
    """
    if path.is_dir():
        return tuple(file for file in sorted(path.iterdir()) if is_dicom(file))
    pydicom = _pydicom(path)

    def uid(file: Path) -> Any:
        return pydicom.dcmread(file, specific_tags=["SeriesInstanceUID"]).get("SeriesInstanceUID")

    beside = [file for file in sorted(path.parent.iterdir()) if is_dicom(file)]
    own = uid(path)
    return tuple(file for file in beside if file.samefile(path) or uid(file) == own)


def read_series(
    folder: Path,
) -> tuple[Float[np.ndarray, "row column slice"], Float[np.ndarray, "4 4"]]:
    """The slices of one series, sorted along their normal, and the affine from array index to RAS mm.

    Source: DICOM PS3.3 C.7.6.2.1.1; positions there are LPS.

    Raises:
        ModuleNotFoundError: without pydicom.
        ValueError: if the folder has no images, several series, gaps, or images that are damaged or have no position.
    """

    def read() -> tuple[np.ndarray, np.ndarray]:
        planes = _sorted(folder, _images(folder, series_files(folder)))
        pixels = np.stack([plane.pixels() for plane in planes], axis=-1)
        return pixels.astype(np.float32), _affine(planes)

    return _said(folder, read)


def read_headers(path: Path) -> SeriesHeaders:
    """What the headers of a series say; several volumes of the same slices count once.

    Args:
        path: its folder, or one of its files.

    Raises:
        ModuleNotFoundError: without pydicom.
        ValueError: as `read_series`.
    """

    def read() -> SeriesHeaders:
        images = _images(path, series_files(path), headers_only=True)
        planes = _sorted(path, images, repeated=True)
        first = images[0]
        attributes = {key: first[key].value for key in KEYWORDS if first.get(key) not in (None, "")}
        attributes = {key: _plain(value) for key, value in attributes.items()}
        along = str(attributes.pop("InPlanePhaseEncodingDirection", ""))
        axis = {"ROW": 1, "COL": 0, "COLUMN": 0}.get(along)
        shape = (int(first.Rows), int(first.Columns), len(planes))
        return SeriesHeaders(shape, _affine(planes), axis, attributes)

    return _said(path, read)


def _said(path: Path, read: Callable[[], T]) -> T:
    """What is read, errors as one sentence that names the path."""
    try:
        return read()
    except (ModuleNotFoundError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: the DICOM series cannot be read: {error}") from error
    except Exception as error:  # pydicom raises many types of errors on damaged files
        raise ValueError(
            f"{path}: the DICOM series is damaged, or has no position or size in its images ({error}): "
            "dcm2niix may make NIfTI of it"
        ) from error


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} holds DICOM files, which need pydicom: pip install pydicom"
        ) from error
    return pydicom


def _images(path: Path, files: tuple[Path, ...], headers_only: bool = False) -> list[Any]:
    """The images of one series.

    Raises:
        ValueError: if there are none, or of several series.
    """
    pydicom = _pydicom(path)
    images = [pydicom.dcmread(file, stop_before_pixels=headers_only) for file in files]
    images = [
        image for image in images if "Rows" in image and (headers_only or "PixelData" in image)
    ]
    if not images:
        raise ValueError(f"{path} has no DICOM images: give the folder of a series")
    series = {image.SeriesInstanceUID for image in images}
    if len(series) > 1:
        raise ValueError(f"{path} has {len(series)} series: put each into a folder of its own")
    return images


def _sorted(path: Path, images: list[Any], repeated: bool = False) -> list[_Plane]:
    """The slices of a series, sorted along their normal; several at one position only where that is allowed.

    Raises:
        ValueError: if their distances differ.
    """
    planes = [plane for image in images for plane in _planes(image)]
    normal = np.cross(planes[0].along_row, planes[0].along_column)
    planes.sort(key=lambda plane: float(normal @ plane.position))
    if repeated:
        last: list[_Plane] = []
        for plane in planes:
            if not last or np.linalg.norm(plane.position - last[-1].position) > 1e-3:
                last.append(plane)
        planes = last
    steps = np.diff([normal @ plane.position for plane in planes])
    if steps.size and (steps.min() <= 0 or steps.max() > 1.01 * steps.min() + 1e-3):
        raise ValueError(
            f"{path}: slice distances range from {steps.min():.3g} to {steps.max():.3g} mm: "
            "slices are missing or doubled, export the series again"
        )
    return planes


def _planes(image: Any) -> list[_Plane]:
    """The slices of an object: one, or each frame of an Enhanced one."""
    if "PerFrameFunctionalGroupsSequence" not in image:
        return [_plane(image, image, image, image, lambda: image.pixel_array)]
    shared = image.SharedFunctionalGroupsSequence[0]
    planes = []
    for number, own in enumerate(image.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            return (own if name in own else shared)[name].value[0]

        def pixels(number: int = number) -> np.ndarray:
            return image.pixel_array.reshape(-1, image.Rows, image.Columns)[number]

        scaled = "PixelValueTransformationSequence"
        scale = group(scaled) if scaled in own or scaled in shared else image
        measures, turn = group("PixelMeasuresSequence"), group("PlaneOrientationSequence")
        planes.append(_plane(measures, turn, group("PlanePositionSequence"), scale, pixels))
    return planes


def _plane(
    measures: Any, turn: Any, place: Any, scale: Any, pixels: Callable[[], np.ndarray]
) -> _Plane:
    along_row, along_column = np.asarray(turn.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = map(float, measures.PixelSpacing)
    slope, intercept = float(scale.get("RescaleSlope", 1)), float(scale.get("RescaleIntercept", 0))
    return _Plane(
        position=np.asarray(place.ImagePositionPatient, float),
        along_row=along_row,
        along_column=along_column,
        spacing=(rows, columns),
        thickness=float(measures.get("SliceThickness") or 1),
        pixels=lambda: pixels() * slope + intercept,
    )


def _affine(planes: list[_Plane]) -> np.ndarray:
    first, last = planes[0], planes[-1]
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = (
        first.along_column * first.spacing[0],
        first.along_row * first.spacing[1],
    )
    normal = np.cross(first.along_row, first.along_column)
    lps[:3, 2] = (
        (last.position - first.position) / (len(planes) - 1)
        if len(planes) > 1
        else normal * first.thickness
    )
    lps[:3, 3] = first.position
    return LPS_TO_RAS @ lps


def _plain(value: Any) -> Any:
    """A value of pydicom as Python's own: a number, a text, or a tuple of them."""
    if type(value).__name__ == "MultiValue":
        return tuple(map(_plain, value))
    kind = next((kind for kind in (int, float) if isinstance(value, kind)), str)
    return kind(value)
