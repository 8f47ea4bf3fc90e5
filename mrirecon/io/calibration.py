"""Calibration (ACS) readouts: embedded ones become part of k-space, those of a separate scan calibrate only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.counters import points
from mrirecon.io.energy import Load, Profile, look
from mrirecon.io.grid import VOLUME_COUNTERS, Axis, readout_range
from mrirecon.io.readouts import Readouts

_PLACE = (*VOLUME_COUNTERS, "slice", "ky", "kz")
_KIND = ("samples", "center", "discard_pre", "discard_post", "coils", "dwell_us", "space")


def embedded(
    lines: np.ndarray, imaging: np.ndarray, only: np.ndarray, mode: str | None, notes: list[str]
) -> np.ndarray:
    """Which of the readouts flagged as calibration `only` belong to the imaging k-space (embedded calibration).

    They must have the same readout as the imaging lines, belong to one of their slices and volumes, and lie at points
    that no imaging line has. Where the header states no mode, a single point with both means that the calibration
    readouts are a separate scan, since such a scan covers the imaging lines too.

    Args:
        lines: all readouts, an array of `LINE`.
        imaging: which of them are imaging.
        only: which are calibration and nothing else.
        mode: ISMRMRD's calibrationMode.
        notes: list to which what was found is appended.
    """
    if mode in ("separate", "external") or not only.any():
        return np.zeros(len(lines), dtype=bool)
    alike = only & _among(lines, imaging, _KIND) & _among(lines, imaging, _PLACE[:-2])
    shared = alike & _among(lines, imaging, _PLACE)
    moved = alike & ~shared
    if mode not in ("embedded", "interleaved"):
        inside = [_within(lines, imaging, moved, axis) for axis in ("ky", "kz")]
        if shared.any() or not (inside[0] & inside[1])[moved].all():
            return np.zeros(len(lines), dtype=bool)
    if moved.any():
        said = (
            f"header: {mode}" if mode else "the header does not say, their places and readouts do"
        )
        notes.append(
            f"{moved.sum()} calibration readouts lie between the imaging lines: part of k-space ({said})"
        )
    return moved


def _among(lines: np.ndarray, chosen: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """For each readout, whether some chosen readout has the same values in these fields."""
    rows = np.stack([lines[name] for name in names], axis=1)
    _, group = np.unique(rows, axis=0, return_inverse=True)
    return np.isin(group.reshape(-1), group.reshape(-1)[chosen])


def _within(lines: np.ndarray, imaging: np.ndarray, moved: np.ndarray, axis: str) -> np.ndarray:
    values = lines[axis][imaging]
    return np.asarray((lines[axis] >= values.min()) & (lines[axis] <= values.max()))


def numbered_as_imaging(
    calibration: np.ndarray,
    lines: np.ndarray,
    own: np.ndarray | None,
    axes: tuple[Axis, Axis],
    load: Load,
    notes: list[str],
) -> np.ndarray:
    """Calibration readouts with `ky` and `kz` renumbered about the centre of the imaging readouts.

    A separate calibration scan may be counted about another centre: the one stated for its encoding space or its
    readouts, or the middle of its lines, unless the energy contradicts it.

    Args:
        calibration: calibration readouts; where some of them are imaging readouts too, all are returned unchanged.
        lines: imaging readouts.
        own: counters (readout, 2) of k = 0 along both phase encodings as the file states them for each calibration
            readout, -1 where it does not.
        axes: both phase encodings.
        load: loads the samples of readouts.
        notes: list to which what was assumed is appended.
    """
    shared = np.isin(calibration["row"], lines["row"])
    if shared.any() or not len(calibration):
        return calibration
    calibration = calibration.copy()
    stated = np.full((len(calibration), 2), -1) if own is None else own
    places = np.stack([calibration["space"], *stated.T], axis=1)
    for place in np.unique(places, axis=0):
        group = (places == place).all(axis=1)
        chosen = calibration[group]
        first = chosen[0]
        names = ("slice", *VOLUME_COUNTERS)
        alike = np.logical_and.reduce([chosen[name] == first[name] for name in names])
        seen = look(chosen[alike], load)
        for axis, name, profile, centre in zip(
            axes, ("ky", "kz"), (seen.ky, seen.kz), place[1:].tolist(), strict=True
        ):
            imaging = axis.size // 2 - axis.offset
            if name == "kz" and axis.size == 1:
                continue
            found = _centre(np.unique(chosen[name]), centre, imaging, profile)
            if found != imaging:
                calibration[name][group] += imaging - found
                notes.append(
                    f"{group.sum()} calibration readouts are counted about a centre of their own, {name} {found} "
                    f"(imaging: {imaging}): placed by it"
                )
    return calibration


def _centre(counters: np.ndarray, own: int, imaging: int, profile: Profile) -> int:
    """The counter of k = 0 of calibration lines: `own`, `imaging`, or the middle; else the energy peak."""
    middle = (int(counters[0]) + int(counters[-1]) + 1) // 2
    stated = [centre for centre in (own, imaging) if centre >= 0]
    peak = profile.peak
    if peak is None:  # too few lines to tell: take the first centre within their range
        inside = (c for c in (*stated, middle) if counters[0] <= c <= counters[-1])
        return next(inside, imaging)
    for centre in (*stated, middle):
        if not profile.contradicts(centre):
            return centre
    return peak


def calibration_readouts(
    calibration: np.ndarray,
    lines: np.ndarray,
    imaging: Readouts,
    phase: Axis,
    partition: Axis,
    slices: np.ndarray,
    volumes: np.ndarray,
    notes: list[str],
) -> VolumeCalibration | None:
    """Calibration readouts on the imaging grid; None if k-space holds all of them in every volume, or none fits."""
    if not len(calibration):
        return None
    shared = np.isin(calibration["row"], lines["row"])
    measured = np.unique(lines[["slice", *VOLUME_COUNTERS]])
    if (
        shared.all()
        and np.isin(measured, np.unique(calibration[["slice", *VOLUME_COUNTERS]])).all()
    ):
        return None
    # A calibration scan has its own contrast: its lines are not averaged with imaging lines.
    calibration = calibration[~(shared & _among(calibration, ~shared, _PLACE))]

    point = points(calibration, phase, partition, imaging.is_3d)
    start, stop = readout_range(calibration, imaging.readout.size)
    fits = (point >= 0) & (point < phase.size * partition.size)
    fits &= (start >= 0) & (stop <= imaging.readout.size) & np.isin(calibration["slice"], slices)
    if not fits.all():
        notes.append(f"{(~fits).sum()} calibration readouts lie outside the imaging grid: ignored")
        calibration, point = calibration[fits], point[fits]
        if not len(calibration):
            return None
    index = {int(counter): i for i, counter in enumerate(slices)}
    slice_of = np.asarray([index[int(counter)] for counter in calibration["slice"]])
    width = len(VOLUME_COUNTERS)
    names = {
        tuple(row[:width]): len(volumes) - 1 - i for i, row in enumerate(volumes[::-1].tolist())
    }
    counters = zip(*(calibration[name].tolist() for name in VOLUME_COUNTERS), strict=True)
    volume_of = np.asarray([names.get(row, 0) for row in counters])
    placed = Readouts(imaging.load, imaging.coils, imaging.readout, imaging.encodes, imaging.is_3d)
    placed.place(calibration, volume_of, slice_of, point)
    return VolumeCalibration(placed, frozenset(volume_of.tolist()))


class VolumeCalibration:
    """Calibration readouts by volume; a volume without calibration takes that of the first volume that has some."""

    def __init__(self, readouts: Readouts, available: frozenset[int]) -> None:
        self.readouts, self.available = readouts, available

    def read(self, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        """Calibration k-space of one slice, zero elsewhere."""
        own = volume if volume in self.available else min(self.available)
        return self.readouts.read(own, index)
