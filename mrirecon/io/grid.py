"""Where Cartesian readouts lie on the k-space grid, and which image window the grid's inverse FFT is cropped to.

The header of an MRD file describes the protocol, the acquisitions say what was measured, and the two disagree often
enough (zero filling, oversampling removed in one of them, limits never set, a matrix left from another protocol) that
every choice is made here, once: lines go by `encodingLimits.center`, samples by `center_sample`, unless the energy of
k-space is clearly elsewhere, and where the header's matrix is too small data win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrirecon.io.centre import kept_samples, line_center
from mrirecon.io.energy import Profile
from mrirecon.io.mrd_header import Encoding

LARGEST_ZOOM = 16  # how many times finer than k-space an image may be interpolated
LARGEST_EXCESS, ALWAYS = 16, 1024  # how far a matrix may exceed its readouts, and what is no excess

VOLUME_COUNTERS = ("contrast", "phase", "repetition", "set")
DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")

# One readout: `row` is its place in the file, `space` its encoding space, counters are the file's own, positions and
# directions are LPS, in mm. In forward order samples are rolled by `roll`. `occurrence` numbers readouts of equal
# counters.
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


def readout_axis(
    lines: np.ndarray, encoding: Encoding, lines_excess: float, alternates: bool, notes: list[str]
) -> Axis:
    """The readout axis that holds the header's matrix and every sample of `centered` readouts.

    Where samples exceed the header's matrix, it may describe the grid after removal of oversampling: then they do so by
    a whole factor beyond the factor `lines_excess` of the phase-encoding lines. If these exceed it by as much, the
    header is of another protocol: its FOV stands.

    Raises:
        ValueError: if readouts that alternate without a flag exceed it by another factor: sampled on gradient ramps;
            if it is far larger than the readouts.
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
    """First and one-past-last point of each of `centered` readouts on a readout axis of `size` points."""
    start = size // 2 - lines["center"]
    return start, start + kept_samples(lines)


def phase_axis(
    counters: np.ndarray, step: int, encoding: Encoding, profile: Profile | None, notes: list[str]
) -> Axis:
    """The axis of kspace_encoding_step_1 or _2 that holds the header's matrix and every line.

    Raises:
        ValueError: if lines lie so far outside that header or counters must be wrong, or are no places in k-space;
            if the header's matrix is far larger than they need.
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
    """A matrix that the data fill to next to nothing is a damaged number, whose zeros would fill the memory."""
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
    if not count <= matrix <= LARGEST_ZOOM * count:
        notes.append(f"recon matrix along {name} is {matrix}: the image keeps its {count} pixels")
        matrix = count
    start = size // 2 - count // 2
    voxel = None if known is None else known * count / size / matrix
    return Axis(size, offset, covered, slice(start, start + count), matrix, voxel)
