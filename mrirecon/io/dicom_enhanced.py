"""The functional groups of an Enhanced MR Image (DICOM PS3.3 A.36, C.8.13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrirecon.io.acquisition import of_volume
from mrirecon.io.dicom_modules import (
    Series,
    code,
    decimals,
    item,
    new_uid,
    phase_encoding,
    real_world,
    rescale,
    window,
)

KIND = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
# SNOMED CT codes of body parts that headers name
ANATOMY = {
    "HEAD": ("69536005", "Head"),
    "BRAIN": ("12738006", "Brain"),
    "KNEE": ("72696002", "Knee"),
    "ABDOMEN": ("818983003", "Abdomen"),
    "BREAST": ("76752008", "Breast"),
    "HEART": ("80891009", "Heart"),
    "PROSTATE": ("41216001", "Prostate"),
}
TIMES = ("RepetitionTime", "FlipAngle", "InversionTime")
SOMEWHERE = ("123037004", "Body structure")


def add_enhanced(made: Any, series: Series) -> None:
    """Add image type, dimensions, and the functional groups of every frame; the geometry must be known."""
    acquisition = of_volume(series.volume.acquisition, 0)
    slices = series.frames.stored.shape[1]
    looks = {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "UNKNOWN",
    }
    made.ImageType = KIND
    made.update(looks)
    made.ContentQualification = "RESEARCH"
    made.PresentationLUTShape = "IDENTITY"
    made.Manufacturer = made.Manufacturer or "unknown"
    made.ManufacturerModelName = made.get("ManufacturerModelName") or "unknown"
    made.DeviceSerialNumber = made.get("DeviceSerialNumber") or "unknown"
    made.AcquisitionContextSequence = []
    made.ApplicableSafetyStandardAgency = acquisition.get("ApplicableSafetyStandardAgency", "OTHER")
    # Their functional groups ask for much that is not known (SAR, gradient output, ...); here readers find them too.
    for keyword in (*TIMES, "MagneticFieldStrength", "ReceiveCoilName"):
        if (value := acquisition.get(keyword)) is not None:
            setattr(made, keyword, decimals([value])[0] if keyword in TIMES else value)
    made.update(phase_encoding(series.frames, acquisition))
    organization = new_uid()
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=0x00209057,  # In-Stack Position Number
            FunctionalGroupPointer=0x00209111,  # Frame Content Sequence
            DimensionDescriptionLabel="slice",
        )
    ]
    made.SharedFunctionalGroupsSequence = [_shared(series, acquisition, looks)]
    made.PerFrameFunctionalGroupsSequence = [
        _of_frame(series, index, acquisition.get("EchoTime")) for index in range(slices)
    ]


def _shared(series: Series, acquisition: Mapping[str, Any], looks: Mapping[str, str]) -> Any:
    frames = series.frames
    assert frames.spacing_mm is not None and frames.orientation is not None
    between = frames.spacing_mm[2]
    place = ANATOMY.get(str(acquisition.get("BodyPartExamined")), SOMEWHERE)
    return item(
        PixelMeasuresSequence=[
            item(
                PixelSpacing=decimals(frames.spacing_mm[:2]),
                SliceThickness=decimals([acquisition.get("SliceThickness", between)])[0],
                SpacingBetweenSlices=decimals([between])[0],
            )
        ],
        PlaneOrientationSequence=[item(ImageOrientationPatient=decimals(frames.orientation))],
        FrameAnatomySequence=[
            item(FrameLaterality="U", AnatomicRegionSequence=[code(place[0], "SCT", place[1])])
        ],
        PixelValueTransformationSequence=[item(**rescale(frames))],
        FrameVOILUTSequence=[item(**window(frames))],
        MRImageFrameTypeSequence=[item(FrameType=KIND, **looks)],
        **real_world(frames),
    )


def _of_frame(series: Series, index: int, echo_ms: float | None) -> Any:
    positions = series.frames.positions_mm
    assert positions is not None
    number = index + 1
    content = item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[number])
    echo = None if echo_ms is None else [item(EffectiveEchoTime=float(echo_ms))]
    return item(
        FrameContentSequence=[content],
        PlanePositionSequence=[item(ImagePositionPatient=decimals(positions[index]))],
        MREchoSequence=echo,
    )
