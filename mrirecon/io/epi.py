"""Readouts that run backwards: finds those without a flag, and where reversed readouts store k = 0."""

from __future__ import annotations

import numpy as np

from mrirecon.io.directions import is_mirrored, middle_is_stored, odd_readouts
from mrirecon.io.energy import Load, Look, Reader
from mrirecon.io.mrd_header import Encoding

ECHOES = 8  # number of echoes that are compared with the first
REMEDY = "if the image is mirrored along the readout, set ACQ_IS_REVERSE of those that run backwards when converting"


def turned(
    lines: np.ndarray,
    encoding: Encoding,
    seen: Look,
    load: Load,
    volume: np.ndarray,
    index: np.ndarray,
    notes: list[str],
) -> np.ndarray:
    """The readouts with `reverse` and `roll` set by what their samples show.

    Args:
        lines: imaging readouts (`LINE`).
        encoding: header; its trajectory may be EPI.
        seen: `look` at the middle slice.
        load: loads the samples of readouts.
        volume: volume of each readout.
        index: slice of each readout.
        notes: list to which what was found is appended.
    """
    lines, flagged = lines.copy(), bool(lines["reverse"].any())
    ky = int(seen.strongest["ky"])
    in_slice = (index == index[lines["row"] == seen.strongest["row"]][0]) & (
        lines["kz"] == seen.strongest["kz"]
    )
    in_volume = volume == volume[lines["row"] == seen.strongest["row"]][0]
    if seen.alternates:
        lines["reverse"] = odd_readouts(lines, volume, index, seen.alternates == "shot")
        shots = " of each shot" if seen.alternates == "shot" else ""
        notes.append(
            f"EPI without its flags: every second readout{shots} runs backwards and is put in forward order; "
            f"no ghost correction, no ramp-sampling correction; the first{shots} is taken to run forwards: {REMEDY}"
        )
    elif not flagged and encoding.trajectory == "epi" and not seen.is_sorted:
        notes.append(
            "EPI without its flags, and its samples do not tell which way every second readout runs: if the image has "
            "a ghost, mirrored and half a field of view off, set ACQ_IS_REVERSE when converting"
        )
    if not flagged and not seen.alternates:
        _turn_echoes(lines, volume, in_slice, in_volume, ky, load, notes)
    _roll(lines, in_slice & in_volume, ky, load, notes)
    return lines


def _turn_echoes(
    lines: np.ndarray,
    volume: np.ndarray,
    in_slice: np.ndarray,
    in_volume: np.ndarray,
    ky: int,
    load: Load,
    notes: list[str],
) -> None:
    """Set `reverse` for whole echoes whose readouts are mirrored relative to the first echo (bipolar gradients)."""
    names = ["contrast", "occurrence"]
    echoes = np.unique(lines[names])
    if len(echoes) == 1:
        return
    read, first, found = Reader(load), lines[in_slice & in_volume], list[str]()
    for echo in echoes[: ECHOES + 1]:
        same = lines[names] == echo
        if not len(first) or first[names][0] == echo or not (same & in_slice).any():
            continue
        other = same & in_slice & (volume == volume[same & in_slice].min())
        if is_mirrored(first, lines[other], ky, read):
            lines["reverse"] |= same
            name = names[0] if echo["contrast"] != first["contrast"][0] else names[1]
            found.append(f"{name} {echo[name]}")
    if found:
        notes.append(
            f"{', '.join(found)} without its flags: its readouts run backwards, compared with the first, and are put "
            f"in forward order; the first is taken to run forwards: {REMEDY}"
        )


def _roll(lines: np.ndarray, chosen: np.ndarray, ky: int, load: Load, notes: list[str]) -> None:
    """Set `roll` for reversed readouts whose k = 0 is stored at N // 2, as in the forward ones.

    In forward order that sample is at N // 2 - 1, one too early. Most files (Siemens) that state N // 2 for both
    directions mean N // 2 in forward order; that is assumed unless the samples show otherwise.
    """
    kept = lines["samples"] - lines["discard_pre"] - lines["discard_post"]
    center = lines["center"] - lines["discard_pre"]
    doubtful = lines["reverse"] & (kept % 2 == 0) & ((center == kept // 2) | (lines["center"] == 0))
    if (doubtful & chosen).any() and middle_is_stored(lines[chosen], ky, Reader(load)):
        lines["roll"][doubtful] = 1
        notes.append(
            "reversed readouts fit the forward ones one sample further on (k = 0 at their middle sample as stored, or "
            "delayed): moved there"
        )
