"""The ISMRMRD XML header of a scan that is written; what its own header says of other things is kept."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from mrirecon.io.mrd_header import FRAME, children, find, frames_in, local_name, parse_xml
from mrirecon.scan import Scan

NAMESPACE = "http://www.ismrm.org/ISMRMRD"
ORDER = (  # of the schema
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


def build_header(
    scan: Scan, *, as_3d: bool = False, counters: Sequence[Mapping[str, int]] = ()
) -> str:
    """An ISMRMRD XML header that describes `scan`; what its own header says of other things is kept.

    Args:
        scan: whose grid, window, matrix, voxel size, covered lines and acceleration are written.
        as_3d: the slices of the scan are the readout, its two axes the phase encodings.
        counters: of each volume, such as {"repetition": 1}.
    """
    root = ET.Element("ismrmrdHeader") if scan.header is None else parse_xml(scan.header)
    for node in root.iter():
        node.tag, node.attrib = local_name(node), {}
    root.attrib["xmlns"] = NAMESPACE
    for node in children(root, "encoding"):
        root.remove(node)
    root.append(_encoding_element(scan, as_3d, counters))
    _set_coils(root, scan.shape[1])
    _set_frame(root, scan.geometry.frame)
    if not children(root, "experimentalConditions"):  # required by the schema; 0 when unknown
        node = ET.SubElement(root, "experimentalConditions")
        ET.SubElement(node, "H1resonanceFrequency_Hz").text = "0"
    root[:] = sorted(root, key=lambda node: ORDER.index(node.tag) if node.tag in ORDER else 99)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


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
    systems = children(root, "acquisitionSystemInformation")
    system = systems[0] if systems else ET.SubElement(root, "acquisitionSystemInformation")
    if not systems:
        ET.SubElement(system, "receiverChannels")
    for node in children(system, "receiverChannels"):
        # After coil compression the labels are of coils that are no more.
        if node.text != str(coils):
            node.text = str(coils)
            for label in children(system, "coilLabel"):
                system.remove(label)


def _set_frame(root: ET.Element, frame: str) -> None:
    for node in frames_in(root):
        find(root, "userParameters")[0].remove(node)
    if frame != "scanner":
        parents = find(root, "userParameters")
        parent = parents[0] if parents else ET.SubElement(root, "userParameters")
        node = ET.SubElement(parent, "userParameterString")
        ET.SubElement(node, "name").text, ET.SubElement(node, "value").text = FRAME, frame


def _add_limit(parent: ET.Element, name: str, values: Sequence[int], center: int) -> None:
    _add(parent, name, {"minimum": min(values), "maximum": max(values), "center": center})


def _add(parent: ET.Element, name: str, numbers: Mapping[str, int | float]) -> None:
    node = ET.SubElement(parent, name)
    for key, value in numbers.items():
        ET.SubElement(node, key).text = str(value)
