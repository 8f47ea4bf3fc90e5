"""The ISMRMRD XML header, as found in MRD and fastMRI files (schema: ismrmrd.github.io, `ismrmrd.xsd`).

Parsed leniently: files in circulation lack required elements, so what is not there is None and nothing is assumed here.
Lengths are millimetres, times milliseconds, angles degrees, as in the schema.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mrirecon.scan import Scan

NAMESPACE = "http://www.ismrm.org/ISMRMRD"
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
    root = _root(xml)
    encodings = tuple(_encoding(node) for node in _children(root, "encoding"))
    return HeaderInfo(
        encodings=encodings or (Encoding(),),
        coils=_value(root, "acquisitionSystemInformation/receiverChannels", _whole),
        vendor=_text(root, "acquisitionSystemInformation/systemVendor"),
        model=_text(root, "acquisitionSystemInformation/systemModel"),
        institution=_text(root, "acquisitionSystemInformation/institutionName"),
        field_strength_t=_value(
            root, "acquisitionSystemInformation/systemFieldStrength_T", _number
        ),
        resonance_frequency_hz=_value(
            root, "experimentalConditions/H1resonanceFrequency_Hz", _number
        ),
        relative_noise_bandwidth=_value(
            root, "acquisitionSystemInformation/relativeReceiverNoiseBandwidth", _number
        ),
        patient_position=_text(root, "measurementInformation/patientPosition"),
        protocol=_text(root, "measurementInformation/protocolName"),
        sequence=_text(root, "sequenceParameters/sequence_type"),
        te_ms=_values(root, "sequenceParameters/TE"),
        tr_ms=_values(root, "sequenceParameters/TR"),
        ti_ms=_values(root, "sequenceParameters/TI"),
        flip_deg=_values(root, "sequenceParameters/flipAngle_deg"),
        echo_spacing_ms=_values(root, "sequenceParameters/echo_spacing"),
        frame=next((_text(node, "value") for node in _frames(root)), None),
    )


def build_header(
    scan: Scan, *, as_3d: bool = False, counters: Sequence[Mapping[str, int]] = ()
) -> str:
    """An ISMRMRD XML header that describes `scan`; what its own header says of other things is kept.

    Args:
        scan: whose grid, window, matrix, voxel size, covered lines and acceleration are written.
        as_3d: the slices of the scan are the readout, its two axes the phase encodings.
        counters: of each volume, such as {"repetition": 1}.
    """
    root = ET.Element("ismrmrdHeader") if scan.header is None else _root(scan.header)
    for node in root.iter():
        node.tag, node.attrib = _local(node), {}
    root.attrib["xmlns"] = NAMESPACE
    for node in _children(root, "encoding"):
        root.remove(node)
    root.append(_encoding_element(scan, as_3d, counters))
    _set_coils(root, scan.shape[1])
    _set_frame(root, scan.geometry.frame)
    if not _children(root, "experimentalConditions"):  # required by the schema; 0 when unknown
        node = ET.SubElement(root, "experimentalConditions")
        ET.SubElement(node, "H1resonanceFrequency_Hz").text = "0"
    root[:] = sorted(root, key=lambda node: _ORDER.index(node.tag) if node.tag in _ORDER else 99)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


FRAME = "frame of positions"
_ORDER = (
    "version",
    "subjectInformation",
    "studyInformation",
    "measurementInformation",
    "acquisitionSystemInformation",
    "experimentalConditions",
    "encoding",
    "sequenceParameters",
    "userParameters",
    "waveformInformation",
)


def _encoding_element(scan: Scan, as_3d: bool, counters: Sequence[Mapping[str, int]]) -> ET.Element:
    slices, _, rows, columns = scan.shape
    window = [axis.stop - axis.start for axis in scan.crop]
    voxel = scan.geometry.voxel_mm or (0.0, 0.0, 0.0)  # FOV 0 is how "unknown" is written
    fov = [voxel[0] * scan.matrix[0], voxel[1] * scan.matrix[1]]
    full = [fov[0] * rows / window[0], fov[1] * columns / window[1]]
    if as_3d:
        grid, recon = (slices, rows, columns), (slices, *scan.matrix)
        grid_fov, recon_fov = (voxel[2] * slices, *full), (voxel[2] * slices, *fov)
    else:
        grid, recon = (rows, columns, 1), (*scan.matrix, 1)
        grid_fov, recon_fov = (*full, voxel[2]), (*fov, voxel[2])
    node = ET.Element("encoding")
    for name, matrix, mm in (("encodedSpace", grid, grid_fov), ("reconSpace", recon, recon_fov)):
        space = ET.SubElement(node, name)
        _add(space, "matrixSize", dict(zip("xyz", matrix, strict=True)))
        _add(space, "fieldOfView_mm", dict(zip("xyz", mm, strict=True)))
    limits = ET.SubElement(node, "encodingLimits")
    _add_limit(limits, "kspace_encoding_step_0", range(grid[0]), grid[0] // 2)
    for step in (1, 2):
        lines = [0]
        if as_3d or step == 1:
            lines = scan.acquired.any(dim=2 - step if as_3d else 0).nonzero()[:, 0].tolist()
        _add_limit(limits, f"kspace_encoding_step_{step}", lines, grid[step] // 2)
    _add_limit(limits, "slice", range(1 if as_3d else slices), 0)
    for name in ("contrast", "phase", "repetition", "set"):
        _add_limit(limits, name, [volume.get(name, 0) for volume in counters] or [0], 0)
    ET.SubElement(node, "trajectory").text = "cartesian"
    parallel = ET.SubElement(node, "parallelImaging")
    covered = int(scan.acquired.sum() if as_3d else scan.acquired.any(dim=0).sum())
    mask = scan.mask(0)
    sampled = int(mask.sum() if as_3d else mask.any(dim=0).sum())
    factors = {"kspace_encoding_step_1": max(1, round(covered / max(sampled, 1)))}
    _add(parallel, "accelerationFactor", {**factors, "kspace_encoding_step_2": 1})
    mode = "embedded" if scan.calibration is None else "separate"
    ET.SubElement(parallel, "calibrationMode").text = mode
    return node


def _set_coils(root: ET.Element, coils: int) -> None:
    systems = _children(root, "acquisitionSystemInformation")
    system = systems[0] if systems else ET.SubElement(root, "acquisitionSystemInformation")
    if not systems:
        ET.SubElement(system, "receiverChannels")
    for node in _children(system, "receiverChannels"):
        if node.text != str(
            coils
        ):  # after coil compression the labels are of coils that are no more
            node.text = str(coils)
            for label in _children(system, "coilLabel"):
                system.remove(label)


def _frames(root: ET.Element) -> list[ET.Element]:
    """The user parameter in which the frame of the positions is written: MRD has no element for it."""
    found = _find(root, "userParameters/userParameterString")
    return [node for node in found if _text(node, "name") == FRAME]


def _set_frame(root: ET.Element, frame: str) -> None:
    for node in _frames(root):
        _find(root, "userParameters")[0].remove(node)
    if frame != "scanner":
        parents = _find(root, "userParameters")
        parent = parents[0] if parents else ET.SubElement(root, "userParameters")
        node = ET.SubElement(parent, "userParameterString")
        ET.SubElement(node, "name").text, ET.SubElement(node, "value").text = FRAME, frame


def _add_limit(parent: ET.Element, name: str, values: Sequence[int], center: int) -> None:
    _add(parent, name, {"minimum": min(values), "maximum": max(values), "center": center})


def _add(parent: ET.Element, name: str, numbers: Mapping[str, int | float]) -> None:
    node = ET.SubElement(parent, name)
    for key, value in numbers.items():
        ET.SubElement(node, key).text = str(value)


def _root(xml: str | bytes) -> ET.Element:
    text = xml.decode("utf-8", errors="replace") if isinstance(xml, bytes) else xml
    text = text.strip("\0 \r\n\t\ufeff")
    if text.startswith("<?xml"):  # the text is decoded already, so its declared encoding is moot
        text = text.partition("?>")[2]
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ValueError(f"the ISMRMRD header is not valid XML ({error})") from error
    if _local(root) != "ismrmrdHeader":
        raise ValueError(f"expected an ISMRMRD header, found the XML element <{_local(root)}>")
    return root


def _encoding(node: ET.Element) -> Encoding:
    limits = {}
    for parent in _children(node, "encodingLimits"):
        for child in parent:
            numbers = [_value(child, name, _whole) for name in ("minimum", "maximum", "center")]
            if None not in numbers:
                limits[_local(child)] = Limit(*numbers)  # type: ignore[arg-type]
    acceleration = _tuple(
        node,
        "parallelImaging/accelerationFactor",
        ("kspace_encoding_step_1", "kspace_encoding_step_2"),
        _number,
    )
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


def _local(node: ET.Element) -> str:
    """Tag without its namespace; files differ in whether they declare one."""
    return str(node.tag).rpartition("}")[2]


def _children(node: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in node if _local(child) == name]


def _find(node: ET.Element, path: str) -> list[ET.Element]:
    nodes = [node]
    for name in path.split("/"):
        nodes = [child for parent in nodes for child in _children(parent, name)]
    return nodes


def _text(node: ET.Element, path: str) -> str | None:
    texts = [(found.text or "").strip() for found in _find(node, path)]
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
    texts = [(found.text or "").strip() for found in _find(node, path)]
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
