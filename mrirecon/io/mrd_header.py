"""What the ISMRMRD XML header says, as found in MRD and fastMRI files (schema: ismrmrd.github.io, `ismrmrd.xsd`).

Parsed leniently: files in circulation lack required elements, so what is not there is None and nothing is assumed here.
Lengths are millimetres, times milliseconds, angles degrees, as in the schema.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

FRAME = "frame of positions"  # name of the user parameter
LARGEST = (1 << 31) - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """Range of one encoding counter; `center` is the counter of the k-space centre."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True)
class Encoding:
    """One encoding space. Triples are (x, y, z) = (readout, phase, slice or second phase).

    Attributes:
        encoded_matrix: size of the k-space grid, readout oversampling and zero padding included.
        encoded_fov_mm: what that grid covers; 1 / FOV is the distance between k-space samples.
        recon_matrix: size of the image.
        recon_fov_mm: what the image covers; along z it is the slice thickness of a 2D scan.
        limits: by schema name without prefix: `kspace_encoding_step_0/1/2`, `slice`, `repetition`, ...
        trajectory: `cartesian`, `epi`, `radial`, `goldenangle`, `spiral` or `other`, lower case.
        acceleration: along (kspace_encoding_step_1, kspace_encoding_step_2).
        calibration_mode: `embedded`, `interleaved`, `separate`, `external` or `other`.
    """

    encoded_matrix: tuple[int, int, int] | None = None
    encoded_fov_mm: tuple[float, float, float] | None = None
    recon_matrix: tuple[int, int, int] | None = None
    recon_fov_mm: tuple[float, float, float] | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    trajectory: str | None = None
    acceleration: tuple[float, float] | None = None
    calibration_mode: str | None = None


@dataclass(frozen=True)
class HeaderInfo:
    """What the header says that a reconstruction or a report can use.

    Attributes:
        encodings: at least one; `encoding` is the first.
        coils: receiver channels.
        te_ms, tr_ms, ti_ms, flip_deg: one entry per contrast.
        patient_position: such as `HFS`.
        relative_noise_bandwidth: `relativeReceiverNoiseBandwidth`.
        frame: what positions refer to (`Geometry.frame`), in files written here that is not the scanner.
    """

    encodings: tuple[Encoding, ...] = (Encoding(),)
    coils: int | None = None
    vendor: str | None = None
    model: str | None = None
    institution: str | None = None
    field_strength_t: float | None = None
    resonance_frequency_hz: float | None = None
    relative_noise_bandwidth: float | None = None
    patient_position: str | None = None
    protocol: str | None = None
    sequence: str | None = None
    te_ms: tuple[float, ...] = ()
    tr_ms: tuple[float, ...] = ()
    ti_ms: tuple[float, ...] = ()
    flip_deg: tuple[float, ...] = ()
    echo_spacing_ms: tuple[float, ...] = ()
    frame: str | None = None

    @property
    def encoding(self) -> Encoding:
        """The first encoding space, the only one of most files."""
        return self.encodings[0]

    def attributes(self) -> dict[str, Any]:
        """Everything known but the encodings, by field name: for `Scan.attributes`."""
        values = {name: value for name, value in vars(self).items() if name != "encodings"}
        return {name: value for name, value in values.items() if value not in (None, ())}


def parse_header(xml: str | bytes) -> HeaderInfo:
    """Read an ISMRMRD XML header; missing elements come out as None or ().

    Raises:
        ValueError: if it is no XML, no ISMRMRD header, or an element holds something other than its number.
    """
    root = parse_xml(xml)
    system = "acquisitionSystemInformation"
    encodings = tuple(_encoding(node) for node in children(root, "encoding"))
    return HeaderInfo(
        encodings=encodings or (Encoding(),),
        coils=_value(root, f"{system}/receiverChannels", _whole),
        vendor=_text(root, f"{system}/systemVendor"),
        model=_text(root, f"{system}/systemModel"),
        institution=_text(root, f"{system}/institutionName"),
        field_strength_t=_value(root, f"{system}/systemFieldStrength_T", _number),
        resonance_frequency_hz=_value(
            root, "experimentalConditions/H1resonanceFrequency_Hz", _number
        ),
        relative_noise_bandwidth=_value(root, f"{system}/relativeReceiverNoiseBandwidth", _number),
        patient_position=_text(root, "measurementInformation/patientPosition"),
        protocol=_text(root, "measurementInformation/protocolName"),
        sequence=_text(root, "sequenceParameters/sequence_type"),
        te_ms=_values(root, "sequenceParameters/TE"),
        tr_ms=_values(root, "sequenceParameters/TR"),
        ti_ms=_values(root, "sequenceParameters/TI"),
        flip_deg=_values(root, "sequenceParameters/flipAngle_deg"),
        echo_spacing_ms=_values(root, "sequenceParameters/echo_spacing"),
        frame=next((_text(node, "value") for node in frames_in(root)), None),
    )


def _encoding(node: ET.Element) -> Encoding:
    limits = {}
    for parent in children(node, "encodingLimits"):
        for child in parent:
            numbers = [_value(child, name, _whole) for name in ("minimum", "maximum", "center")]
            if None not in numbers:
                limits[local_name(child)] = Limit(*numbers)  # type: ignore[arg-type]
    steps = ("kspace_encoding_step_1", "kspace_encoding_step_2")
    acceleration = _tuple(node, "parallelImaging/accelerationFactor", steps, _number)
    trajectory = _text(node, "trajectory")
    mode = _text(node, "parallelImaging/calibrationMode")
    return Encoding(
        encoded_matrix=_xyz(node, "encodedSpace/matrixSize", _whole),
        encoded_fov_mm=_xyz(node, "encodedSpace/fieldOfView_mm", _number),
        recon_matrix=_xyz(node, "reconSpace/matrixSize", _whole),
        recon_fov_mm=_xyz(node, "reconSpace/fieldOfView_mm", _number),
        limits=limits,
        trajectory=trajectory.lower() if trajectory else None,
        acceleration=acceleration,  # type: ignore[arg-type]
        calibration_mode=mode.lower() if mode else None,
    )


def parse_xml(xml: str | bytes) -> ET.Element:
    """The root element of a header.

    Raises:
        ValueError: if it is no XML, or no ISMRMRD header.
    """
    text = xml.decode("utf-8", errors="replace") if isinstance(xml, bytes) else xml
    text = text.strip("\0 \r\n\t\ufeff")
    if text.startswith("<?xml"):  # the text is decoded already, so its declared encoding is moot
        text = text.partition("?>")[2]
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"the ISMRMRD header is not valid XML ({error})") from error
    if local_name(root) != "ismrmrdHeader":
        raise ValueError(f"expected an ISMRMRD header, found the XML element <{local_name(root)}>")
    return root


def frames_in(root: ET.Element) -> list[ET.Element]:
    """The user parameter in which the frame of the positions is written: MRD has no element for it."""
    found = find(root, "userParameters/userParameterString")
    return [node for node in found if _text(node, "name") == FRAME]


def local_name(node: ET.Element) -> str:
    """Tag without its namespace; files differ in whether they declare one."""
    return str(node.tag).rpartition("}")[2]


def children(node: ET.Element, name: str) -> list[ET.Element]:
    """The elements of this name right below one."""
    return [child for child in node if local_name(child) == name]


def find(node: ET.Element, path: str) -> list[ET.Element]:
    """All elements at a path of names such as `encoding/reconSpace`."""
    nodes = [node]
    for name in path.split("/"):
        nodes = [child for parent in nodes for child in children(parent, name)]
    return nodes


def _text(node: ET.Element, path: str) -> str | None:
    texts = [(found.text or "").strip() for found in find(node, path)]
    return texts[0] if texts and texts[0] else None


def _number(text: str, path: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"the ISMRMRD header has {path} = {text!r}, not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"the ISMRMRD header has {path} = {text!r}, not a finite number")
    return value


def _whole(text: str, path: str) -> int:
    """A whole number, which may be written as a decimal such as 120.0 or 35.9996 (philips_to_ismrmrd)."""
    value = _number(text, path)
    if abs(value - round(value)) > min(1e-3 * max(1.0, abs(value)), 0.05):
        raise ValueError(
            f"the ISMRMRD header has {path} = {text!r}, not a whole number: correct the header"
        )
    if abs(value) > LARGEST:
        raise ValueError(
            f"the ISMRMRD header has {path} = {text!r}, larger than any scan has: correct the header"
        )
    return round(value)


def _value(node: ET.Element, path: str, parse: Callable[[str, str], T]) -> T | None:
    text = _text(node, path)
    return None if text is None else parse(text, path)


def _values(node: ET.Element, path: str) -> tuple[float, ...]:
    texts = [(found.text or "").strip() for found in find(node, path)]
    return tuple(_number(text, path) for text in texts if text)


def _tuple(
    node: ET.Element, path: str, names: tuple[str, ...], parse: Callable[[str, str], T]
) -> tuple[T, ...] | None:
    values = [_value(node, f"{path}/{name}", parse) for name in names]
    return None if None in values else tuple(values)  # type: ignore[arg-type]


def _xyz(node: ET.Element, path: str, parse: Callable[[str, str], T]) -> tuple[T, T, T] | None:
    """A triple of positive numbers; zero, negative and absurd (10 km) lengths mean "not known"."""
    values = _tuple(node, path, ("x", "y", "z"), parse)
    most = math.inf if parse is _whole else 1e7  # mm
    if values is None or any(not 0 < value < most for value in values):  # type: ignore[operator]
        return None
    return values  # type: ignore[return-value]
