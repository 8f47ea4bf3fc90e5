"""Reconstructions as DICOM: one multi-frame object, or a folder of single-frame ones. Needs pydicom.

Where position and orientation are unknown, both are Secondary Capture, which states neither (DICOM PS3.3 A.8, A.36).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.acquisition import of_volume
from mrirecon.io.dicom_enhanced import add_enhanced
from mrirecon.io.dicom_frames import frames_of, scale_of
from mrirecon.io.dicom_modules import (
    CAPTURE,
    CAPTURES,
    CLASSIC_MR,
    ENHANCED_MR,
    Series,
    add_frame_of_reference,
    add_pixels,
    decimals,
    derivation,
    item,
    new_object,
    phase_encoding,
    real_world,
    rescale,
    save,
    window,
)
from mrirecon.scan import Volume

LARGEST_OBJECT = 0xFFFFFFFE  # bytes of pixels
# Of the acquisition, in single-frame objects; type 2 ones are written empty where unknown.
ACQUIRED = (
    *("RepetitionTime", "EchoTime", "FlipAngle", "MagneticFieldStrength"),
    *("ImagingFrequency", "ImagedNucleus", "NumberOfAverages", "EchoTrainLength"),
    *("PixelBandwidth", "SequenceName", "MRAcquisitionType", "ReceiveCoilName"),
    *("PercentSampling", "PercentPhaseFieldOfView", "SAR", "dBdt", "ScanOptions"),
)
MAY_BE_EMPTY = ("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime")


def check_pydicom(path: Path) -> None:
    """Raise ModuleNotFoundError, in one sentence, without pydicom."""
    try:
        import pydicom  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path} is DICOM, which needs pydicom: pip install pydicom"
        ) from error


def write_multiframe(
    image: Complex[Tensor, "1 slice readout phase"], volume: Volume, path: Path, name: str = ""
) -> None:
    """Write one volume as an Enhanced MR Image or, of unknown geometry, Multi-frame Grayscale Word Secondary Capture.

    Each frame is a slice. Several volumes are no object of theirs here: readers disagree about the order of frames.

    Args:
        image: what is written, whose magnitude is taken.
        volume: how it was made, `identified`.
        path: of the file.
        name: of the image where it is one beside the reconstruction, such as std.

    Raises:
        ValueError: if it is beyond the 4 GiB of an object.
    """
    series = Series(volume, frames_of(image, volume.geometry, scale_of(volume.image)), name)
    frames = series.frames
    if frames.stored.nbytes > LARGEST_OBJECT:
        raise ValueError(
            f"{path} would hold {frames.stored.nbytes / 2**30:.1f} GiB, a DICOM object holds 4: "
            "give a name that ends in .dicom, a folder of single images"
        )
    acquisition = of_volume(volume.acquisition, 0)
    made = new_object(series, ENHANCED_MR if frames.known else CAPTURES, 1, acquisition)
    made.NumberOfFrames = frames.stored.shape[1]
    if frames.known:
        add_frame_of_reference(made, acquisition)
        add_enhanced(made, series)
    else:
        _add_capture(made, series)
        made.update({**rescale(frames), **real_world(frames)})
        made.PresentationLUTShape = "IDENTITY"
        if made.NumberOfFrames > 1:
            made.FrameIncrementPointer = 0x00182001
            made.PageNumberVector = list(range(1, made.NumberOfFrames + 1))
    add_pixels(made, frames.stored[0])
    save(made, path)


def write_singles(
    image: Complex[Tensor, "volume slice readout phase"],
    volume: Volume,
    folder: Path,
    name: str = "",
) -> None:
    """Write one object for each slice into a folder: MR Image or, of unknown geometry, Secondary Capture.

    Volumes are one series; each has an acquisition number, a temporal position, and its own echo time where these
    differ.

    Args:
        image: what is written, whose magnitude is taken.
        volume: how it was made, `identified`.
        folder: where 0001.dcm and so on go; it must be there.
        name: of the image where it is one beside the reconstruction, such as std.
    """
    series = Series(volume, frames_of(image, volume.geometry, scale_of(volume.image)), name)
    volumes, slices = series.frames.stored.shape[:2]
    for number in range(volumes * slices):
        made = _single(series, *divmod(number, slices))
        save(made, folder / f"{number + 1:04d}.dcm")


def _single(series: Series, volume: int, index: int) -> Any:
    frames = series.frames
    volumes, slices = frames.stored.shape[:2]
    acquisition = of_volume(series.volume.acquisition, volume)
    sop_class = CLASSIC_MR if frames.known else CAPTURE
    made = new_object(series, sop_class, volume * slices + index + 1, acquisition)
    made.AcquisitionNumber = volume + 1
    made.DerivationDescription = derivation(series.volume)
    if frames.known and frames.orientation and frames.positions_mm and frames.spacing_mm:
        made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        add_frame_of_reference(made, acquisition)
        between = frames.spacing_mm[2]
        made.PixelSpacing = decimals(frames.spacing_mm[:2])
        made.ImageOrientationPatient = decimals(frames.orientation)
        made.ImagePositionPatient = decimals(frames.positions_mm[index])
        made.SliceThickness = decimals([acquisition.get("SliceThickness", between)])[0]
        made.SpacingBetweenSlices = decimals([between])[0]
        sequence = acquisition.get("ScanningSequence", "RM")  # research mode
        made.update(
            item(
                ScanningSequence=sequence,
                SequenceVariant=acquisition.get("SequenceVariant", "NONE"),
                InversionTime=acquisition.get("InversionTime") if "IR" in sequence else None,
                **{keyword: acquisition.get(keyword) for keyword in ACQUIRED},
                **phase_encoding(frames, acquisition),
            )
        )
        for keyword in MAY_BE_EMPTY:
            if keyword not in made:
                setattr(made, keyword, None)
        if volumes > 1:
            made.TemporalPositionIdentifier = volume + 1
            made.NumberOfTemporalPositions = volumes
            made.EchoNumbers = 1 + _echo(series.volume, volume)
    else:
        _add_capture(made, series)
    made.update({**rescale(frames), **window(frames), **real_world(frames)})
    add_pixels(made, frames.stored[volume, index])
    return made


def _echo(volume: Volume, number: int) -> int:
    """The index of a volume's echo time among those that there are."""
    times = volume.acquisition.get("EchoTime")
    return sorted(set(times)).index(times[number]) if isinstance(times, list) else 0


def _add_capture(made: Any, series: Series) -> None:
    """Say that it is no image of a known place."""
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.ConversionType = "WSD"  # a workstation made it
    made.PatientOrientation = None
    if series.frames.spacing_mm is not None:
        made.PixelSpacing = decimals(series.frames.spacing_mm[:2])
