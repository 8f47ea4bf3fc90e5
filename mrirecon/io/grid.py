"""Where Cartesian readouts lie on the k-space grid, and which image window the grid's inverse FFT is cropped to.

The header of an MRD file describes the protocol, the acquisitions say what was measured, and the two disagree often
enough (zero filling, oversampling removed in one of them, limits never set, a matrix left from another protocol) that
every choice is made here, once: lines go by `encodingLimits.center`, samples by `center_sample`, unless the energy of
k-space is clearly elsewhere, and where the header's matrix is too small data win.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mrirecon.io.energy import Look, Profile
from mrirecon.io.mrd_header import Encoding, Limit

VOLUME_COUNTERS = ("contrast", "phase", "repetition", "set")
DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")

# One readout: `row` is its place in the file, `space` its encoding space, counters are the file's own, positions and
# directions are LPS, in mm. `occurrence` numbers readouts of equal counters.
LINE = np.dtype(
    [("row", "i8"), ("samples", "i4"), ("center", "i4"), ("discard_pre", "i4")]
    + [("discard_post", "i4"), ("reverse", "?"), ("coils", "i4"), ("dwell_us", "f8")]
    + [("space", "i4"), ("occurrence", "i4")]
    + [(name, "i4") for name in ("ky", "kz", "slice", "average", "segment", *VOLUME_COUNTERS)]
    + [(name, "f8", (3,)) for name in ("position", *DIRECTIONS)]
)


@dataclass(frozen=True)
class Axis:
    """One encoded axis.

    Attributes:
        size: k-space points; the centre is point size // 2.
        offset: counter + offset = k-space point (0 for the readout).
        covered: the points that the protocol acquires.
        window: pixels inside the reconstruction FOV.
        matrix: output pixels over that window.
        voxel_mm: size of an output pixel.
    """

    size: int
    offset: int
    covered: slice
    window: slice
    matrix: int
    voxel_mm: float | None

    @property
    def window_size(self) -> int:
        """Pixels of the image window."""
        return int(self.window.stop - self.window.start)


def centered(
    lines: np.ndarray, encoding: Encoding, seen: Look | None = None
) -> tuple[np.ndarray, list[str]]:
    """Readouts whose `center` is the kept sample of k = 0 once in forward order, and notes on what was assumed.

    Raises:
        ValueError: if a readout has no samples left or `center_sample` is not one of them.
    """
    notes = []
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[0]
    kept = _kept(lines)
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
    if seen is not None and seen.strongest["row"] in lines["row"]:
        center = _echo(lines, kept, center, header, seen, notes)
    limit = np.maximum(header or kept, kept)
    center, moved = _one_off(center, limit, lambda c: np.maximum(2 * c, 2 * (kept - c) - 1))
    if moved:
        notes.append(
            "center_sample is one beside the middle of full readouts: their middle is taken"
        )
    lines = lines.copy()
    lines["center"] = center
    return lines, notes


def _kept(lines: np.ndarray) -> np.ndarray:
    kept = lines["samples"] - lines["discard_pre"] - lines["discard_post"]
    if kept.min() < 1:
        worst = lines[kept.argmin()]
        raise ValueError(
            f"readout {worst['row']} has {worst['samples']} samples, of which {worst['discard_pre']} + "
            f"{worst['discard_post']} are to be discarded: repair the acquisition headers"
        )
    return np.asarray(kept)


def _mirrored(kept: np.ndarray, center: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """The centre counted from the other end: `center_sample` counts samples as they are stored.

    Siemens files mirror it about N // 2 instead, one more. That is taken where it puts the echo on the forward ones.
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
    """Centres of partial echoes, moved where the energy is elsewhere, at a place that a protocol can give them."""
    strongest = int(np.flatnonzero(lines["row"] == seen.strongest["row"])[0])
    count, stated = int(kept[strongest]), int(center[strongest])
    if header is None or count >= header or not seen.sample.contradicts(stated):
        return center
    places = [place for place in _places(0, count - 1, header) if 0 <= place < count]
    found = _nearest(places, seen.sample)
    if found is None or found == stated:
        return center
    notes.append(
        f"center_sample is {stated} of {count} samples, their energy is at {found}: the data win"
    )
    return np.where((kept == count) & (center == stated), found, center)


def readout_axis(
    lines: np.ndarray, encoding: Encoding, lines_excess: float, alternates: bool, notes: list[str]
) -> Axis:
    """The readout axis that holds the header's matrix and every sample of `centered` readouts.

    Where samples exceed the header's matrix, it may describe the grid after removal of oversampling: then they do so by
    a whole factor beyond the factor `lines_excess` of the phase-encoding lines. If these exceed it by as much, the
    header is of another protocol: its FOV stands.

    Raises:
        ValueError: if readouts that alternate without a flag exceed it by another factor: sampled on gradient ramps.
    """
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[0]
    kept, center = _kept(lines), lines["center"]
    needed = int(np.maximum(2 * center, 2 * (kept - center) - 1).max())
    size, fov_scale = max(header or needed, needed), 1.0
    if header is not None and needed > header:
        note = f"readout matrix is {header} in the header, the samples need {needed}: the data win"
        factor = needed / header / lines_excess
        is_whole = abs(factor - round(factor)) < 1e-6
        if factor > 1.05 and alternates and not is_whole:
            raise ValueError(
                f"EPI with {needed} samples for a readout matrix of {header}: sampled on the ramps of a gradient that "
                "the file does not describe; regrid it before"
            )
        if factor > 1 and is_whole:
            fov_scale = factor
            note += f", with {factor:.0f} times the header's encoded FOV"
        notes.append(note)
    start = size // 2 - center
    covered = slice(int(start.min()), int((start + kept).max()))
    return _axis(0, encoding, size, 0, covered, notes, fov_scale)


def readout_range(lines: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last point of each of `centered` readouts on a readout axis of `size` points."""
    start = size // 2 - lines["center"]
    return start, start + _kept(lines)


def phase_axis(
    counters: np.ndarray, step: int, encoding: Encoding, profile: Profile | None, notes: list[str]
) -> Axis:
    """The axis of kspace_encoding_step_1 or _2 that holds the header's matrix and every line.

    Raises:
        ValueError: if lines lie so far outside that header or counters must be wrong, or are no places in k-space.
    """
    name = f"kspace_encoding_step_{step}"
    first, last = int(counters.min()), int(counters.max())
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[step]
    size = header or last + 1
    limit = encoding.limits.get(name)
    center, trusted = _line_center(name, first, last, size, limit, profile, notes)

    def needs(center: np.ndarray) -> np.ndarray:
        return np.maximum(2 * (center - first), 2 * (last - center) + 1)

    fits = np.asarray([max(size, last - first + 1)])
    moved = _one_off(np.asarray([center]), fits, needs)[0]
    center, needed = int(moved[0]), int(needs(moved)[0])
    if needed > size:
        disagreement = (
            f"the matrix along {name} is {size}, but lines {first} to {last} with centre {center} "
            f"need {needed}"
        )
        if needed > max(2 * size, 4 * len(np.unique(counters))):
            raise ValueError(f"{disagreement}: repair the header's matrix or limits")
        if header is not None:
            notes.append(f"{disagreement}: the data win")
        size = needed
    if trusted and limit is not None and limit.minimum <= center <= limit.maximum:
        first, last = min(first, limit.minimum), max(last, limit.maximum)
    offset = size // 2 - center
    covered = slice(max(first + offset, 0), min(last + offset + 1, size))
    return _axis(step, encoding, size, offset, covered, notes)


def _line_center(
    name: str,
    first: int,
    last: int,
    size: int,
    limit: Limit | None,
    profile: Profile | None,
    notes: list[str],
) -> tuple[int, bool]:
    """The counter of k = 0 and whether the header's limits are to be trusted."""
    stated = None if limit is None else limit.center
    planned = [] if limit is None else _places(limit.minimum, limit.maximum, size)
    never_set = stated == 0 and last - first > size // 2  # partial Fourier is half at most
    if stated is not None and not never_set and not (profile and profile.contradicts(stated)):
        return stated, True
    if profile is not None and profile.peak is not None:
        if profile.at_edge and len(np.unique(profile.counters)) > 2:
            raise ValueError(
                f"the energy of k-space is at line {profile.peak} of {first} to {last} along {name}: the "
                "lines are not counted in the order of k-space: set their counters, in the sequence or when converting"
            )
        center = _nearest(_places(first, last, size) + planned, profile)
        if center is None:
            if last - first + 1 != size:
                center = profile.peak
            elif stated is not None and not never_set:
                return stated, True  # a full set of lines, whose echo is off its centre
            else:
                center = first + size // 2
    else:
        center = size // 2 if last < size else (first + last + 1) // 2
    if stated is None:
        notes.append(f"{name} has no limits: its centre is taken as {center}")
    elif never_set:
        notes.append(f"{name} has centre 0 but {last - first + 1} lines: centre taken as {center}")
    else:
        notes.append(
            f"{name} has centre {stated} in the header, but the energy is at {center}: the data win"
        )
    return center, center in planned


def _places(first: int, last: int, size: int) -> list[int]:
    """Where k = 0 of `first` to `last` can be: their middle, or if they begin, are counted on, or end a full grid."""
    return [(first + last + 1) // 2, size // 2, first + size // 2, last + 1 - size + size // 2]


def _nearest(places: list[int], profile: Profile) -> int | None:
    """The place nearest to the largest energy, or None if all are far from it."""
    peak = profile.peak
    if peak is None:
        return None
    place = min(places, key=lambda place: abs(place - peak))
    return place if abs(place - peak) <= profile.tolerance else None


def _one_off(
    center: np.ndarray, size: np.ndarray, needs: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, bool]:
    """Centres that make the grid grow, moved by one where it then need not: not all count the middle as N // 2."""
    grows = needs(center) > size
    for moved in (center + 1, center - 1):
        center = np.where(grows & (needs(moved) <= size), moved, center)
    return center, bool((grows & (needs(center) <= size)).any())


def thickness_axis(encoding: Encoding) -> Axis:
    """The slice axis of a 2D acquisition: one point, whose `voxel_mm` is the slice thickness."""
    voxel = None
    if encoding.recon_fov_mm is not None and encoding.recon_matrix is not None:
        voxel = encoding.recon_fov_mm[2] / encoding.recon_matrix[2]
    return Axis(1, 0, slice(0, 1), slice(0, 1), 1, voxel)


def _axis(
    axis: int,
    encoding: Encoding,
    size: int,
    offset: int,
    covered: slice,
    notes: list[str],
    fov_scale: float = 1.0,
) -> Axis:
    """Add image window, output pixels and voxel size to a k-space axis; `axis` is 0, 1, 2 for x, y, z."""
    name = "xyz"[axis]
    encoded = None if encoding.encoded_fov_mm is None else encoding.encoded_fov_mm[axis] * fov_scale
    recon = None if encoding.recon_fov_mm is None else encoding.recon_fov_mm[axis]
    pixels = None if encoding.recon_matrix is None else encoding.recon_matrix[axis]
    if encoded is None or recon is None:
        count = min(size, pixels or size)
        if count != size:
            notes.append(f"no FOV along {name}: the image is cropped to the recon matrix, {count}")
        known = encoded if encoded is not None else None if recon is None else recon * size / count
    else:
        known, count = encoded, max(1, round(size * recon / encoded))
        if count > size:
            notes.append(f"recon FOV along {name} is {recon:g} mm, k-space covers {encoded:g} mm")
            pixels = None if pixels is None else round(pixels * encoded / recon)
            count = size
    matrix = pixels or count
    if matrix < count:
        notes.append(f"recon matrix along {name} is {matrix}: the image keeps its {count} pixels")
        matrix = count
    start = size // 2 - count // 2
    voxel = None if known is None else known * count / size / matrix
    return Axis(size, offset, covered, slice(start, start + count), matrix, voxel)
