"""Siemens twix raw data (.dat, VB and VD/VE), with the headers and block layout of twixtools (optional extra `twix`).

Conventions, from public code that was compared with scanners: Siemens' geometry takes the image to be the FFT of the
samples, not the inverse FFT (mrpro, issue 828); conjugating the samples turns one into the other. The image index then
grows along the columns of the rotation in each block's quaternion: phase, readout, slice (siemens_to_ismrmrd).

Checked on six public scans of twixtools (2D GRE and EPI, two coils, partial echo, VE) and 42 of Pulseq (VE, 1 to 32
coils). Not checked on real data: 3D, noise and calibration blocks, several slices, VB, and the sign of left-right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from mrirecon.io.calibration import embedded
from mrirecon.io.cartesian import cartesian_scan, fitting_noise, noise_covariance
from mrirecon.io.files import PathLike, existing_file
from mrirecon.io.grid import LINE
from mrirecon.io.mrd_header import Encoding, Limit
from mrirecon.io.twix_blocks import Measurement, read_measurements
from mrirecon.scan import Scan

_COUNTERS = {
    "ky": "Lin",
    "kz": "Par",
    "slice": "Sli",
    "average": "Ave",
    "segment": "Seg",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
}
_NOT_IMAGING = {  # phase correction comes first: it is flagged as feedback too
    "phase correction": "PHASCOR",
    "real-time feedback": "RTFEEDBACK",
    "high-performance feedback": "HPFEEDBACK",
    "phase stabilization": "PHASESTABSCAN",
    "phase stabilization reference": "REFPHASESTABSCAN",
    "navigator": "noname60",
    "RF monitoring": "MDH_VOP",
    "dummy": "RETRO_DUMMYSCAN",
}
LARGEST_OVERSAMPLING = 16
# sPat.ucRefScanMode as ISMRMRD's calibrationMode (siemens_to_ismrmrd).
_CALIBRATION_MODES = {2: "embedded", 4: "separate", 8: "separate"}
_CALIBRATION_MODES |= dict.fromkeys((16, 32, 64), "interleaved")


def read_twix(path: PathLike) -> Scan:
    """The last measurement of a twix file as a `Scan` whose slices are read when they are needed.

    Slices, volumes, averages, calibration lines and the grid are treated as by `read_mrd`; noise is taken from blocks
    flagged as noise in any measurement of the file. EPI is neither regridded nor ghost-corrected.

    Raises:
        ImportError: if twixtools is not installed.
        FileNotFoundError, IsADirectoryError: if `path` is not a file.
        ValueError: in one sentence, if the file is truncated, no twix file, not Cartesian, simultaneous multislice,
            multi-slab 3D, or of several coil counts.
    """
    path = existing_file(path)
    measurements = read_measurements(path)
    last = measurements[-1]
    notes = ["Siemens: samples are conjugated, so that the image is their inverse FFT"]
    if len(measurements) > 1:
        notes.append(f"the last of {len(measurements)} measurements is read")
    try:
        imaging, calibrates = _kinds(last, notes)
        lines = _lines(last)
        parallel = last.header["MeasYaps"].get("sPat", {})
        mode = _CALIBRATION_MODES.get(parallel.get("ucRefScanMode", 1))
        imaging |= embedded(lines, imaging, calibrates & ~imaging, mode, notes)
        encoding = _encoding(last, imaging, notes)
        noise = _noise(measurements, lines[imaging], notes)
        return cartesian_scan(
            lines[imaging],
            lines[calibrates],
            encoding,
            last.samples,
            source=str(path),
            format="twix",
            own_centres=_own_centres(last, imaging, calibrates),
            noise_covariance=noise,
            attributes=_attributes(last.header),
            notes=notes,
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: the protocol lacks {error}: export the scan again") from error
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _kinds(last: Measurement, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which readouts are imaging and which are calibration; a readout may be both."""
    used = ~last.flagged("NOISEADJSCAN")
    for name, flag in _NOT_IMAGING.items():
        chosen = used & last.flagged(flag)
        used &= ~chosen
        if chosen.any():
            notes.append(f"{chosen.sum()} {name} readouts are ignored")
    separate, both = last.flagged("PATREFSCAN"), last.flagged("PATREFANDIMASCAN")
    imaging = used & (both | ~separate)
    if not imaging.any():
        raise ValueError(f"none of its {len(used)} readouts is an imaging readout")
    if (used & last.flagged("SLICE_ACCEL_REFSCAN")).any():
        raise ValueError("simultaneous multislice is not supported: export it after unaliasing")
    if (imaging & last.flagged("REFLECT")).any():
        notes.append("EPI or bipolar readout: no ghost correction, no ramp-sampling correction")
    return imaging, used & (both | separate)


def _own_centres(last: Measurement, imaging: np.ndarray, calibrates: np.ndarray) -> np.ndarray:
    """Counters (readout, 2) of k = 0 of calibration readouts; -1 where they equal those of the imaging readouts."""
    centres = np.stack(
        [last.heads[name].astype(int) for name in ("CenterLin", "CenterPar")], axis=1
    )
    return np.where((centres == centres[imaging][0]).all(axis=1)[:, None], -1, centres)[calibrates]


def _lines(last: Measurement) -> np.ndarray:
    heads = last.heads
    lines = np.zeros(len(heads), dtype=LINE)
    lines["row"] = last.places
    lines["samples"], lines["coils"] = heads["SamplesInScan"], heads["UsedChannels"]
    lines["center"] = heads["CenterCol"]
    lines["discard_pre"], lines["discard_post"] = heads["CutOff"]["Pre"], heads["CutOff"]["Post"]
    lines["reverse"] = last.flagged("REFLECT")
    lines["dwell_us"] = last.dwell_us
    for name, counter in _COUNTERS.items():
        lines[name] = heads["Counter"][counter]
    position = heads["SliceData"]["SlicePos"]
    lines["position"] = np.stack([position[axis] for axis in ("Sag", "Cor", "Tra")], axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # numbers of a damaged file
        rotation = _rotation(heads["SliceData"]["Quaternion"].astype(float))
    for column, name in enumerate(("phase_dir", "read_dir", "slice_dir")):
        lines[name] = rotation[:, :, column]
    return lines


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices of unit quaternions (w, x, y, z); zero where the quaternion is zero, that is, not known."""
    w, x, y, z = quaternion.T
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _encoding(last: Measurement, imaging: np.ndarray, notes: list[str]) -> Encoding:
    """Grid and FOV from the protocol, encoding limits from the data.

    The phase-encoding lines of the protocol cover the phase FOV with its oversampling; the image has square pixels, of
    half the size with the scanner's interpolation. Scans of the Pulseq interpreter carry the matrix of its own
    protocol, which does not describe the sequence: the matrix is then taken from the lines, with square pixels.
    """
    protocol, heads = last.header["MeasYaps"], last.heads[imaging]
    kspace, first = protocol["sKSpace"], protocol["sSliceArray"]["asSlice"][0]
    if kspace.get("ucTrajectory", 1) != 1:
        raise ValueError(
            f"trajectory {kspace['ucTrajectory']} of the protocol is not Cartesian: only Cartesian scans can be read"
        )
    if last.header.get("Meas", {}).get("alRegridMode", [1])[0] > 1:
        notes.append("ramp-sampled readout is not regridded")
    is_3d = kspace.get("ucDimension", 2) == 4
    base, oversampling = _number(kspace, "lBaseResolution", 1), _oversampling(last.header)
    read_fov, phase_fov = float(first["dReadoutFOV"]), float(first["dPhaseFOV"])
    thickness = float(first["dThickness"])
    for name in ("dReadoutFOV", "dPhaseFOV", "dThickness"):
        if not 0 < float(first[name]) < np.inf:
            raise ValueError(f"the protocol has {name} {first[name]:g} mm: export the scan again")
    extra = 1 + _number(kspace, "dPhaseOversamplingForDialog", 0, 0)
    extra_slices = 1 + _number(kspace, "dSliceOversamplingForDialog", 0, 0)
    finer = 2 if kspace.get("uc2DInterpolation", 0) else 1
    square = round(base * phase_fov / read_fov)
    partitions = _number(kspace, "lPartitions", 1) if is_3d else 1
    planned = _number(kspace, "lPhaseEncodingLines", 1)
    images = _number(kspace, "lImagesPerSlab", 1, partitions) if is_3d else 1
    if "pulseq" in str(protocol.get("tSequenceFileName", "")).lower():
        notes.append(
            "Pulseq: the header describes the interpreter, not the sequence: matrix and centre are those of the "
            "data, the FOV is the header's"
        )
        planned, partitions = (int(np.ptp(heads["Counter"][name])) + 1 for name in ("Lin", "Par"))
        base = max(1, round(planned * read_fov / phase_fov))
        square, images = planned, partitions
        oversampling = extra = extra_slices = finer = 1
    limits = {
        f"kspace_encoding_step_{step}": Limit(
            int(heads["Counter"][counter].min()),
            int(heads["Counter"][counter].max()),
            int(heads[f"Center{counter}"][0]),
        )
        for step, counter in ((1, "Lin"), (2, "Par"))
    }
    return Encoding(
        encoded_matrix=(
            round(base * oversampling),
            planned,
            partitions,
        ),
        encoded_fov_mm=(
            read_fov * oversampling,
            phase_fov * extra,
            thickness * (extra_slices if is_3d else 1),
        ),
        recon_matrix=(
            base * finer,
            square * finer,
            images,
        ),
        recon_fov_mm=(read_fov, phase_fov, thickness),
        limits=limits,
        trajectory="cartesian",
    )


def _number(values: dict[str, Any], name: str, least: int, usual: int | float | None = None) -> Any:
    """A number of the protocol, refused where it is below `least` or not a number, as in a damaged file."""
    value = values[name] if usual is None else values.get(name, usual)
    if not (isinstance(value, int | float) and least <= value < 1 << 31):
        raise ValueError(f"the protocol has {name} {value}: export the scan again")
    return value


def _oversampling(header: dict[str, Any]) -> float:
    """Readout oversampling, which is 2 on nearly every Siemens scan."""
    for section in ("Meas", "Dicom"):
        value = header.get(section, {}).get("flReadoutOSFactor")
        if isinstance(value, float) and 1 <= value <= LARGEST_OVERSAMPLING:
            return value
    return 2.0


def _noise(measurements: list[Measurement], imaging: np.ndarray, notes: list[str]) -> Tensor | None:
    """Noise covariance of an imaging sample, from the noise blocks of the last measurement that has some."""
    for measurement in reversed(measurements):
        chosen = measurement.flagged("NOISEADJSCAN")
        if not chosen.any():
            continue
        noise = fitting_noise(_lines(measurement)[chosen], imaging, notes)
        if not len(noise):
            continue
        samples = np.concatenate(measurement.samples(noise), axis=1)
        dwell, imaging_dwell = float(noise["dwell_us"][0]), float(imaging["dwell_us"][0])
        known = dwell > 0 and imaging_dwell > 0
        notes.append(
            f"noise covariance from {samples.shape[1]} noise samples, "
            + (
                f"scaled by the dwell times {dwell:g} / {imaging_dwell:g} us"
                if known
                else "unscaled"
            )
        )
        return noise_covariance(samples, dwell / imaging_dwell if known else 1.0)
    return None


def _attributes(header: dict[str, Any]) -> dict[str, Any]:
    """Protocol values that reports show, under the names of `HeaderInfo`."""
    protocol, dicom = header["MeasYaps"], header.get("Dicom", {})
    contrasts = protocol.get("lContrasts", 1)
    values = {
        "vendor": dicom.get("Manufacturer"),
        "model": dicom.get("ManufacturersModelName"),
        "field_strength_t": dicom.get("flMagneticFieldStrength"),
        "patient_position": dicom.get("tPatientPosition"),
        "protocol": protocol.get("tProtocolName"),
        "te_ms": tuple(te / 1000 for te in protocol.get("alTE", [])[:contrasts]),
        "tr_ms": tuple(tr / 1000 for tr in protocol.get("alTR", [])[:1]),
        "flip_deg": tuple(protocol.get("adFlipAngleDegree", [])[:1]),
    }
    return {name: value for name, value in values.items() if value not in (None, "", ())}
