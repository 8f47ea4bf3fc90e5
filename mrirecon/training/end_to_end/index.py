"""What training has to know of each file of a folder, kept in a JSON file so that it is looked up only once."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mrirecon.coverage import Coverage, coverage_of, covered_by
from mrirecon.io.fastmri import SliceReader, read_fastmri
from mrirecon.io.files import check_target, replacing, write_json
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c, rss

SCHEMA = 3
SUFFIXES = (".h5", ".hdf5")
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class FileEntry:
    """One file of the fastMRI layout.

    Attributes:
        path: of the file.
        shape: (slice, coil, readout, phase) of its k-space.
        crop: image window: first row, one past the last, first column, one past the last.
        acquired: the box of k-space that the protocol covers, in the same order; None if it is no box, as an ellipse.
        sampled: whether it was undersampled by the scanner or by a `mask` of its own.
        has_target: whether it holds target images.
        maximum: of the target volume; None where there is none.
    """

    path: str
    shape: tuple[int, int, int, int]
    crop: Box
    acquired: Box | None
    sampled: bool
    has_target: bool
    maximum: float | None

    @property
    def name(self) -> str:
        """The file name, which is also what fastMRI seeds a validation mask with."""
        return Path(self.path).name

    @property
    def window(self) -> tuple[slice, slice]:
        """`crop` as slices."""
        return slice(*self.crop[:2]), slice(*self.crop[2:])

    @property
    def gives_target(self) -> bool:
        """Whether there is a target, in the file or computed from its full k-space."""
        return self.has_target or not self.sampled

    @property
    def bucket(self) -> tuple[Any, ...]:
        """What the slices of one batch have in common."""
        return (*self.shape[1:], *self.crop, self.gives_target)


def index_folder(folder: Path, cache: Path | None = None) -> list[FileEntry]:
    """The files of a folder, sorted by name, with the index updated for those that are new or have changed.

    Args:
        folder: with .h5 or .hdf5 files.
        cache: JSON file of the index; None keeps one beside `folder`, or none at all where that is read-only.

    Raises:
        FileNotFoundError, NotADirectoryError: if the folder is missing, or is none.
        ValueError: if it holds no such file, or one that cannot be read.
        OSError: if `cache` cannot be written.
    """
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give one with fastMRI .h5 files")
    paths = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.name[0] != ".")
    if not paths:
        raise ValueError(
            f"{folder} holds no {' or '.join(SUFFIXES)} file: it is empty for training"
        )
    # Not in the folder itself, where other software takes every file for a volume.
    file = cache or folder.absolute().parent / "mrirecon_index.json"
    if cache is not None:
        check_target(cache, overwrite=True)
    known = _load(file)
    fresh, entries = False, []
    for path in paths:
        stat = path.stat()
        key, stamp = str(path.absolute()), [stat.st_size, stat.st_mtime_ns]
        if known.get(key, {}).get("stamp") != stamp:
            known[key] = {"stamp": stamp, **asdict(describe(path))}
            fresh = True
        entries.append(_entry(path, known[key]))
    if fresh:
        try:
            with replacing(file) as (part,):
                write_json(part, {"schema": SCHEMA, "files": known})
        except OSError:
            if cache is not None:  # beside the data it is only a convenience
                raise
    return entries


def describe(path: Path) -> FileEntry:
    """Read what the index holds of one file; k-space only where the maximum of the target is not known otherwise.

    Raises:
        ValueError: if the file is damaged, no fastMRI file, or its target is not on the k-space grid.
    """
    scan, reader = read_fastmri(path), SliceReader()
    size = tuple(part.stop - part.start for part in scan.crop)
    if scan.reference is not None and size != scan.matrix:
        raise ValueError(
            f"{path}: its target of {scan.matrix[0]} x {scan.matrix[1]} is interpolated from {size[0]} x {size[1]}: "
            "train on files with targets on the k-space grid"
        )
    acquired, sampled = scan.acquired, scan.sampling is not None
    if not sampled:
        coverage = _coverage(scan, reader, path)
        acquired, sampled = coverage.acquired, not coverage.complete
    maximum = _positive(scan.attributes.get("max"))
    if maximum is None and (scan.reference is not None or not sampled):
        maximum = max(_largest(scan, index) for index in range(scan.shape[0]))
    rows, columns = scan.crop
    return FileEntry(
        path=str(path),
        shape=scan.shape,
        crop=(rows.start, rows.stop, columns.start, columns.stop),
        acquired=_box(acquired),
        sampled=sampled,
        has_target=scan.reference is not None,
        maximum=maximum,
    )


def _coverage(scan: Scan, reader: SliceReader, path: Path) -> Coverage:
    """What the file covers, mostly told by two lines of k-space; a whole slice is read where its corners are empty."""
    rows, columns = reader.centre_lines(path)
    sampled = rows[:, None] & columns
    coverage = Coverage(covered_by(sampled, scan.acquired), sampled)
    box = _box(coverage.acquired)
    ragged = coverage.complete and box is not None and not reader.has_corners(path, box)
    return coverage_of(scan) if ragged or not bool(sampled.any()) else coverage


def _positive(value: Any) -> float | None:
    """An attribute that is a positive number; None where it is anything else, such as text or NaN."""
    number = isinstance(value, int | float) and 0 < value < math.inf
    return float(value) if number else None


def _target(scan: Scan, index: int) -> Tensor:
    if scan.reference is not None:
        return scan.reference(index)
    return rss(ifft2c(scan.kspace(index)))[scan.crop]


def _largest(scan: Scan, index: int) -> float:
    """The largest value of the target of a slice."""
    largest = float(_target(scan, index).max())
    if not math.isfinite(largest):
        raise ValueError(
            f"{scan.source}: the target of slice {index} holds NaN or infinite values: "
            "repair or remove the file"
        )
    return largest


def _box(mask: Tensor) -> Box | None:
    """Bounds of the True points (rows, then columns) where they fill a box, else None."""
    lines = mask.any(dim=1), mask.any(dim=0)
    if not bool(mask.any()):
        return None
    box = [int(i) for line in lines for i in (line.nonzero()[0, 0], line.nonzero()[-1, 0] + 1)]
    full = bool(mask[box[0] : box[1], box[2] : box[3]].all())
    return (box[0], box[1], box[2], box[3]) if full else None


def _load(file: Path) -> dict[str, Any]:
    """The files of an index; nothing if there is none, it is damaged, or of another version."""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        files = index["files"] if index["schema"] == SCHEMA else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    fields = {"stamp", *FileEntry.__dataclass_fields__}
    valid = isinstance(files, dict) and all(
        isinstance(entry, dict) and set(entry) == fields for entry in files.values()
    )
    return files if valid else {}


def _entry(path: Path, fields: dict[str, Any]) -> FileEntry:
    # JSON has lists for tuples.
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()
    }
    del values["stamp"]
    return FileEntry(**(values | {"path": str(path)}))
