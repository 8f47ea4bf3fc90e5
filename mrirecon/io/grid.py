"""Where Cartesian readouts lie on the k-space grid, and which image window the grid's inverse FFT is cropped to.

The header of an MRD file describes the protocol, the acquisitions say what was measured, and the two disagree often
enough (zero filling, oversampling removed in one of them, limits never set) that every choice is made here, once:
lines go by `encodingLimits.center`, samples by `center_sample`, and where the header's matrix is too small data win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrirecon.io.mrd_header import Encoding

VOLUME_COUNTERS = ("contrast", "phase", "repetition", "set")
DIRECTIONS = ("read_dir", "phase_dir", "slice_dir")

# One readout: `row` is its place in the file, counters are the file's own, positions and directions are LPS, in mm.
LINE = np.dtype(
    [("row", "i8"), ("samples", "i4"), ("center", "i4"), ("discard_pre", "i4")]
    + [("discard_post", "i4"), ("reverse", "?"), ("coils", "i4"), ("dwell_us", "f8")]
    + [(counter, "i4") for counter in ("ky", "kz", "slice", *VOLUME_COUNTERS)]
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


def readout_axis(lines: np.ndarray, encoding: Encoding, notes: list[str]) -> Axis:
    """The readout axis that holds the header's matrix and every sample.

    Raises:
        ValueError: if a readout has no samples left or `center_sample` is not one of them.
    """
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[0]
    kept, center = _centers(lines, header or 0)
    if (_unset(lines, kept, header or 0)).any():
        notes.append("center_sample is 0 for full readouts: their middle sample is taken")
    needed = int(np.maximum(2 * center, 2 * (kept - center) - 1).max())
    size, fov_scale = max(header or needed, needed), 1.0
    if header is not None and needed > header:
        note = f"readout matrix is {header} in the header, the samples need {needed}: the data win"
        if needed % header == 0:  # the header describes the grid after removal of oversampling
            fov_scale = needed / header
            note += f", with {needed // header} times the header's encoded FOV"
        notes.append(note)
    start = size // 2 - center
    covered = slice(int(start.min()), int((start + kept).max()))
    return _axis(0, encoding, size, 0, covered, notes, fov_scale)


def readout_range(lines: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last point of each readout, in forward order, on a readout axis of `size` points."""
    kept, center = _centers(lines, size)
    return size // 2 - center, size // 2 - center + kept


def phase_axis(counters: np.ndarray, step: int, encoding: Encoding, notes: list[str]) -> Axis:
    """The axis of kspace_encoding_step_1 or _2 that holds the header's matrix and every line.

    Raises:
        ValueError: if lines lie so far outside that header or counters must be wrong.
    """
    name = f"kspace_encoding_step_{step}"
    first, last = int(counters.min()), int(counters.max())
    header = None if encoding.encoded_matrix is None else encoding.encoded_matrix[step]
    size = header or last + 1
    limit = encoding.limits.get(name)
    center = size // 2 if limit is None else limit.center
    if limit is None:
        notes.append(f"{name} has no limits: its centre is taken as {center}")
    elif center == 0 and last - first > size // 2:  # never set: partial Fourier is half at most
        center = size // 2
        notes.append(f"{name} has centre 0 but {last - first + 1} lines: centre taken as {center}")
    needed = max(2 * (center - first), 2 * (last - center) + 1)
    if needed > size:
        disagreement = (
            f"the matrix along {name} is {size}, but lines {first} to {last} with centre {center} "
            f"need {needed}"
        )
        if needed > 2 * size:
            raise ValueError(f"{disagreement}: repair the header's matrix or limits")
        if header is not None:
            notes.append(f"{disagreement}: the data win")
        size = needed
    if limit is not None and limit.minimum <= center <= limit.maximum:
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


def _centers(lines: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples kept of each readout, and which of them is the k-space centre once in forward order."""
    kept = lines["samples"] - lines["discard_pre"] - lines["discard_post"]
    if kept.min() < 1:
        worst = lines[kept.argmin()]
        raise ValueError(
            f"readout {worst['row']} has {worst['samples']} samples, of which {worst['discard_pre']} + "
            f"{worst['discard_post']} are to be discarded: repair the acquisition headers"
        )
    center = lines["center"] - lines["discard_pre"]
    center = np.where(_unset(lines, kept, size), kept // 2, center)
    outside = (center < 0) | (center >= kept)
    if outside.any():
        worst = lines[outside.argmax()]
        raise ValueError(
            f"readout {worst['row']} has center_sample {worst['center']}, outside its "
            f"{worst['samples']} samples: repair the acquisition headers"
        )
    # center_sample counts stored samples, so reversal mirrors it: about N // 2, which keeps full readouts in place.
    mirrored = np.clip(2 * (kept // 2) - center, 0, kept - 1)
    return kept, np.where(lines["reverse"], mirrored, center)


def _unset(lines: np.ndarray, kept: np.ndarray, size: int) -> np.ndarray:
    """Whether `center_sample` was left at 0: an echo that really begins at its centre is half a readout at most."""
    return (lines["center"] == 0) & (kept > max(size, int(kept.max())) // 2 + 1)


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
