"""From a list of Cartesian readouts to a `Scan`: what the MRD and twix readers have in common.

A reader describes every readout by one row of `LINE` and passes a function that loads samples. Here they become slices
and volumes that are read when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.io.calibration import calibration_readouts, numbered_as_imaging
from mrirecon.io.centre import centered, kept_samples
from mrirecon.io.counters import numbered, points, said_of_volumes, volume_names, volumes_of
from mrirecon.io.energy import Load, Look, look
from mrirecon.io.epi import turned
from mrirecon.io.grid import Axis, phase_axis, readout_axis, thickness_axis
from mrirecon.io.mrd_header import Encoding
from mrirecon.io.placement import slice_stack, volume_stack
from mrirecon.io.readouts import Readouts
from mrirecon.scan import Scan

_LARGEST_GRID = 8192**2  # beyond any scan: a matrix that large is a damaged number


def cartesian_scan(
    lines: np.ndarray,
    calibration: np.ndarray,
    encoding: Encoding,
    load: Load,
    *,
    own_centres: np.ndarray | None = None,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    notes: Sequence[str] = (),
    **about: Any,
) -> Scan:
    """Place readouts on the k-space grid and describe the result as a lazily read `Scan`.

    Args:
        lines: imaging readouts, an array of `LINE` in the order of the file.
        calibration: readouts for calibration; imaging ones may be among them.
        encoding: matrix, FOV and limits, as far as the file knows them.
        load: picklable function from readouts to their samples as stored.
        own_centres: counters (readout, 2) of k = 0 along both phase encodings that the file has for each calibration
            readout, -1 where it has none.
        noise_covariance: of one imaging sample before averaging.
        notes: what the reader itself has to say.
        about: fields of `Scan` that readouts do not determine: `source`, `format`, `header` and `attributes`.

    Raises:
        ValueError: if coil counts differ, readouts do not fit the grid, or a 3D acquisition has several slabs.
    """
    notes, calibration = list(notes), calibration.copy()
    coils = _one_coil_count(lines, calibration)
    is_3d = len(np.unique(lines["kz"])) > 1
    lines = numbered(lines, encoding, notes)
    slices, slice_of = np.unique(lines["slice"], return_inverse=True)
    volumes, volume_of = volumes_of(lines)
    if is_3d and len(slices) > 1:
        raise ValueError(
            f"a 3D acquisition of {len(slices)} slabs is not supported: export each slab to its own file"
        )
    seen = _look_at_middle(lines, volume_of, slice_of, load)
    lines = turned(lines, encoding, seen, load, volume_of, slice_of, notes)
    shared = np.isin(calibration["row"], lines["row"])
    calibration[shared] = lines[np.searchsorted(lines["row"], calibration["row"][shared])]
    every, said = centered(np.concatenate([lines, calibration]), encoding, seen)
    lines, calibration = every[: len(lines)], every[len(lines) :]
    notes += said
    readout, phase, partition = _axes(lines, encoding, seen, is_3d, notes)
    order, geometry = _stack(lines, slice_of, (readout, phase, partition), is_3d, notes)
    slices, slice_of = slices[order], np.argsort(order)[slice_of]
    point = points(lines, phase, partition, is_3d)
    imaging = Readouts(load, coils, readout, (phase.size, partition.size), is_3d)
    imaging.place(lines, volume_of, slice_of, point)
    places = np.stack([volume_of, slice_of, point])
    noise_covariance = _noise_of_averages(noise_covariance, places, notes)
    notes += said_of_volumes(volumes, volume_of, slice_of, point)
    axes = (phase, partition)
    calibration = numbered_as_imaging(calibration, lines, own_centres, axes, load, notes)
    extra = calibration_readouts(
        calibration, lines, imaging, phase, partition, slices, volumes, notes
    )
    rows, columns = axes if is_3d else (readout, phase)
    return Scan(
        shape=(readout.window_size if is_3d else len(slices), coils, rows.size, columns.size),
        read=imaging.read,
        sampling=imaging.sampling,
        acquired=_acquired(rows, columns),
        calibration=None if extra is None else extra.read,
        crop=(rows.window, columns.window),
        matrix=(rows.matrix, columns.matrix),
        volumes=len(volumes),
        volume_names=volume_names(volumes),
        geometry=geometry,
        oversampling=1.0 if is_3d else readout.size / readout.window_size,
        is_3d=is_3d,
        noise_covariance=noise_covariance,
        notes=tuple(notes),
        **about,
    )


def _look_at_middle(
    lines: np.ndarray, volume_of: np.ndarray, slice_of: np.ndarray, load: Load
) -> Look:
    """What the samples of the middle slice say."""
    kept_samples(lines)
    middle = slice_of == slice_of.max() // 2
    seen = look(lines[middle & (volume_of == volume_of[middle].min())], load)
    if not seen.encoded:
        raise ValueError(
            "all readouts of a slice are alike: nothing encodes the phase direction (a reference scan?), so that "
            "there is no image"
        )
    return seen


def _axes(
    lines: np.ndarray, encoding: Encoding, seen: Look, is_3d: bool, notes: list[str]
) -> tuple[Axis, Axis, Axis]:
    """The readout, and both phase encodings; the second of a 2D scan is the thickness of a slice."""
    corner = seen.sample.at_edge  # k-space is not centred at all, which is no matter of counters
    phase = phase_axis(lines["ky"], 1, encoding, None if corner else seen.ky, notes)
    planned = phase.size if encoding.encoded_matrix is None else encoding.encoded_matrix[1]
    excess = max(1.0, phase.size / planned)
    readout = readout_axis(lines, encoding, excess, seen.alternates is not None, notes)
    if readout.size == phase.size == 1:
        raise ValueError("the image is 1 x 1: there is nothing to reconstruct")
    if not is_3d:
        return readout, phase, thickness_axis(encoding)
    return readout, phase, phase_axis(lines["kz"], 2, encoding, None if corner else seen.kz, notes)


def _stack(
    lines: np.ndarray,
    slice_of: np.ndarray,
    axes: tuple[Axis, Axis, Axis],
    is_3d: bool,
    notes: list[str],
) -> tuple[np.ndarray, Geometry]:
    """The order of the slices by their positions, and where they lie."""
    if is_3d:
        notes.append(
            "3D: inverse FFT along the readout, one whole volume in memory; slices are readout positions"
        )
        order, geometry = np.arange(1), volume_stack(lines, *axes)
    else:
        first = np.unique(slice_of, return_index=True)[1]
        readout, phase, thickness = axes
        order, geometry = slice_stack(lines[first], readout, phase, thickness.voxel_mm)
    if geometry.note:  # once: `info` prints both
        notes.append(geometry.note)
    return order, replace(geometry, note="")


def _noise_of_averages(
    covariance: Tensor | None, places: np.ndarray, notes: list[str]
) -> Tensor | None:
    """The noise covariance of lines that are averages of the readouts of one place."""
    repeats = np.unique(places, axis=1, return_counts=True)[1]
    if repeats.max() == 1:
        return covariance
    if repeats.min() < repeats.max():
        notes.append("lines were averaged different numbers of times, each by its own count")
        return covariance
    notes.append(f"every line is the average of {repeats[0]} readouts")
    return None if covariance is None else covariance / repeats[0]


def _acquired(rows: Axis, columns: Axis) -> Bool[Tensor, "readout phase"]:
    """The grid points that the protocol covers."""
    if rows.size * columns.size > _LARGEST_GRID:
        raise ValueError(
            f"a k-space grid of {rows.size} x {columns.size}: repair the header's matrix"
        )
    acquired = torch.zeros(rows.size, columns.size, dtype=torch.bool)
    acquired[rows.covered, columns.covered] = True
    return acquired


def fitting_noise(noise: np.ndarray, imaging: np.ndarray, notes: list[str]) -> np.ndarray:
    """The noise readouts with the coils of the imaging ones; of the others a note says that they are ignored."""
    fits = noise["coils"] == imaging["coils"][0]
    for coils in np.unique(noise["coils"][~fits]):
        count = int((noise["coils"] == coils).sum())
        notes.append(
            f"{count} noise readouts of {coils} coils do not fit the imaging ({imaging['coils'][0]} coils): ignored"
        )
    return noise[fits]


def noise_covariance(
    noise: Complex[np.ndarray, "coil sample"], dwell_ratio: float = 1.0
) -> Complex[Tensor, "coil coil"]:
    """E[n n^H] of one imaging sample from a noise scan: zero mean assumed, 1 / (N - 1), as in BART's `whiten`.

    Noise variance goes with the receiver bandwidth, so it is multiplied by `dwell_ratio`, the dwell time of the noise
    scan over that of the imaging scan (Kellman and McVeigh, MRM 54:1439, 2005).

    Raises:
        ValueError: if there are fewer than two samples, or some are not finite, or too large to be multiplied.
    """
    count = noise.shape[1]
    if count < 2:
        raise ValueError(f"a noise scan of {count} samples has no covariance")
    if not np.isfinite(noise).all():
        raise ValueError("the noise scan holds NaN or infinite samples: repair or leave it out")
    noise = noise.astype(np.complex128)
    with np.errstate(over="ignore", invalid="ignore"):
        covariance = noise @ noise.conj().T * (dwell_ratio / (count - 1))
        covariance = covariance.astype(np.complex64)
    if not np.isfinite(covariance).all():
        raise ValueError(
            f"the noise scan holds samples of {np.abs(noise).max():.2g} at a bandwidth ratio of {dwell_ratio:g}, which "
            "have no finite covariance: repair or leave it out"
        )
    return torch.from_numpy(covariance)


def _one_coil_count(lines: np.ndarray, calibration: np.ndarray) -> int:
    counts = np.unique(np.concatenate([lines["coils"], calibration["coils"]]))
    if len(counts) > 1 or counts[0] < 1:
        listed = " and ".join(str(count) for count in counts)
        raise ValueError(f"readouts have {listed} coils: a file must hold one number of coils")
    return int(counts[0])
