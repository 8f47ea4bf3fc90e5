"""Where the image grid lies in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mrirecon.brief import brief

FRAMES = ("scanner", "aligned", "talairach", "mni", "template")  # codes 1 to 5 of NIfTI


@dataclass(frozen=True)
class Geometry:
    """Where the image grid lies in the patient, in LPS millimetres (the MRD convention).

    Axes are those of image arrays: (readout, phase, slice). What is not known is None and stays so.

    Attributes:
        voxel_mm: voxel size along (readout, phase, slice); along slice it is the distance between slice centres.
        directions: three unit vectors, the patient direction in which each array index grows.
        centers_mm: one position per slice, that of pixel (readout N // 2, phase N // 2).
        note: what a reader had to assume, e.g. "slice spacing assumed equal to thickness".
        frame: what positions refer to, one of `FRAMES`: the scanner, or what an image was registered to.

    Example:
        affine = scan.geometry.affine_lps(scan.matrix)  # 4 x 4
    """

    voxel_mm: tuple[float, float, float] | None = None
    directions: tuple[tuple[float, float, float], ...] | None = None
    centers_mm: tuple[tuple[float, float, float], ...] | None = None
    note: str = ""
    frame: str = FRAMES[0]

    __repr__ = brief

    @property
    def known(self) -> bool:
        """Whether position and orientation are known, so that an affine can be written."""
        return None not in (self.voxel_mm, self.directions, self.centers_mm)

    def select(self, slices: slice) -> Geometry:
        """The geometry of a contiguous run of slices."""
        centers = self.centers_mm[slices] if self.centers_mm is not None else None
        return replace(self, centers_mm=centers)

    def divided(self, factor: int, moved: Sequence[float]) -> Geometry:
        """The geometry with `factor` times smaller pixels within slices, whose middle ones lie elsewhere.

        Args:
            factor: of both sides of a pixel.
            moved: from the middle pixel N // 2 to the new one along (readout, phase), in pixels of before.
        """
        if self.voxel_mm is None:
            return self
        y, x, z = self.voxel_mm
        finer = replace(self, voxel_mm=(y / factor, x / factor, z))
        if self.directions is None or self.centers_mm is None:
            return finer
        step = np.asarray(self.directions[:2]).T @ (np.asarray(moved) * (y, x))
        centers = (np.asarray(self.centers_mm) + step).tolist()
        return replace(finer, centers_mm=tuple((a, b, c) for a, b, c in centers))

    def affine_lps(self, matrix: tuple[int, int]) -> np.ndarray:
        """4 x 4 matrix from array index (readout, phase, slice) to LPS mm.

        The slice column is the step between the first and the last slice centre, so gaps and reversed slice orders
        come out right whatever the header calls the slice direction.

        Raises:
            ValueError: if the geometry is not known.
        """
        if self.voxel_mm is None or self.directions is None or self.centers_mm is None:
            raise ValueError("geometry is unknown: this scan has no position or directions")
        centers = np.asarray(self.centers_mm, dtype=float)
        affine = np.eye(4)
        for axis in range(3):
            affine[:3, axis] = np.asarray(self.directions[axis]) * self.voxel_mm[axis]
        if len(centers) > 1:
            affine[:3, 2] = (centers[-1] - centers[0]) / (len(centers) - 1)
        affine[:3, 3] = centers[0] - affine[:3, :2] @ np.asarray([n // 2 for n in matrix])
        return affine


def geometry_from_affine(affine: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]) -> Geometry:
    """LPS geometry of an image grid from its RAS affine; a sheared or degenerate affine leaves the orientation unknown.

    Args:
        affine: from array index (readout, phase, slice) to RAS mm.
        shape: of the array.
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(affine, dtype=float)
    columns = lps[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(lps).all() or lengths.min() <= 0:
        return Geometry(note="the image's affine is degenerate: geometry unknown")
    voxel = (float(lengths[0]), float(lengths[1]), float(lengths[2]))
    directions = columns / lengths
    if not np.allclose(directions.T @ directions, np.eye(3), atol=1e-3):
        return Geometry(voxel_mm=voxel, note="the image's affine is sheared: orientation unknown")
    centers = [lps[:3] @ [shape[0] // 2, shape[1] // 2, index, 1] for index in range(shape[2])]
    return Geometry(
        voxel_mm=voxel,
        directions=tuple((float(a), float(b), float(c)) for a, b, c in directions.T),
        centers_mm=tuple((float(a), float(b), float(c)) for a, b, c in centers),
    )
