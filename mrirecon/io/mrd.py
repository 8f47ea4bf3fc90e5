"""MRD (ISMRMRD HDF5) raw data: what real scanners write through the vendors' converters.

Inati et al., MRM 77:411 (2017); https://ismrmrd.readthedocs.io. What is honoured, ignored and assumed is listed in
docs/formats-mrd.md; `Scan.notes` says it of one file.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Complex
from torch import Tensor

from mrirecon.geometry import FRAMES
from mrirecon.io.calibration import embedded
from mrirecon.io.cartesian import cartesian_scan, fitting_noise, noise_covariance
from mrirecon.io.energy import Load
from mrirecon.io.files import PathLike, existing_file
from mrirecon.io.grid import DIRECTIONS, LINE, VOLUME_COUNTERS
from mrirecon.io.mrd_file import naming, read_acquisitions
from mrirecon.io.mrd_header import Encoding, HeaderInfo, parse_header
from mrirecon.io.mrd_writer import write_mrd
from mrirecon.io.partitions import counted
from mrirecon.scan import Scan

__all__ = ["read_mrd", "write_mrd"]

# Bits of the acquisition flags, ismrmrd.h; the header numbers them from 1.
NOISE = 1 << 18
CALIBRATION = 1 << 19
CALIBRATION_AND_IMAGING = 1 << 20
REVERSE = 1 << 21
NOT_IMAGING = {  # phase correction comes first: it is flagged as feedback too
    "phase correction": 1 << 23,
    "navigator": 1 << 22,
    "high-priority feedback": 1 << 25,
    "dummy": 1 << 26,
    "real-time feedback": 1 << 27,
    "surface coil correction": 1 << 28,
    "phase stabilization reference": 1 << 29,
    "phase stabilization": 1 << 30,
}
COMPRESSED = sum(1 << bit for bit in range(52, 56))


def read_mrd(path: PathLike) -> Scan:
    """Describe an MRD file as a `Scan` whose slices are read when asked for.

    The acquisition heads are read once, samples only of the slice (2D) or volume (3D) that is read. Slices are ordered
    along the slice direction; repetitions, contrasts, phases and sets become volumes; k-space is on the encoded grid.

    Raises:
        FileNotFoundError, IsADirectoryError: if `path` is not a file.
        ValueError: in one sentence, if the file is damaged, no MRD, empty, not Cartesian, compressed, multi-slab 3D,
            or of several coil counts.
    """
    path = existing_file(path)
    notes: list[str] = []
    header, heads, load = read_acquisitions(path, notes)
    with naming(path):
        if not len(heads):
            raise ValueError("it holds no acquisitions")
        info = parse_header(header)
        lines = _lines(heads)
        empty = (lines["samples"] == 0) | (lines["coils"] == 0)
        if empty.all():
            raise ValueError(
                f"all {len(heads)} readouts are empty (0 samples or coils), only their heads are there: "
                "convert the scan again with its data"
            )
        if empty.any():
            notes.append(f"{empty.sum()} readouts are empty (0 samples or coils): left out")
            heads, lines = heads[~empty], lines[~empty]
        imaging, calibrates, is_noise = _kinds(heads, info, notes)
        space = int(lines["space"][imaging][0])
        encoding = _encoding(info, space)
        _require_cartesian(encoding, heads[imaging], notes)
        mode = encoding.calibration_mode
        imaging |= embedded(lines, imaging, calibrates & ~imaging, mode, notes)
        coils = int(lines["coils"][imaging][0])
        if info.coils is not None and info.coils != coils:
            notes.append(
                f"{info.coils} receiver channels in the header, {coils} coils in the readouts"
            )
        lines = _with_partitions(lines, imaging, encoding, load, notes)
        noise = _noise(load, lines[is_noise], lines[imaging], notes) if is_noise.any() else None
        scan = cartesian_scan(
            lines[imaging],
            lines[calibrates],
            encoding,
            load,
            source=str(path),
            format="mrd",
            own_centres=_own_centres(lines[calibrates], info, space),
            noise_covariance=noise,
            header=header,
            attributes=info.attributes(),
            notes=notes,
        )
        frame = info.frame if info.frame in FRAMES else FRAMES[0]
        return replace(scan, geometry=replace(scan.geometry, frame=frame))


def _kinds(
    heads: np.ndarray, info: HeaderInfo, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which acquisitions are imaging, calibration (perhaps both) and noise readouts."""
    flags = heads["flags"]
    if _flagged(flags, COMPRESSED).any():
        raise ValueError("readouts are compressed: decompress them with the tool that wrote them")
    is_noise = _flagged(flags, NOISE)
    used = ~is_noise
    for name, bit in NOT_IMAGING.items():
        chosen = used & _flagged(flags, bit)
        used &= ~chosen
        if chosen.any():
            notes.append(f"{chosen.sum()} {name} readouts are ignored")
    both = _flagged(flags, CALIBRATION_AND_IMAGING)
    imaging = used & (both | ~_flagged(flags, CALIBRATION))
    calibrates = used & (both | _flagged(flags, CALIBRATION))
    if not imaging.any():
        raise ValueError(f"none of its {len(heads)} acquisitions is an imaging readout")

    space = heads["encoding_space_ref"]
    chosen = _space(heads[imaging])
    here = space == chosen
    if not here[imaging].all():
        others = ", ".join(map(str, np.unique(space[imaging & ~here])))
        notes.append(
            f"{(imaging & ~here).sum()} readouts of other encoding spaces are ignored ({others}): "
            f"encoding space {chosen} has the most lines"
        )
        imaging &= here
    fov_mm = _encoding(info, chosen).encoded_fov_mm
    for other in np.unique(space[calibrates & ~here]):
        if _encoding(info, int(other)).encoded_fov_mm != fov_mm:
            notes.append("calibration readouts with another encoded FOV are ignored")
            calibrates &= space != other
    return imaging, calibrates, is_noise


def _space(heads: np.ndarray) -> int:
    """The encoding space with the most lines, of equals that of the first readout."""
    spaces, first = np.unique(heads["encoding_space_ref"], return_index=True)
    names = ("kspace_encode_step_1", "kspace_encode_step_2", "slice")
    lines = [
        len(np.unique(heads["idx"][list(names)][heads["encoding_space_ref"] == space]))
        for space in spaces
    ]
    return int(spaces[max(range(len(spaces)), key=lambda i: (lines[i], -first[i]))])


def _flagged(flags: np.ndarray, bits: int) -> np.ndarray:
    return np.asarray((flags & np.uint64(bits)) != 0)


def _lines(heads: np.ndarray) -> np.ndarray:
    lines = np.zeros(len(heads), dtype=LINE)
    lines["row"] = np.arange(len(heads))
    lines["samples"] = heads["number_of_samples"]
    lines["center"] = heads["center_sample"]
    lines["coils"] = heads["active_channels"]
    lines["reverse"] = _flagged(heads["flags"], REVERSE)
    lines["space"] = heads["encoding_space_ref"]
    lines["ky"] = heads["idx"]["kspace_encode_step_1"]
    lines["kz"] = heads["idx"]["kspace_encode_step_2"]
    for name in ("slice", "average", "segment", *VOLUME_COUNTERS):
        lines[name] = heads["idx"][name]
    with np.errstate(invalid="ignore"):  # numbers of a damaged file
        lines["dwell_us"] = heads["sample_time_us"]
        for name in ("discard_pre", "discard_post", "position", *DIRECTIONS):
            lines[name] = heads[name]
    return lines


def _with_partitions(
    lines: np.ndarray, imaging: np.ndarray, encoding: Encoding, load: Load, notes: list[str]
) -> np.ndarray:
    """All readouts with the imaging ones `counted`."""
    found = counted(lines[imaging], encoding, load, notes)
    if len(np.unique(found["kz"])) > 1:
        lines = lines.copy()
        lines[imaging] = found
    return lines


def _encoding(info: HeaderInfo, reference: int) -> Encoding:
    """The encoding space a readout refers to; files with a single one often refer to none that exists."""
    return info.encodings[reference if reference < len(info.encodings) else 0]


def _own_centres(calibration: np.ndarray, info: HeaderInfo, imaging: int) -> np.ndarray:
    """Counters of k = 0 in the encoding spaces of calibration readouts, -1 where that is the imaging one or unknown."""
    centres = np.full((len(calibration), 2), -1)
    for space in np.unique(calibration["space"]):
        if space == imaging or space >= len(info.encodings):
            continue
        for column, step in enumerate((1, 2)):
            limit = info.encodings[space].limits.get(f"kspace_encoding_step_{step}")
            if limit is not None:
                centres[calibration["space"] == space, column] = limit.center
    return centres


def _require_cartesian(encoding: Encoding, heads: np.ndarray, notes: list[str]) -> None:
    has_trajectory = bool((heads["trajectory_dimensions"] > 0).any())
    kind = encoding.trajectory
    if kind not in (None, "cartesian", "epi") or (kind is None and has_trajectory):
        raise ValueError(
            f"the trajectory is {kind or 'stored with the readouts'}: only Cartesian scans can be read"
        )
    if kind == "epi":
        notes.append("EPI: no ghost correction, no ramp-sampling correction")
    if has_trajectory:
        notes.append("stored k-space coordinates are ignored: the header says Cartesian")


def _noise(
    load: Load, noise: np.ndarray, imaging: np.ndarray, notes: list[str]
) -> Complex[Tensor, "coil coil"] | None:
    """Covariance of one imaging sample, from the noise readouts."""
    noise = fitting_noise(noise, imaging, notes)
    if not len(noise):
        return None
    samples = np.concatenate(load(noise), axis=1)
    ratio = 1.0
    dwell, imaging_dwell = float(noise["dwell_us"][0]), float(imaging["dwell_us"][0])
    scaled = "dwell time not recorded, bandwidth assumed that of the imaging"
    if dwell > 0 and imaging_dwell > 0:
        ratio = dwell / imaging_dwell
        scaled = f"scaled by the dwell times {dwell:g} / {imaging_dwell:g} us"
    notes.append(f"noise covariance from {samples.shape[1]} noise samples, {scaled}")
    return noise_covariance(samples, ratio)
