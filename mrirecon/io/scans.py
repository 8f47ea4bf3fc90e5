"""Scans as files: content decides on the reader first, the suffix second; the suffix decides on the writer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrirecon.io.cfl import check_apart, pair, read_cfl, write_scan_cfl
from mrirecon.io.fastmri import read_fastmri, write_fastmri
from mrirecon.io.files import (
    PathLike,
    check_target,
    existing_file,
    replacing,
    sidecar,
    suffix_of,
)
from mrirecon.io.foreign import foreign, foreign_folder, foreign_hdf5
from mrirecon.io.hdf5 import datasets, is_hdf5, names, reading
from mrirecon.io.layout import Layout
from mrirecon.io.mask_arrays import refuse_mask
from mrirecon.io.mat import read_mat
from mrirecon.io.mrd_header import parse_header
from mrirecon.io.numpy import open_npy, read_numpy, write_npy, write_npz
from mrirecon.io.partitions import are_partitions, transformed
from mrirecon.io.plausible import doubts
from mrirecon.io.reconcile import reconciled
from mrirecon.scan import Scan

SCAN_SUFFIXES = (".h5", ".mrd", ".cfl", ".npy", ".npz")  # of scans that are written
INPUT_SUFFIXES = (*SCAN_SUFFIXES, ".hdf5", ".hdr", ".dat", ".mat")
READABLE = "fastMRI or MRD HDF5, BART cfl, npy, npz, mat and Siemens twix"
HEAD = 352  # bytes from which formats are recognised

Reader = Callable[[Path, Layout], Scan]


class NotAScan(ValueError):
    """A file, in good order as far as can be seen, of something else than k-space."""


def read_scan(path: PathLike, layout: Layout | None = None, **stored: Any) -> Scan:
    """One acquisition as a `Scan`, read slice by slice where the format allows.

    HDF5 with `kspace` is read as fastMRI, HDF5 with a group of `data` and `xml` as MRD. npy, npz and MATLAB files are
    recognised by their first bytes, Siemens twix by its first bytes or .dat; a BART pair by its .cfl, its .hdr, or the
    name without suffix.

    Args:
        path: k-space file.
        layout: how its array is stored, where that is unusual.
        stored: the same as keywords: `axes`, `kspace_centre`, `image_centre`, `variable` (`Layout`).

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if there is no file to read.
        ValueError: in one sentence, if it is damaged, no k-space, all zero, or of a kind that cannot be read.

    Example:
        >>> mr.read_scan("scan.h5")
        Scan scan.h5 (fastmri): 3 slices x 4 coils x 40 x 32, output 40 x 32
        >>> mr.read_scan("kspace.npy", axes="slice,coil,readout,phase").shape
        (3, 4, 40, 32)
    """
    path, layout = Path(path), layout or Layout(**stored)
    return _checked(_as_3d(layout.centred(_reader(path, layout)(path, layout))), layout)


def is_scan(path: Path, layout: Layout | None = None) -> bool:
    """Whether a file is a scan by its content, or, where it is damaged, by its suffix.

    A cfl pair is its .cfl. Hidden files are none, nor outputs of this program, which have their JSON beside them.
    """
    suffix = path.suffix.lower()
    if path.name.startswith((".", "_")) or suffix == ".hdr" or not path.is_file():
        return False
    if sidecar(path).is_file():
        return False
    try:
        if _reader(path, layout or Layout()) is read_numpy and suffix == ".npy":
            return open_npy(path).dtype.kind == "c"  # a mask, or an image
    except NotAScan:
        return False
    except (ValueError, OSError):
        return suffix in INPUT_SUFFIXES
    return True


def write_scan(scan: Scan, path: PathLike, overwrite: bool = False) -> tuple[str, ...]:
    """Write k-space slice by slice as complex64; the format follows the suffix.

    `.mrd` is MRD, `.h5` the fastMRI layout, `.cfl` BART's pair, `.npy` and `.npz` arrays
    (slice, coil, readout, phase).

    Returns:
        What the format could not hold, one sentence each.

    Raises:
        ValueError: for an unknown suffix, several volumes where the format has one, or the file of the scan itself.
        OSError: as `files.check_target`, or if the disk is full.

    Example:
        left_out = mr.write_scan(scan, "copy.mrd")
    """
    path = Path(path)
    suffix = suffix_of(path, SCAN_SUFFIXES)
    if scan.volumes > 1 and suffix in (".h5", ".npy", ".npz"):
        raise ValueError(
            f"{path}: {suffix} holds one volume, {scan.source} has {scan.volumes}: "
            "write .mrd or .cfl, or one of them, such as --volume 0"
        )
    files = (pair(path)[1], path) if suffix == ".cfl" else (path,)
    check_apart(files, [scan.source])
    for file in files:
        check_target(file, overwrite)
    with replacing(*files) as (*companions, part):
        if suffix == ".h5":
            write_fastmri(scan, part)
        elif suffix == ".mrd":
            from mrirecon.io.mrd import write_mrd

            write_mrd(scan, part)
        elif suffix == ".cfl":
            write_scan_cfl(scan, (part, companions[0]))
        elif suffix == ".npz":
            write_npz(part, scan)
        else:
            write_npy(part, scan.shape, (scan.kspace(index) for index in range(scan.shape[0])))
    return _lost(scan, suffix)


def _lost(scan: Scan, suffix: str) -> tuple[str, ...]:
    """What the scan has and the format cannot hold, one sentence each."""
    window = tuple(part.stop - part.start for part in scan.crop)
    array, all_arrays = suffix in (".npy", ".cfl"), suffix in (".npy", ".npz", ".cfl")
    lost = {
        "voxel size and position": all_arrays and scan.geometry.voxel_mm is not None,
        "the image window": all_arrays and window != scan.shape[2:],
        "which points are zero padding": array and not bool(scan.acquired.all()),
        "the separate calibration scan": all_arrays and scan.calibration is not None,
        "the noise covariance": suffix != ".h5" and scan.noise_covariance is not None,
        "the reference image": suffix != ".h5" and scan.reference is not None,
        "the readout encoding, now an image axis": scan.is_3d and suffix not in (".cfl", ".mrd"),
    }
    return tuple(f"{suffix} does not hold {what}" for what, is_lost in lost.items() if is_lost)


def _checked(scan: Scan, layout: Layout) -> Scan:
    """The scan, its sampling and plausibility checked on the slice nearest the middle that has samples.

    Notes say what was corrected (`reconciled`) and why the slice may not be centred k-space (`doubts`).

    Raises:
        ValueError: if no slice has samples, or the array is a sampling mask.
    """
    slices = scan.shape[0]
    order = sorted(range(slices), key=lambda index: abs(index - slices // 2))
    for volume in range(scan.volumes):
        for index in order:
            kspace = scan.read(volume, index)
            if bool((kspace != 0).any()):
                if not bool(kspace[0].imag.any()):
                    refuse_mask(scan.source, kspace.real.numpy())
                sliced = not (scan.is_3d or "partition" in scan.axes)
                partitions = sliced and are_partitions(scan, volume)
                scan = reconciled(scan, volume, index, kspace)
                said = doubts(kspace, scan.axes, slices, layout, partitions)
                return replace(scan, notes=(*scan.notes, *said))
    raise ValueError(f"{scan.source}: k-space is all zero: export the scan again")


def _as_3d(scan: Scan) -> Scan:
    """The scan with its slices Fourier-transformed, where both header and data say that they are partitions."""
    slices = scan.shape[0]
    if scan.header is None or "slice" not in scan.axes or slices < 4:
        return scan
    matrix = parse_header(scan.header).encoding.encoded_matrix
    if matrix is None or matrix[2] != slices or not are_partitions(scan, smallest=4):
        return scan
    said = f" (the header has {slices} partitions, and nearly all power is in the middle slices)"
    axes = tuple("partition" if name == "slice" else name for name in scan.axes)
    return replace(transformed(scan, said), axes=axes)


def head_of(path: Path) -> bytes:
    """The first bytes of a file, by which its format is recognised.

    Raises:
        OSError: if there is no such file, or it cannot be read.
    """
    with existing_file(path).open("rb") as stream:
        return stream.read(HEAD)


def _reader(path: Path, layout: Layout) -> Reader:
    """The reader for what is at `path`."""
    if path.suffix.lower() == ".cfl" or (
        not path.is_file() and any(part.is_file() for part in pair(path))
    ):
        return read_cfl
    if path.is_dir() and (advice := foreign_folder(path)):
        raise NotAScan(f"{path} {advice}")
    head = head_of(path)
    suffix = path.suffix.lower()
    if head.startswith(b"MATLAB "):
        return read_mat
    if is_hdf5(path):
        return read_mat if suffix == ".mat" else _hdf5_reader(path, layout)
    if head.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return read_numpy
    if advice := foreign(path, head):
        raise NotAScan(f"{path} {advice}")
    if suffix == ".hdr":
        return read_cfl
    if not head:
        raise ValueError(f"{path} is empty: copy or export it again")
    if suffix == ".mat":
        return read_mat
    if suffix in (".h5", ".hdf5", ".mrd", ".npy", ".npz"):
        kind = {".npy": "npy", ".npz": "npz"}.get(suffix, "HDF5")
        raise ValueError(f"{path} is named {suffix} but is no {kind} file: copy or export it again")
    if suffix == ".dat" or _is_twix(head):
        from mrirecon.io.twix import read_twix

        return _ordered("Siemens twix", read_twix)
    raise NotAScan(f"{path} is of no kind that can be read: {READABLE}")


def _hdf5_reader(path: Path, layout: Layout) -> Reader:
    name = layout.variable or "kspace"
    with reading(path) as file:
        found = names(file)
        groups = [name for name in found if not hasattr(file.get(name), "dtype")]
        mrd = [name for name in groups if {"data", "xml"} <= set(file.get(name, ()))]
        chosen = file.get(name)
        if hasattr(chosen, "dtype"):
            return read_fastmri
        listed = ", ".join(datasets(file)) or "nothing"
        inside = ", ".join(datasets(chosen)) or "nothing" if hasattr(chosen, "keys") else None
    if layout.variable is None and (mrd or "dataset" in found):
        from mrirecon.io.mrd import read_mrd

        return _ordered("MRD", read_mrd)
    if inside is not None:
        raise NotAScan(
            f"{path}: {name!r} is a group, no array: name one with --variable, it holds {inside}"
        )
    if layout.variable is not None:
        raise NotAScan(f"{path} has no array {name!r}: it has {listed}")
    if advice := foreign_hdf5(path, found):
        raise NotAScan(f"{path} {advice}")
    raise NotAScan(
        f"{path} has neither 'kspace' (fastMRI) nor 'dataset' (MRD): it has {listed}; name another array of k-space "
        "with --variable"
    )


def _ordered(format: str, read: Callable[[Path], Scan]) -> Reader:
    """The reader of a format whose header orders the data, so that options of `Layout` on axes are refused."""

    def ordered(path: Path, layout: Layout) -> Scan:
        layout.check(str(path), format, "kspace_centre", "image_centre")
        return read(path)

    return ordered


def _is_twix(head: bytes) -> bool:
    """Multi-RAID twix (software VD and later) begins with 0 or 1 and the number of measurements."""
    first, count = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
    return len(head) >= 8 and first in (0, 1) and 1 <= count <= 64
