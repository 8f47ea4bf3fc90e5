"""Which sample and which line is the centre of k-space, k = 0.

It is given by `center_sample` and `encodingLimits.center`, unless these were never set or the energy of k-space is
clearly elsewhere. Then the centre is the position nearest to the largest energy that a protocol can have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mrirecon.io.energy import Look, Profile
from mrirecon.io.mrd_header import Encoding, Limit


def centered(lines: np.ndarray, encoding: Encoding, seen: Look) -> tuple[np.ndarray, list[str]]:
    """Readouts whose `center` is the index of k = 0 among the samples not discarded, in forward order; and notes.

    Args:
        lines: imaging readouts (`LINE`) of the file.
        encoding: header.
        seen: `energy.look` at the middle slice.

    Raises:
        ValueError: if all samples of a readout are discarded, or `center_sample` lies outside of it.
    """
    notes = []
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[0]
    kept = kept_samples(lines)
    size = max(header or 0, int(kept.max()))
    # An echo that really begins at its centre is half a readout at most.
    unset = (lines["center"] == 0) & (kept > size // 2 + 1)
    if unset.any():
        notes.append("center_sample is 0 for full readouts: their middle sample is taken")
    center = np.where(unset, kept // 2, lines["center"] - lines["discard_pre"])
    outside = (center < 0) | (center >= kept)
    if outside.any():
        worst = lines[outside.argmax()]
        raise ValueError(
            f"readout {worst['row']} has center_sample {worst['center']}, outside its "
            f"{worst['samples']} samples: repair the acquisition headers"
        )
    center = np.where(lines["reverse"] & ~unset, _mirrored(kept, center, lines["reverse"]), center)
    center = _echo(lines, kept, center, header, seen, notes)
    beside = center.copy()
    for full in (np.maximum(kept, header or 0), _full(kept, header)):
        center = _one_off(center, full, lambda c: np.maximum(2 * c, 2 * (kept - c) - 1))
    if (center != beside).any():
        notes.append(
            "center_sample is one beside the middle of full readouts: their middle is taken"
        )
    lines = lines.copy()
    lines["center"] = center
    return lines, notes


def kept_samples(lines: np.ndarray) -> np.ndarray:
    """The number of samples of each readout that are not discarded.

    Raises:
        ValueError: if a readout has none.
    """
    kept = lines["samples"] - lines["discard_pre"] - lines["discard_post"]
    if kept.min() < 1:
        worst = lines[kept.argmin()]
        raise ValueError(
            f"readout {worst['row']} has {worst['samples']} samples, of which {worst['discard_pre']} + "
            f"{worst['discard_post']} are to be discarded: repair the acquisition headers"
        )
    return np.asarray(kept)


def line_center(
    name: str,
    counters: np.ndarray,
    size: int,
    limit: Limit | None,
    profile: Profile | None,
    notes: list[str],
) -> tuple[int, bool]:
    """The counter of k = 0 along a phase-encoding axis, and whether the header's limits agree with it.

    Args:
        name: name of the axis, for notes.
        counters: measured lines, ascending.
        size: the header's matrix along the axis.
        limit: the header's encoding limits, None where it has none.
        profile: energy along the axis, None if not known.
        notes: list to which what was assumed is appended.

    Raises:
        ValueError: if the energy peaks at the first or last line, so that counters are not in the order of k-space.
    """
    first, last = int(counters[0]), int(counters[-1])
    gap = int(np.diff(counters, prepend=first - 1).max())

    def needs(center: np.ndarray) -> np.ndarray:
        return np.maximum(2 * (center - first), 2 * (last - center) + 1)

    stated = None if limit is None else limit.center
    never_set = stated == 0 and last - first > size // 2  # partial Fourier is half at most
    if stated is not None and not never_set:
        moved = _one_off(np.asarray([stated]), np.asarray([size]), needs)
        center, grows = int(moved[0]), bool(needs(moved)[0] > size)
        if profile is None or not profile.contradicts(center, grows):
            if center != stated:
                notes.append(
                    f"{name} has centre {stated}, one beside the middle: taken as {center}"
                )
            return center, True

    peak = None if profile is None else profile.peak
    planned = [] if limit is None else _places(limit.minimum, limit.maximum, size)
    center = size // 2 if last < size else (first + last + 1) // 2
    if profile is not None and peak is not None:
        if profile.at_edge and len(counters) > 2:
            raise ValueError(
                f"the energy of k-space is at line {peak} of {first} to {last} along {name}: the lines are "
                "not counted in the order of k-space: set their counters, in the sequence or when converting"
            )
        # The last line of an undersampled grid need not be a measured one.
        places = [
            place for more in range(min(gap, 8)) for place in _places(first, last + more, size)
        ]
        near = _nearest(planned + places, profile)
        is_full = size - gap < last - first + 1 <= size  # then the echo may be off the centre
        if near is not None:
            center = near
        elif not is_full:
            center = peak
        elif stated is not None and not never_set:
            return stated, True
    if stated is None:
        notes.append(f"{name} has no limits: its centre is taken as {center}")
    elif never_set:
        notes.append(f"{name} has centre 0 but {last - first + 1} lines: centre taken as {center}")
    else:
        notes.append(
            f"{name} has centre {stated} in the header, but the energy is at {center}: the data win"
        )
    return center, center in planned


def _mirrored(kept: np.ndarray, center: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """The centre of reversed readouts in forward order; `center_sample` counts samples as they are stored.

    That is N - 1 - center. Siemens files mirror about N // 2 instead, which gives one more; this is taken where only it
    agrees with the centre of the forward readouts.
    """
    exact = kept - 1 - center
    echoes = set(zip(kept[~reverse].tolist(), center[~reverse].tolist(), strict=True))
    pairs = zip(kept.tolist(), exact.tolist(), strict=True)
    about_middle = [(n, c) not in echoes and (n, c + 1) in echoes for n, c in pairs]
    return exact + np.asarray(about_middle, dtype=int)


def _echo(
    lines: np.ndarray,
    kept: np.ndarray,
    center: np.ndarray,
    header: int | None,
    seen: Look,
    notes: list[str],
) -> np.ndarray:
    """Centres of partial echoes, moved where the energy contradicts them to a position that a protocol can have."""
    strongest = int(np.flatnonzero(lines["row"] == seen.strongest["row"])[0])
    count, stated = int(kept[strongest]), int(center[strongest])
    size = int(_full(kept, header)[strongest])
    if count == size or seen.sample.at_edge or not seen.sample.contradicts(stated):
        return center
    places = [place for place in _places(0, count - 1, size) if 0 <= place < count]
    near = _nearest(places, seen.sample)
    found = seen.sample.peak if near is None else near
    if found is None:
        return center
    notes.append(
        f"center_sample is {stated} of {count} samples, their energy is at {found}: the data win"
    )
    is_same = (center == stated) | (lines["center"] == seen.strongest["center"])
    return np.where((kept == count) & is_same, found, center)


def _full(kept: np.ndarray, header: int | None) -> np.ndarray:
    """Samples of a full readout: the header's matrix, or a multiple of it where that excludes the oversampling."""
    return kept if header is None else -(-kept // header) * header


def _places(first: int, last: int, size: int) -> list[int]:
    """Possible positions of k = 0 for lines `first` to `last` of a grid of `size`.

    These are the middle of the lines, and the grid's centre if counters are grid indices, or if the lines are the first
    or the last ones of the grid.
    """
    if last - first >= size:  # the matrix is of another protocol
        return [(first + last + 1) // 2]
    return [(first + last + 1) // 2, size // 2, first + size // 2, last + 1 - size + size // 2]


def _nearest(places: list[int], profile: Profile) -> int | None:
    """The position nearest to the peak of the energy, or None if all are far from it."""
    peak = profile.peak
    if peak is None:
        return None
    place = min(places, key=lambda place: abs(place - peak))
    return place if abs(place - peak) <= profile.tolerance else None


def _one_off(
    center: np.ndarray, size: np.ndarray, needs: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Centres moved by one where this avoids a larger grid: not every file counts the middle as N // 2."""
    grows = needs(center) > size
    for moved in (center + 1, center - 1):
        center = np.where(grows & (needs(moved) <= size), moved, center)
    return center
