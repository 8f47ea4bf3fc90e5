"""Who and what was scanned, from the ISMRMRD header, under the names that DICOM has for it.

Values are in DICOM's units: milliseconds, degrees, tesla, MHz.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mrirecon.io.mrd_header import find, parse_xml
from mrirecon.scan import Scan


def acquisition_of(scan: Scan) -> dict[str, Any]:
    """What the header of a scan says, by DICOM keyword; empty where it has none.

    Of EchoTime, RepetitionTime, InversionTime and FlipAngle there is one value, or one for each volume where volumes
    are contrasts of different ones. What DICOM could not hold, such as a UID of letters, is left out, and so is an
    inversion time where no name speaks of an inversion: scanners state one of every sequence.
    """
    if scan.header is None:
        return {}
    root = parse_xml(scan.header)
    values: dict[str, Any] = {}
    for path, (keyword, convert) in ELEMENTS.items():
        texts = [text for node in find(root, path) if (text := (node.text or "").strip())]
        if texts and (value := convert(texts[0])) is not None:
            values[keyword] = value
    for path, keyword in OF_CONTRAST.items():
        numbers = [_positive(node.text or "") for node in find(root, path)]
        if numbers and None not in numbers:
            values[keyword] = _of_volumes(scan, [x for x in numbers if x is not None])
    names = [node.text or "" for path in NAMES for node in find(root, path)]
    if "InversionTime" in values and not INVERSION.search(" ".join(names)):
        del values["InversionTime"]
    elif "InversionTime" in values:
        values["ScanningSequence"] = ("RM", "IR")
    matrix = [
        _positive(node.text or "") for node in find(root, "encoding/encodedSpace/matrixSize/z")
    ]
    thickness = [
        _positive(node.text or "") for node in find(root, "encoding/reconSpace/fieldOfView_mm/z")
    ]
    if matrix:
        values["MRAcquisitionType"] = "2D" if matrix[0] == 1 else "3D"
    if matrix[:1] == [1] and thickness and thickness[0]:
        values["SliceThickness"] = thickness[0]
    return values


def of_volume(acquisition: Mapping[str, Any], volume: int) -> dict[str, Any]:
    """What holds for one volume: of values that differ between volumes, which are lists, its own."""
    return {
        keyword: value[volume] if isinstance(value, list) else value
        for keyword, value in acquisition.items()
    }


def _of_volumes(scan: Scan, values: list[float]) -> float | list[float]:
    """The value of each contrast for the volumes that they are; the first where volumes are not told apart by it."""
    contrasts = [re.search(r"contrast (\d+)", name) for name in scan.volume_names]
    numbers = [int(found[1]) for found in contrasts if found]
    if not numbers or len(numbers) < len(contrasts) or max(numbers) >= len(values):
        return values[0]
    each = [values[number] for number in numbers]
    return each if len(set(each)) > 1 else each[0]


def _text(text: str) -> str:
    """The longest that DICOM's long strings hold, without its separator of values."""
    return text.replace("\\", "/")[:64]


def _short(text: str) -> str:
    return _text(text)[:16]


def _code(text: str) -> str | None:
    """A code string: upper case, such as HEAD."""
    code = text.upper()[:16]
    return code if re.fullmatch(r"[A-Z0-9 _]+", code) else None


def _sex(text: str) -> str | None:
    return text if text in ("M", "F", "O") else None


def _date(text: str) -> str | None:
    digits = text.replace("-", "")
    return digits if re.fullmatch(r"\d{8}", digits) else None


def _time(text: str) -> str | None:
    found = re.match(r"(\d{2}):?(\d{2}):?(\d{2})", text)
    return "".join(found.groups()) if found else None


def _uid(text: str) -> str | None:
    return text if re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", text) and len(text) < 65 else None


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < 1e12 else None


def _megahertz(text: str) -> float | None:
    number = _positive(text)
    return None if number is None else number / 1e6


ELEMENTS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "subjectInformation/patientName": ("PatientName", _text),
    "subjectInformation/patientID": ("PatientID", _text),
    "subjectInformation/patientBirthdate": ("PatientBirthDate", _date),
    "subjectInformation/patientGender": ("PatientSex", _sex),
    "subjectInformation/patientWeight_kg": ("PatientWeight", _positive),
    "subjectInformation/patientHeight_m": ("PatientSize", _positive),
    "studyInformation/studyDate": ("StudyDate", _date),
    "studyInformation/studyTime": ("StudyTime", _time),
    "studyInformation/studyID": ("StudyID", _short),
    "studyInformation/accessionNumber": ("AccessionNumber", _short),
    "studyInformation/referringPhysicianName": ("ReferringPhysicianName", _text),
    "studyInformation/studyDescription": ("StudyDescription", _text),
    "studyInformation/studyInstanceUID": ("StudyInstanceUID", _uid),
    "studyInformation/bodyPartExamined": ("BodyPartExamined", _code),
    "measurementInformation/frameOfReferenceUID": ("FrameOfReferenceUID", _uid),
    "measurementInformation/patientPosition": ("PatientPosition", _code),
    "measurementInformation/protocolName": ("ProtocolName", _text),
    "measurementInformation/sequenceName": ("SequenceName", _short),
    "acquisitionSystemInformation/systemVendor": ("Manufacturer", _text),
    "acquisitionSystemInformation/systemModel": ("ManufacturerModelName", _text),
    "acquisitionSystemInformation/deviceSerialNumber": ("DeviceSerialNumber", _text),
    "acquisitionSystemInformation/institutionName": ("InstitutionName", _text),
    "acquisitionSystemInformation/stationName": ("StationName", _short),
    "acquisitionSystemInformation/systemFieldStrength_T": ("MagneticFieldStrength", _positive),
    "experimentalConditions/H1resonanceFrequency_Hz": ("ImagingFrequency", _megahertz),
}
NAMES = (
    "measurementInformation/protocolName",
    "measurementInformation/sequenceName",
    "sequenceParameters/sequence_type",
)
INVERSION = re.compile(r"inversion|flair|stir|tirm|mp2?rage|(?<![a-z])ir(?![a-z])", re.IGNORECASE)
OF_CONTRAST = {
    "sequenceParameters/TE": "EchoTime",
    "sequenceParameters/TR": "RepetitionTime",
    "sequenceParameters/TI": "InversionTime",
    "sequenceParameters/flipAngle_deg": "FlipAngle",
}
