"""Where Cartesian readouts lie on the k-space grid, and which image window the grid's inverse FFT is cropped to.

The header of an MRD file describes the protocol, the acquisitions describe what was measured, and the two often
disagree (zero filling, oversampling removed in one of them, limits never set, the matrix of another protocol). All such
conflicts are resolved here: lines are placed by `encodingLimits.center` and samples by `center_sample`, unless
the energy of k-space is clearly elsewhere, and a header matrix that is too small for the data is enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrirecon.io.centre import kept_samples, line_center
from mrirecon.io.energy import Profile
from mrirecon.io.mrd_header import Encoding

LARGEST_ZOOM = 16  # factor by which an image may be interpolated beyond the k-space matrix
# A matrix may be this many times what the readouts need; matrices of up to ALWAYS points are never too large.
LARGEST_EXCESS, ALWAYS = 16, 1024

VOLUME_COUNTERS = ("contrast", "phase", "repetition", "set")
DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")

# One readout: `row` is its index or offset in the file, `space` its encoding space, counters are those of the file,
# positions (mm) and directions are LPS. Samples in forward order are then rolled by `roll`. `occurrence` numbers
# readouts with equal counters.
LINE = np.dtype(
    [("row", "i8"), ("samples", "i4"), ("center", "i4"), ("discard_pre", "i4")]
    + [
        ("discard_post", "i4"),
        ("reverse", "?"),
        ("roll", "i4"),
        ("coils", "i4"),
        ("dwell_us", "f8"),
    ]
    + [("space", "i4"), ("occurrence", "i4")]
    + [(name, "i4") for name in ("ky", "kz", "slice", "average", "segment", *VOLUME_COUNTERS)]
    + [(name, "f8", (3,)) for name in ("position", *DIRECTIONS)]
)


@dataclass(frozen=True)
class Axis:
    """One encoded axis.

    Attributes:
        size: number of k-space points; the centre is point size // 2.
        offset: counter + offset is the index of the k-space point (0 for the readout).
        covered: points that the protocol acquires.
        window: pixels inside the reconstruction FOV.
        matrix: number of output pixels across that window.
        voxel_mm: size of an output pixel in mm, None if unknown.
    """

    size: int
    offset: int
    covered: slice
    window: slice
    matrix: int
    voxel_mm: float | None

    @property
    def window_size(self) -> int:
        """Number of pixels in the image window."""
        return int(self.window.stop - self.window.start)


def readout_axis(
    lines: np.ndarray, encoding: Encoding, lines_excess: float, alternates: bool, notes: list[str]
) -> Axis:
    """The readout axis, large enough for the header's matrix and for every sample of the readouts.

    A header whose matrix is too small may describe the grid after oversampling was removed. The samples then exceed it
    by a whole factor beyond `lines_excess`, and the encoded FOV grows with them. Where the phase-encoding lines exceed
    their matrix as much, the header belongs to another protocol, and its FOV is kept.

    Args:
        lines: readouts from `centre.centered`.
        encoding: header.
        lines_excess: factor by which the phase-encoding lines exceed the header's matrix.
        alternates: whether readouts alternate in direction without a flag.
        notes: list to which what was assumed is appended.

    Raises:
        ValueError: if alternating readouts exceed the matrix by another than a whole factor, which means sampling on
            gradient ramps; if the header's matrix is far larger than the readouts.
    """
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[0]
    kept, center = kept_samples(lines), lines["center"]
    needed = int(np.maximum(2 * center, 2 * (kept - center) - 1).max())
    if header is not None and needed > header and (needed + 1) % header == 0:
        needed += 1  # the first point of an even grid has no opposite
    size, fov_scale = max(header or needed, needed), 1.0
    _refuse_excess(size, needed, "the readout matrix", "the readouts")
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
    """First and one-past-last point of each readout (from `centre.centered`) on a readout axis of `size` points."""
    start = size // 2 - lines["center"]
    return start, start + kept_samples(lines)


def phase_axis(
    counters: np.ndarray, step: int, encoding: Encoding, profile: Profile | None, notes: list[str]
) -> Axis:
    """The phase-encoding axis, large enough for the header's matrix and for every measured line.

    Args:
        counters: measured lines.
        step: 1 or 2, for kspace_encoding_step_1 or _2.
        encoding: header.
        profile: energy along the axis, None if not known.
        notes: list to which what was assumed is appended.

    Raises:
        ValueError: if lines lie so far outside the matrix that header or counters must be wrong, if the counters are
            not in the order of k-space, or if the header's matrix is far larger than the lines need.
    """
    name = f"kspace_encoding_step_{step}"
    counters = np.unique(counters)
    first, last = int(counters[0]), int(counters[-1])
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[step]
    size = header or last + 1
    limit = encoding.limits.get(name)
    center, is_planned = line_center(name, counters, size, limit, profile, notes)
    needed = max(2 * (center - first), 2 * (last - center) + 1)
    _refuse_excess(size, needed, f"the matrix along {name}", f"lines {first} to {last}")
    if needed > size:
        disagreement = (
            f"the matrix along {name} is {size}, but lines {first} to {last} with centre {center} "
            f"need {needed}"
        )
        if needed > max(2 * size, 4 * len(counters)):
            raise ValueError(f"{disagreement}: repair the header's matrix or limits")
        if header is not None:
            notes.append(f"{disagreement}: the data win")
        size = needed
    if is_planned and limit is not None and limit.minimum <= center <= limit.maximum:
        first, last = min(first, limit.minimum), max(last, limit.maximum)
    offset = size // 2 - center
    covered = slice(max(first + offset, 0), min(last + offset + 1, size))
    return _axis(step, encoding, size, offset, covered, notes)


def thickness_axis(encoding: Encoding) -> Axis:
    """The slice axis of a 2D acquisition: one point, whose `voxel_mm` is the slice thickness."""
    voxel = None
    if encoding.recon_fov_mm is not None and encoding.recon_matrix is not None:
        voxel = encoding.recon_fov_mm[2] / encoding.recon_matrix[2]
    return Axis(1, 0, slice(0, 1), slice(0, 1), 1, voxel)


def _refuse_excess(size: int, needed: int, matrix: str, data: str) -> None:
    """Refuse a matrix far larger than its data: a damaged number, whose zero-filled grid would exhaust the memory."""
    if size > max(ALWAYS, LARGEST_EXCESS * needed):
        raise ValueError(
            f"{matrix} is {size}, but {data} need {needed}: repair the header's matrix"
        )


def _axis(
    axis: int,
    encoding: Encoding,
    size: int,
    offset: int,
    covered: slice,
    notes: list[str],
    fov_scale: float = 1.0,
) -> Axis:
    """An `Axis` with image window, output pixels and voxel size from the header; `axis` is 0, 1, 2 for x, y, z."""
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
    if not count <= matrix <= LARGEST_ZOOM * count:
        notes.append(f"recon matrix along {name} is {matrix}: the image keeps its {count} pixels")
        matrix = count
    start = size // 2 - count // 2
    voxel = None if known is None else known * count / size / matrix
    return Axis(size, offset, covered, slice(start, start + count), matrix, voxel)
