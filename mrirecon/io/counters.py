"""Volumes and phase-encoding points from the counters of readouts, and readouts with equal counters."""

from __future__ import annotations

import numpy as np

from mrirecon.io.grid import VOLUME_COUNTERS, Axis
from mrirecon.io.mrd_header import Encoding

_VOLUMES = (*VOLUME_COUNTERS, "occurrence")


def numbered(lines: np.ndarray, encoding: Encoding, notes: list[str]) -> np.ndarray:
    """Readouts with `occurrence` set: a running number among readouts whose counters are all equal.

    Repeated lines have different `average` counters. Readouts with equal counters may be echoes or repetitions that
    were not counted; they must not be averaged, and become volumes.

    Raises:
        ValueError: if they cannot be volumes, because their number differs from line to line, or because all readouts
            have the same line.
    """
    names = ("average", "ky", "kz", "slice", *VOLUME_COUNTERS)
    order = np.lexsort((lines["row"], lines["segment"], *(lines[name] for name in names)))
    keys = np.stack([lines[name] for name in names])[:, order]
    new = np.diff(keys, axis=1, prepend=keys[:, :1] - 1).any(axis=0)
    start = np.flatnonzero(new)
    counts = np.diff(start, append=len(lines))
    most, fewest = int(counts.max()), int(counts.min())
    lines = lines.copy()
    if most == 1:
        return lines
    partitions = 1 if encoding.encoded_matrix is None else encoding.encoded_matrix[2]
    same = "the same counters (average too)"
    if len(np.unique(lines["ky"])) == 1 or (partitions > 1 and len(np.unique(lines["kz"])) == 1):
        counter = (
            "kspace_encode_step_1" if len(np.unique(lines["ky"])) == 1 else "kspace_encode_step_2"
        )
        raise ValueError(
            f"{most} readouts of a line have {same} and nothing tells them apart: set {counter} when converting"
        )
    if (counts != most).any():
        many, few = (
            lines[order[start[place]]]["ky"] for place in (counts.argmax(), counts.argmin())
        )
        raise ValueError(
            f"{most} readouts of line {many} have {same}, but {fewest} of line {few}: "
            "number repeats by the average counter, echoes by contrast, or remove them"
        )
    lines["occurrence"][order] = np.arange(len(lines)) - np.repeat(start, counts)
    notes.append(
        f"{most} readouts of each line have {same}: taken as {most} volumes in the order of acquisition, "
        "not averaged"
    )
    return lines


def volumes_of(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counters (volume, 5) of each volume in lexicographic order, and the volume index of each readout."""
    counters = np.stack([lines[name] for name in _VOLUMES], axis=1)
    volumes, volume_of = np.unique(counters, axis=0, return_inverse=True)
    return volumes, volume_of.reshape(-1)


def volume_names(volumes: np.ndarray) -> tuple[str, ...]:
    """A name for each volume from the counters that vary, such as "contrast 1 repetition 0"; empty for one volume."""
    varying = [i for i in range(volumes.shape[1]) if len(np.unique(volumes[:, i])) > 1]
    if not varying:
        return ()
    return tuple(" ".join(f"{_VOLUMES[i]} {row[i]}" for i in varying) for row in volumes)


def said_of_volumes(
    volumes: np.ndarray, volume: np.ndarray, index: np.ndarray, point: np.ndarray
) -> list[str]:
    """Notes on slices that are missing in some volumes, and on volumes with too few lines, perhaps not finished."""
    places = np.unique(np.stack([volume, index, point]), axis=1)
    slices, counts = np.unique(places[:2], axis=1, return_counts=True)
    notes = []
    missing = len(volumes) * len(np.unique(index)) - slices.shape[1]
    if missing:
        notes.append(f"{missing} slices of some volumes have no readouts and are zero")
    short = np.unique(slices[0][counts < 0.75 * counts.max()])
    if len(short):
        last = short[-1]
        name = f"volume {volume_names(volumes)[last]}" if len(volumes) > 1 else "a slice"
        more = f" ({len(short)} volumes are short)" if len(short) > 1 else ""
        fewest = counts[slices[0] == last].min()
        notes.append(f"{name} has only {fewest} of {counts.max()} lines: not finished?{more}")
    return notes


def points(lines: np.ndarray, phase: Axis, partition: Axis, is_3d: bool) -> np.ndarray:
    """Index of each readout into the flattened phase-encoding plane; negative or too large means outside."""
    ky = lines["ky"] + phase.offset
    if not is_3d:
        return np.asarray(ky)
    kz = lines["kz"] + partition.offset
    inside = (ky >= 0) & (ky < phase.size) & (kz >= 0) & (kz < partition.size)
    return np.where(inside, ky * partition.size + kz, -1)
