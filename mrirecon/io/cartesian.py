"""From a list of Cartesian readouts to a `Scan`: what the MRD and twix readers have in common.

A reader describes every readout by one row of `LINE` and passes a function that loads samples. Here they become slices
and volumes that are read when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.io.grid import (
    VOLUME_COUNTERS,
    Axis,
    phase_axis,
    readout_axis,
    readout_range,
    thickness_axis,
)
from mrirecon.io.mrd_header import Encoding
from mrirecon.io.placement import slice_stack, volume_stack
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c

Load = Callable[[np.ndarray], list[np.ndarray]]  # array of LINE -> complex64 (coil, sample) of each

_LINES_AT_ONCE = 1024  # bounds what is loaded on top of the volume in a 3D transform


def cartesian_scan(
    lines: np.ndarray,
    calibration: np.ndarray,
    encoding: Encoding,
    load: Load,
    *,
    source: str,
    format: str,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
    header: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Scan:
    """Place readouts on the k-space grid and describe the result as a lazily read `Scan`.

    Args:
        lines: imaging readouts, an array of `LINE`.
        calibration: readouts for calibration; imaging ones may be among them.
        encoding: matrix, FOV and limits, as far as the file knows them.
        load: picklable function from readouts to their samples as stored.
        source: path, for messages.
        format: name of the reader.
        noise_covariance: of one imaging sample before averaging.
        header: for `Scan.header`.
        attributes: for `Scan.attributes`.
        notes: what the reader itself has to say.

    Raises:
        ValueError: if coil counts differ, readouts do not fit the grid, or a 3D acquisition has several slabs.
    """
    notes = list(notes)
    coils = _one_coil_count(lines, calibration)
    slices, slice_of = np.unique(lines["slice"], return_inverse=True)
    volumes, volume_of = _volumes(lines)
    is_3d = len(np.unique(lines["kz"])) > 1
    if is_3d and len(slices) > 1:
        raise ValueError(
            f"a 3D acquisition of {len(slices)} slabs is not supported: export each slab to its own file"
        )
    readout = readout_axis(lines, encoding, notes)
    phase = phase_axis(lines["ky"], 1, encoding, notes)
    if readout.size == phase.size == 1:
        raise ValueError("the image is 1 x 1: there is nothing to reconstruct")
    if is_3d:
        partition = phase_axis(lines["kz"], 2, encoding, notes)
        geometry = volume_stack(lines, readout, phase, partition)
        notes.append(
            "3D: inverse FFT along the readout, one whole volume in memory; slices are readout positions"
        )
    else:
        partition = thickness_axis(encoding)
        first = np.unique(slice_of, return_index=True)[1]
        order, geometry = slice_stack(lines[first], readout, phase, partition.voxel_mm)
        slices, slice_of = slices[order], np.argsort(order)[slice_of]
    if geometry.note:
        notes.append(geometry.note)

    point = _points(lines, phase, partition, is_3d)
    imaging = Readouts(load, coils, readout, (phase.size, partition.size), is_3d)
    imaging.place(lines, volume_of, slice_of, point)
    repeats = np.unique(np.stack([volume_of, slice_of, point]), axis=1, return_counts=True)[1]
    if repeats.max() > 1 and repeats.min() == repeats.max():
        notes.append(f"every line is the average of {repeats[0]} readouts")
        noise_covariance = None if noise_covariance is None else noise_covariance / repeats[0]
    elif repeats.max() > 1:
        notes.append("lines were averaged different numbers of times, each by its own count")
    missing = len(volumes) * len(slices) - len(np.unique(np.stack([volume_of, slice_of]), axis=1).T)
    if missing:
        notes.append(f"{missing} slices of some volumes have no readouts and are zero")

    axes = (phase, partition) if is_3d else (readout, phase)
    acquired = torch.zeros(axes[0].size, axes[1].size, dtype=torch.bool)
    acquired[axes[0].covered, axes[1].covered] = True
    extra = _calibration(calibration, imaging, phase, partition, slices, volumes, notes)
    return Scan(
        source=source,
        format=format,
        shape=(readout.window_size if is_3d else len(slices), coils, axes[0].size, axes[1].size),
        read=imaging.read,
        sampling=imaging.sampling,
        acquired=acquired,
        calibration=None if extra is None else extra.read,
        crop=(axes[0].window, axes[1].window),
        matrix=(axes[0].matrix, axes[1].matrix),
        volumes=len(volumes),
        volume_names=_volume_names(volumes),
        geometry=geometry,
        oversampling=1.0 if is_3d else readout.size / readout.window_size,
        is_3d=is_3d,
        noise_covariance=noise_covariance,
        header=header,
        attributes=attributes or {},
        notes=tuple(notes),
    )


def noise_covariance(
    noise: Complex[np.ndarray, "coil sample"], dwell_ratio: float = 1.0
) -> Complex[Tensor, "coil coil"]:
    """E[n n^H] of one imaging sample from a noise scan: zero mean assumed, 1 / (N - 1), as in BART's `whiten`.

    Noise variance goes with the receiver bandwidth, so it is multiplied by `dwell_ratio`, the dwell time of the noise
    scan over that of the imaging scan (Kellman and McVeigh, MRM 54:1439, 2005).

    Raises:
        ValueError: if there are fewer than two samples.
    """
    count = noise.shape[1]
    if count < 2:
        raise ValueError(f"a noise scan of {count} samples has no covariance")
    noise = noise.astype(np.complex128)
    covariance = noise @ noise.conj().T * (dwell_ratio / (count - 1))
    return torch.from_numpy(covariance.astype(np.complex64))


class Readouts:
    """Readouts sorted by volume and slice, put on the grid one slice (2D) or one volume (3D) at a time.

    It can be pickled and forked: files are opened by `load` for each call, and the volume kept of a 3D scan is left
    behind.
    """

    def __init__(
        self, load: Load, coils: int, readout: Axis, encodes: tuple[int, int], is_3d: bool
    ) -> None:
        self.load, self.coils, self.readout, self.encodes = load, coils, readout, encodes
        self.is_3d = is_3d
        self._kept: tuple[int, np.ndarray] | None = None

    def place(
        self, lines: np.ndarray, volume: np.ndarray, index: np.ndarray, point: np.ndarray
    ) -> None:
        """Say to which volume, slice and phase-encoding point each readout belongs."""
        start, stop = readout_range(lines, self.readout.size)
        order = np.lexsort((lines["row"], index, volume))
        self._group = np.stack([volume, index], axis=1)[order]
        self._lines, self._point = lines[order], point[order]
        self._start, self._stop = start[order], stop[order]

    def read(self, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        """K-space of one slice; readouts of one line are averaged, what was not sampled is zero."""
        if not self.is_3d:
            return torch.from_numpy(self._assemble(self._select(volume, index)))
        if self._kept is None or self._kept[0] != volume:
            self._kept = None  # frees one volume before the next is built
            self._kept = volume, self._assemble(self._select(volume, 0))
        plane = np.ascontiguousarray(self._kept[1][:, index])
        return torch.from_numpy(plane.reshape(self.coils, *self.encodes))

    def sampling(self, volume: int, index: int) -> Bool[Tensor, "readout phase"]:
        """Which points of one slice have a sample."""
        chosen = self._select(volume, 0 if self.is_3d else index)
        if self.is_3d:
            mask = np.zeros(self.encodes, dtype=bool)
            mask.reshape(-1)[self._point[chosen]] = True
            return torch.from_numpy(mask)
        mask = np.zeros((self.readout.size, self.encodes[0]), dtype=bool)
        for i in range(chosen.start, chosen.stop):
            mask[self._start[i] : self._stop[i], self._point[i]] = True
        return torch.from_numpy(mask)

    def _select(self, volume: int, index: int) -> slice:
        inside = np.flatnonzero((self._group == (volume, index)).all(axis=1))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)

    def _assemble(self, chosen: slice) -> np.ndarray:
        """Average of the chosen readouts on the grid, (coil, readout, point); of 3D the readout is an image axis."""
        points = self.encodes[0] * (self.encodes[1] if self.is_3d else 1)
        length = self.readout.window_size if self.is_3d else self.readout.size
        grid = np.zeros((self.coils, length, points), dtype=np.complex64)
        count = np.bincount(self._point[chosen], minlength=points)
        for start in range(chosen.start, chosen.stop, _LINES_AT_ONCE):
            block = slice(start, min(start + _LINES_AT_ONCE, chosen.stop))
            samples = self._load(block)
            if self.is_3d:
                image = ifft2c(torch.from_numpy(samples), dim=(-1,))
                samples = image[..., self.readout.window].numpy()
            if count.max() == 1:
                grid[..., self._point[block]] = np.moveaxis(samples, 0, -1)
                continue
            order = np.argsort(self._point[block], kind="stable")
            unique, first = np.unique(self._point[block][order], return_index=True)
            grid[..., unique] += np.moveaxis(np.add.reduceat(samples[order], first), 0, -1)
        if count.max() > 1:
            grid /= np.maximum(count, 1).astype(np.float32)
        return grid

    def _load(self, block: slice) -> np.ndarray:
        """Readouts in forward order, zero-filled to the readout axis, (line, coil, readout)."""
        lines = self._lines[block]
        out = np.zeros((len(lines), self.coils, self.readout.size), dtype=np.complex64)
        ranges = zip(self._start[block], self._stop[block], strict=True)
        for row, line, samples, (start, stop) in zip(
            out, lines, self.load(lines), ranges, strict=True
        ):
            kept = samples[:, line["discard_pre"] : line["samples"] - line["discard_post"]]
            row[:, start:stop] = kept[:, ::-1] if line["reverse"] else kept
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


def _one_coil_count(lines: np.ndarray, calibration: np.ndarray) -> int:
    counts = np.unique(np.concatenate([lines["coils"], calibration["coils"]]))
    if len(counts) > 1 or counts[0] < 1:
        listed = " and ".join(str(count) for count in counts)
        raise ValueError(f"readouts have {listed} coils: a file must hold one number of coils")
    return int(counts[0])


def _volumes(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counters (volume, 4) of each volume in lexical order, and the volume of each line."""
    counters = np.stack([lines[name] for name in VOLUME_COUNTERS], axis=1)
    volumes, volume_of = np.unique(counters, axis=0, return_inverse=True)
    return volumes, volume_of.reshape(-1)


def _volume_names(volumes: np.ndarray) -> tuple[str, ...]:
    """The counters that vary, such as "contrast 1 repetition 0"; of a single volume nothing."""
    varying = [i for i in range(volumes.shape[1]) if len(np.unique(volumes[:, i])) > 1]
    if not varying:
        return ()
    return tuple(" ".join(f"{VOLUME_COUNTERS[i]} {row[i]}" for i in varying) for row in volumes)


def _points(lines: np.ndarray, phase: Axis, partition: Axis, is_3d: bool) -> np.ndarray:
    """Index of each readout into the flattened phase-encoding plane; negative or too large means outside."""
    ky = lines["ky"] + phase.offset
    if not is_3d:
        return ky
    kz = lines["kz"] + partition.offset
    inside = (ky >= 0) & (ky < phase.size) & (kz >= 0) & (kz < partition.size)
    return np.where(inside, ky * partition.size + kz, -1)


def _calibration(
    lines: np.ndarray,
    imaging: Readouts,
    phase: Axis,
    partition: Axis,
    slices: np.ndarray,
    volumes: np.ndarray,
    notes: list[str],
) -> _Calibration | None:
    """Calibration readouts on the imaging grid, or None if there are none on it."""
    if not len(lines):
        return None
    point = _points(lines, phase, partition, imaging.is_3d)
    start, stop = readout_range(lines, imaging.readout.size)
    points = phase.size * partition.size
    fits = (point >= 0) & (point < points) & np.isin(lines["slice"], slices)
    fits &= (start >= 0) & (stop <= imaging.readout.size)
    if not fits.all():
        notes.append(f"{(~fits).sum()} calibration readouts lie outside the imaging grid: ignored")
        lines, point = lines[fits], point[fits]
        if not len(lines):
            return None
    index = {int(counter): i for i, counter in enumerate(slices)}
    slice_of = np.asarray([index[int(counter)] for counter in lines["slice"]])
    names = {tuple(row): i for i, row in enumerate(volumes.tolist())}
    counters = zip(*(lines[name].tolist() for name in VOLUME_COUNTERS), strict=True)
    volume_of = np.asarray([names.get(row, 0) for row in counters])
    placed = Readouts(imaging.load, imaging.coils, imaging.readout, imaging.encodes, imaging.is_3d)
    placed.place(lines, volume_of, slice_of, point)
    return _Calibration(placed, frozenset(volume_of.tolist()))


class _Calibration:
    """Calibration by volume; a volume without its own is calibrated by the first that has one."""

    def __init__(self, readouts: Readouts, available: frozenset[int]) -> None:
        self.readouts, self.available = readouts, available

    def read(self, volume: int, index: int) -> Complex[Tensor, "coil readout phase"]:
        own = volume if volume in self.available else min(self.available)
        return self.readouts.read(own, index)
