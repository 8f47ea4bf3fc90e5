"""Where an image lies, as the user says it of a scan whose file does not, and whom it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mrirecon.geometry import Geometry, geometry_from_affine
from mrirecon.io.acquisition import acquisition_of
from mrirecon.io.dicom import is_dicom, read_headers, series_files
from mrirecon.io.files import existing_file
from mrirecon.io.nifti import read_frame, read_grid, turned_grid
from mrirecon.scan import Scan

TOWARDS = {  # LPS
    "L": (1.0, 0.0, 0.0),
    "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}
ORDER = "readout, phase and slice"


@dataclass(frozen=True, eq=False)
class Reference:
    """An image on the grid of the scan.

    Attributes:
        shape: of its array.
        affine: from array index to RAS mm.
        frame: what that refers to, as in `Geometry`.
        known_axes: why axes 0, 1 and 2 are readout, phase and slice; empty where that is only taken for granted.
        attributes: who and what was scanned, by DICOM keyword; empty of NIfTI.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    frame: str
    known_axes: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the image lies, of a scan whose file does not say.

    Attributes:
        voxel_size: mm along readout, phase and slice, such as 1 1 5; along slice it is the distance between centres.
        like: NIfTI image, or DICOM series (its folder or one of its files), of the same slices and matrix: the image
            lies where it does. Of DICOM, patient, study and acquisition are taken for DICOM outputs too.
        orientation: where increasing readout, phase and slice index point in the patient, three of the letters L or R,
            P or A, S or I, such as PLS. With like, it says how the image lies in that grid.
    """

    voxel_size: tuple[float, float, float] | None = None
    like: str | None = None
    orientation: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be, before a scan is read.

        Raises:
            ValueError: naming the option, its value and what it takes.
        """
        size, letters = self.voxel_size, self.orientation
        if size is not None and not (len(size) == 3 and all(0 < mm < 1e4 for mm in size)):
            raise ValueError(
                f"voxel_size is {' '.join(map(str, size))}: give mm along {ORDER}, such as 1 1 5"
            )
        if size is not None and self.like is not None:
            raise ValueError("voxel_size and like both say the voxel size: leave one out")
        if letters is not None and (
            len(letters) != 3
            or any(len(set(pair) & set(letters.upper())) != 1 for pair in ("LR", "PA", "SI"))
        ):
            raise ValueError(
                f"orientation is {letters!r}: give where increasing {ORDER} index point, one each of L or R, P or A, "
                "and S or I, such as PLS"
            )

    @property
    def letters(self) -> str:
        """`orientation` in capitals; empty where it is not given."""
        return (self.orientation or "").upper()

    @cached_property
    def reference(self) -> Reference | None:
        """What `like` names.

        Raises:
            OSError, ValueError, ModuleNotFoundError: if it cannot be read, or has no orientation.
        """
        if self.like is None:
            return None
        path = Path(self.like)
        if path.is_dir() or is_dicom(path):
            return _of_series(path)
        grid = read_grid(path)
        if grid is None:
            raise ValueError(f"like: {path} says nothing of its orientation: give another image")
        return Reference(*grid, read_frame(path), "", {})

    def files(self) -> tuple[Path, ...]:
        """The files that `like` names."""
        if self.like is None:
            return ()
        path = Path(self.like)
        if path.is_dir() or is_dicom(path):
            return series_files(path)
        return (existing_file(path),)

    def of(self, scan: Scan) -> Scan:
        """The scan where it lies, with whom and what it shows (`Scan.acquisition`).

        Raises:
            ValueError: if it has a position of its own, or `like` has another matrix.
        """
        reference, acquisition = self.reference, acquisition_of(scan)
        if reference is not None and reference.attributes:
            own = {key: value for key, value in acquisition.items() if key in FRAME}
            of_volumes = {
                key: value for key, value in acquisition.items() if isinstance(value, list)
            }
            acquisition = {**acquisition, **reference.attributes, **of_volumes}
            if scan.geometry.known:  # positions are those of the scan, and so is what they refer to
                acquisition = {k: v for k, v in acquisition.items() if k not in FRAME} | own
        if scan.geometry.known:
            return self._identified(scan, acquisition)
        if self.voxel_size is None and self.like is None and self.orientation is None:
            return replace(scan, acquisition=acquisition)
        if reference is None:
            acquisition = {key: value for key, value in acquisition.items() if key not in FRAME}
            geometry, notes = self._stated(scan)
        else:
            geometry, notes = self._copied(scan, reference)
        return replace(
            scan, geometry=geometry, acquisition=acquisition, notes=(*scan.notes, *notes)
        )

    def _identified(self, scan: Scan, acquisition: dict[str, Any]) -> Scan:
        """A scan whose geometry is known; `like` may say whom it shows."""
        given = {
            "voxel_size": self.voxel_size,
            "orientation": self.orientation,
            "like": self.like if self.reference and not self.reference.attributes else None,
        }
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{scan.source} has position and orientation of its own: leave out --{name}"
                )
        notes = scan.notes
        if self.like is not None:
            said = f"patient, study and acquisition are those of {self.like}; position and orientation the scan's own"
            notes = (*notes, said)
        return replace(scan, acquisition=acquisition, notes=notes)

    def _stated(self, scan: Scan) -> tuple[Geometry, list[str]]:
        """The geometry that `voxel_size` and `orientation` say."""
        notes = []
        own, voxel = scan.geometry.voxel_mm, self.voxel_size or scan.geometry.voxel_mm
        if self.voxel_size is not None and own is not None and not np.allclose(own, voxel or own):
            size = " x ".join(f"{mm:.4g}" for mm in own)
            notes.append(f"the voxel size of the file, {size} mm, is replaced by --voxel_size")
        note = "given by --voxel_size" if self.voxel_size is not None else ""
        if not self.letters:
            return replace(
                scan.geometry, voxel_mm=voxel, note=f"{note}: orientation unknown"
            ), notes
        if voxel is None:
            raise ValueError(
                f"{scan.source} has no voxel size, which an orientation needs: give --voxel_size, mm along {ORDER}"
            )
        directions = tuple(TOWARDS[letter] for letter in self.letters)
        slices = scan.shape[0]
        steps = (np.arange(slices) - slices // 2)[:, None] * voxel[2]
        centers = steps * np.asarray(directions[2])
        words = [*([note.removeprefix("given by ")] if note else []), "--orientation"]
        note = f"given by {' and '.join(words)} {self.letters}: the position is unknown, its middle is put at 0, 0, 0"
        placed = Geometry(
            voxel_mm=voxel,
            directions=directions,
            centers_mm=tuple((float(a), float(b), float(c)) for a, b, c in centers),
            note=note,
            frame="aligned",
        )
        return placed, notes

    def _copied(self, scan: Scan, reference: Reference) -> tuple[Geometry, list[str]]:
        """The geometry of the reference, turned as `orientation` says."""
        shape, affine, said = reference.shape, reference.affine, reference.known_axes
        if self.letters:
            shape, affine = turned_grid(shape, affine, self.letters)
            said = f"with --orientation {self.letters}"
        wanted = (*scan.matrix, scan.shape[0])
        if shape != wanted:
            sizes = [" x ".join(map(str, size)) for size in (shape, wanted)]
            raise ValueError(
                f"like: {self.like} is {sizes[0]}{f' ({said})' if said else ''}, the image of {scan.source} {sizes[1]} "
                f"({ORDER}): give an image of this scan, or --orientation where its axes are in another order"
            )
        placed = geometry_from_affine(affine, shape)
        if not placed.known:
            raise ValueError(f"like: {self.like}: {placed.note}: give another image")
        note = f"given by --like {self.like}, {said or f'whose axes are taken for {ORDER}'}"
        notes = []
        if not self.letters:
            note += "; whether axes are flipped against it cannot be known"
            notes = [f"geometry {note}: look, and give --orientation too where it is wrong"]
        return replace(placed, note=note, frame=reference.frame), notes


NOWHERE = Placement()
FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition")


def _of_series(path: Path) -> Reference:
    """A DICOM series, its axes in the order readout and phase where it says which one phase encoding is along."""
    series = read_headers(path)
    shape, affine, known = series.shape, series.affine, ""
    if series.phase_axis is not None:
        known = "with phase encoding along the axis that it says"
    if series.phase_axis == 0:
        shape = (shape[1], shape[0], shape[2])
        affine = affine[:, [1, 0, 2, 3]]
    return Reference(shape, affine, "scanner", known, series.attributes)
