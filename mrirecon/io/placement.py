"""Where slices lie in the patient, from the position and the directions that MRD and twix store with every readout.

`position` is the centre of the excited slice or slab, and the image index grows along the directions (ISMRMRD,
doc/mrd_raw_data.md). The centre of a centred FFT is pixel N // 2, which therefore lies at `position`.
"""

from __future__ import annotations

import numpy as np

from mrirecon.geometry import Geometry
from mrirecon.io.grid import DIRECTIONS, Axis


def slice_stack(
    lines: np.ndarray, readout: Axis, phase: Axis, thickness_mm: float | None
) -> tuple[np.ndarray, Geometry]:
    """Order and geometry of 2D slices, given one readout (`LINE`) of each.

    Slices are ordered by their position along the slice direction, or by their counters where that is not known.
    Slices that are not parallel and equidistant have no affine: their geometry is unknown, and a note says why.

    Args:
        lines: one readout of each slice.
        readout: readout axis.
        phase: phase-encoding axis.
        thickness_mm: slice thickness, used as spacing where the positions do not give it.

    Returns:
        order: indices into `lines`.
        geometry: geometry of the slices in that order.
    """
    order = np.arange(len(lines))
    voxel = _voxel(readout.voxel_mm, phase.voxel_mm, thickness_mm)
    assumed = "; slice spacing assumed equal to thickness" if len(lines) > 1 else ""
    directions = _directions(lines)
    if directions is None:
        return order, Geometry(voxel, note="no position or directions: geometry unknown" + assumed)
    if not np.allclose(directions, directions[0], atol=1e-3):
        note = "the slices are not parallel: geometry unknown"
        return order, Geometry(voxel, note=note + assumed)
    axes = (_triple(directions[0, 0]), _triple(directions[0, 1]), _triple(directions[0, 2]))
    order = np.argsort(lines["position"] @ directions[0, 2], kind="stable")
    centers = lines["position"][order]
    positions = tuple(_triple(center) for center in centers)
    if len(lines) == 1:
        return order, Geometry(voxel, axes, positions)

    steps = np.diff(centers, axis=0)
    spacing = float(np.linalg.norm(steps.mean(axis=0)))
    if spacing < 1e-3:
        note = "all slices have one position: geometry unknown"
        return order, Geometry(voxel, note=note + assumed)
    if np.abs(steps - steps.mean(axis=0)).max() > max(0.01 * spacing, 1e-3):
        note = "the slices are not equidistant: geometry unknown"
        return order, Geometry(voxel, note=note + assumed)
    return order, Geometry(_voxel(readout.voxel_mm, phase.voxel_mm, spacing), axes, positions)


def volume_stack(lines: np.ndarray, readout: Axis, phase: Axis, partition: Axis) -> Geometry:
    """Geometry of a 3D acquisition whose slices are the readout positions inside the window.

    Image axes, voxel sizes and directions are in the order first phase encoding, second phase encoding, readout.
    """
    kept = readout.window_size
    along = None if readout.voxel_mm is None else readout.voxel_mm * readout.matrix / kept
    voxel = _voxel(phase.voxel_mm, partition.voxel_mm, along)
    directions = _directions(lines[:1])
    if directions is None:
        return Geometry(voxel, note="no position or directions: geometry unknown")
    read, phase_dir, slice_dir = directions[0]
    axes = (_triple(phase_dir), _triple(slice_dir), _triple(read))
    if along is None:
        return Geometry(voxel, axes)
    steps = (np.arange(kept) - kept // 2)[:, None] * along
    centers = lines["position"][0] + steps * read
    return Geometry(voxel, axes, tuple(_triple(center) for center in centers))


def _directions(lines: np.ndarray) -> np.ndarray | None:
    """Unit vectors (line, axis, 3), or None unless position and all three orthogonal directions are given."""
    directions = np.stack([lines[name] for name in DIRECTIONS], axis=1)
    if not (np.isfinite(directions).all() and np.isfinite(lines["position"]).all()):
        return None
    length = np.linalg.norm(directions, axis=2, keepdims=True)
    if (length < 0.5).any():
        return None
    directions = directions / length
    gram = directions @ directions.transpose(0, 2, 1)
    return directions if np.allclose(gram, np.eye(3), atol=1e-2) else None


def _voxel(*sizes: float | None) -> tuple[float, float, float] | None:
    x, y, z = sizes
    return None if x is None or y is None or z is None else (x, y, z)


def _triple(vector: np.ndarray) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
