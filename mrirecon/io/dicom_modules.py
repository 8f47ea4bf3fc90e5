"""What every DICOM object of one output shares: patient, study, series, equipment, and how it was made."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mrirecon.io.dicom_frames import LARGEST, Frames
from mrirecon.scan import Volume

CLASSIC_MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CAPTURES = "1.2.840.10008.5.1.4.1.1.7.3"  # multi-frame, grayscale word

WARNING = "research only, not for diagnosis"
# Taken over from the scan: of patient and study, which every object must name, be it empty, and others where known.
NAMED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
WHERE_KNOWN = (
    *("PatientAge", "PatientSize", "PatientWeight", "PatientComments", "IssuerOfPatientID"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "StudyDescription", "ProtocolName"),
    *("BodyPartExamined", "InstitutionName", "InstitutionAddress"),
    *("StationName", "InstitutionalDepartmentName", "ManufacturerModelName", "DeviceSerialNumber"),
)
UNPAIRED = ("HEAD", "BRAIN", "ABDOMEN", "HEART", "PROSTATE", "PELVIS", "SPINE", "NECK", "CHEST")


@dataclass(frozen=True, eq=False)
class Series:
    """One output as a DICOM series.

    Attributes:
        volume: the reconstruction.
        frames: its pixels.
        name: of the image where it is one beside it, such as std.
        uid: of the series.
        made: when.
    """

    volume: Volume
    frames: Frames
    name: str = ""
    uid: str = field(default_factory=lambda: new_uid())
    made: datetime = field(default_factory=datetime.now)

    @property
    def description(self) -> str:
        """What viewers list: this program, the method, and what it is not for; at most 64 characters."""
        words = ["mrirecon", str(self.volume.info.get("method", "")), self.name]
        return f"{' '.join(filter(None, words))}: {WARNING}"[:64]


def new_uid() -> str:
    """A unique identifier derived from a UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def identified(volume: Volume) -> Volume:
    """The volume with a study and a frame of reference, where nothing is known of them.

    Outputs that are made from one file share both, as long as they lie at one place; the file is told by its name, size
    and time of change.
    """
    request: Mapping[str, Any] = volume.info.get("request") or {}
    scan = request.get("scan")

    def uid(*parts: str) -> str:
        if not scan:
            return new_uid()
        key = json.dumps([*parts, str(Path(request["source"]).absolute()), scan], sort_keys=True)
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, key).int}"

    made = {
        "StudyInstanceUID": uid("study"),
        "FrameOfReferenceUID": uid("frame", volume.geometry.note),
    }
    return replace(volume, acquisition={**made, **volume.acquisition})


def item(**values: Any) -> Any:
    """A dataset with these attributes; what is None is left out."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(made, keyword, list(value) if isinstance(value, tuple) else value)
    return made


def code(value: str, scheme: str, meaning: str) -> Any:
    """An item of a code sequence."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def new_object(series: Series, sop_class: str, number: int, acquisition: Mapping[str, Any]) -> Any:
    """A dataset with everything but the image itself.

    Args:
        series: what it belongs to.
        sop_class: what it is.
        number: of the object in the series, from 1.
        acquisition: of the volume that it shows, `identified`.
    """
    from mrirecon import __version__

    date, time = series.made.strftime("%Y%m%d"), series.made.strftime("%H%M%S")
    known = {name: acquisition.get(name) for name in WHERE_KNOWN}
    made: Any = item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=sop_class,
        SOPInstanceUID=new_uid(),
        Modality="MR",
        InstanceCreationDate=date,
        InstanceCreationTime=time,
        SeriesDate=date,
        SeriesTime=time,
        ContentDate=date,
        ContentTime=time,
        **{name: acquisition.get(name, "") for name in NAMED},
        **known,
        Manufacturer=acquisition.get("Manufacturer", ""),
        SoftwareVersions=f"mrirecon {__version__}",
        StudyInstanceUID=acquisition["StudyInstanceUID"],
        SeriesInstanceUID=series.uid,
        SeriesNumber=1000 + int(acquisition.get("SeriesNumber", 0)),
        SeriesDescription=series.description,
        InstanceNumber=number,
        ImageComments=f"{WARNING}; {derivation(series.volume)}"[:1024],
        ContributingEquipmentSequence=[
            item(
                PurposeOfReferenceCodeSequence=[code("109102", "DCM", "Processing Equipment")],
                Manufacturer="mrirecon",
                ManufacturerModelName="mrirecon",
                SoftwareVersions=__version__,
                ContributionDescription="reconstruction from k-space",
            )
        ],
    )
    if sop_class != ENHANCED_MR and acquisition.get("BodyPartExamined") not in UNPAIRED:
        made.Laterality = acquisition.get("Laterality", "")
    return made


def add_frame_of_reference(made: Any, acquisition: Mapping[str, Any]) -> None:
    """Say what positions refer to."""
    made.PatientPosition = acquisition.get("PatientPosition", "")
    made.FrameOfReferenceUID = acquisition["FrameOfReferenceUID"]
    made.PositionReferenceIndicator = acquisition.get("PositionReferenceIndicator", "")


def phase_encoding(frames: Frames, acquisition: Mapping[str, Any]) -> dict[str, str]:
    """Along which axis phase encoding is; nothing of a 3D scan, where both axes may be encoded so."""
    is_3d = acquisition.get("MRAcquisitionType") == "3D"
    return {} if is_3d else {"InPlanePhaseEncodingDirection": frames.phase_along}


def add_pixels(made: Any, pixels: Any) -> None:
    """Add 16-bit frames (row, column), or (frame, row, column)."""
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape[-2:]
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelRepresentation = 0
    made.BurnedInAnnotation = "NO"
    made.LossyImageCompression = "00"
    made.PixelData = pixels.tobytes()


def rescale(frames: Frames) -> dict[str, str]:
    """How stored numbers become what is shown (Modality LUT): the intensities, or a power of ten times them."""
    return {
        "RescaleIntercept": frames.intercept,
        "RescaleSlope": frames.slope,
        "RescaleType": "US",  # unspecified
    }


def real_world(frames: Frames) -> dict[str, Any]:
    """How stored numbers become the intensities, where these are not what is shown."""
    if frames.scale == 1:
        return {}
    mapping = item(
        RealWorldValueFirstValueMapped=0,
        RealWorldValueLastValueMapped=LARGEST,
        RealWorldValueIntercept=float(frames.intercept) / frames.scale,
        RealWorldValueSlope=float(frames.slope) / frames.scale,
        LUTExplanation=f"intensities of the k-space; shown values are {frames.scale:g} times them",
        LUTLabel="intensities",
        MeasurementUnitsCodeSequence=[code("1", "UCUM", "no units")],
    )
    return {"RealWorldValueMappingSequence": [mapping]}


def window(frames: Frames) -> dict[str, Any]:
    """How values are shown at first."""
    center, width = (f"{x:.8e}" for x in frames.window)
    return {"WindowCenter": center, "WindowWidth": width}


def decimals(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values]


def save(made: Any, path: Path) -> None:
    """Write an object as a file."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta = meta
    made.save_as(path, enforce_file_format=True)


def derivation(volume: Volume) -> str:
    """How an image came about, in a line."""
    info = volume.info
    words = [f"mrirecon {info.get('method', 'reconstruction')}"]
    acceleration = info.get("acceleration")
    if isinstance(acceleration, Mapping) and isinstance(acceleration.get("achieved"), float):
        words.append(f"acceleration {acceleration['achieved']:.4g}")
    if volume.geometry.note:
        words.append(f"geometry: {volume.geometry.note}")
    return "; ".join(words).replace("\\", "/")[:1024]
