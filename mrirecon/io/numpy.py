"""npy, read slice by slice, and npz, an archive that is read as a whole. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mrirecon.io.arrays import NO_GEOMETRY, arrange, arranged_scan
from mrirecon.io.file_array import FileArray
from mrirecon.io.files import existing_file
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.mask_arrays import as_mask, expand_mask, refuse_mask
from mrirecon.scan import Scan

READ = ("kspace", "mask", "acquired", "maps")  # members of an npz that readers use
AXES = {3: ("coil", "readout", "phase"), 4: ("slice", "coil", "readout", "phase")}


def is_npy(path: Path) -> bool:
    """Whether the file carries the npy signature."""
    with path.open("rb") as stream:
        return stream.read(6) == b"\x93NUMPY"


def open_npy(path: Path) -> FileArray:
    """The array in an npy file; parts of it are read when they are needed.

    Raises:
        ValueError: if the file is truncated or damaged, or holds Python objects.
    """
    existing_file(path)
    try:
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, fortran, dtype = header[version](stream)
            if dtype.hasobject:
                raise ValueError("Python objects")
            return FileArray(path, stream.tell(), dtype, shape, "F" if fortran else "C")
    except Exception as error:  # a damaged header can fail in any way a parser can
        if "Python objects" in str(error):
            raise ValueError(
                f"{path}: the array holds Python objects, which are never unpickled: "
                "save it as complex64"
            ) from error
        raise ValueError(
            f"{path}: the npy file is truncated or damaged: export it again"
        ) from error


def read_npz(path: Path, key: str, remedy: str = "") -> dict[str, np.ndarray]:
    """Name -> array of the archive; an archive of a single array has it under `key`, whatever its name.

    Args:
        path: npz file.
        key: name of the array that is needed.
        remedy: end of the message where there is no such array.

    Raises:
        ValueError: if the archive is damaged, holds Python objects, or has several arrays and none called `key`.
    """
    existing_file(path)
    try:
        # numpy leaks the file it opens when the archive is damaged
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = {name: archive[name] for name in names}
    except Exception as error:  # zip, zlib and header errors of many kinds
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path}: the archive holds Python objects, which are never unpickled: "
                "save the arrays as numbers"
            ) from error
        raise ValueError(
            f"{path}: the npz file is truncated or damaged: export it again"
        ) from error
    if key not in arrays and len(arrays) == 1:
        arrays = {key: arrays.popitem()[1]}
    for name, array in arrays.items():  # numpy gives what is no npy as bytes
        if name in (*READ, key) and not isinstance(array, np.ndarray):
            raise ValueError(
                f"{path}: its member {name!r} is no npy array: save it with numpy.savez"
            )
    if key not in arrays:
        raise ValueError(
            f"{path} has no array {key!r}: it has {', '.join(names) or 'nothing'}{remedy}"
        )
    return arrays


def read_numpy(path: Path, layout: Layout = USUAL) -> Scan:
    """A scan from npy, or from npz with `kspace` and, optionally, `mask` and `acquired`.

    Raises:
        ValueError: as `open_npy` and `read_npz`, and if the array is no k-space.
    """
    source = str(path)
    with path.open("rb") as stream:
        format = "npz" if stream.read(2) == b"PK" else "npy"
    name, arrays = layout.variable or "kspace", dict[str, Any]()
    if format == "npz":
        arrays |= read_npz(path, name, ", name it with --variable")
    else:
        layout.check(source, format, "axes", "kspace_centre", "image_centre")
        arrays[name] = open_npy(path)
    array = arrays[name]
    refuse_mask(source, array)
    arrangement = arrange(source, array.shape, array.dtype, layout, AXES)
    grid = arrangement.shape[2:]
    known: dict[str, Any] = {}
    if "acquired" in arrays:
        known["acquired"] = expand_mask(as_mask(source, arrays["acquired"]), grid, source)
        if not bool(known["acquired"].any()):
            raise ValueError(
                f"{source}: its member 'acquired' is 0 everywhere: save it with 1 where k-space was measured, or leave "
                "it out"
            )
        known["notes"] = (NO_GEOMETRY,)
    mask = None
    if "mask" in arrays:
        mask = expand_mask(as_mask(source, arrays["mask"]), grid, source)
        known["sampling"] = lambda volume, index: mask

    def read(volume: int, index: int) -> Tensor:
        kspace = arrangement.read(array, volume, index)
        return kspace if mask is None else kspace * mask

    return arranged_scan(source, format, arrangement, read, **known)


def write_npy(path: Path, shape: tuple[int, ...], blocks: Iterable[Tensor]) -> None:
    """Write a complex64 array of `shape` from blocks in C order."""
    with path.open("wb") as stream:
        _write(stream, shape, blocks)


def write_npz(path: Path, scan: Scan) -> None:
    """Write `kspace`, slice by slice, and `acquired`."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("kspace.npy", "w", force_zip64=True) as stream:
            _write(stream, scan.shape, (scan.kspace(index) for index in range(scan.shape[0])))
        with archive.open("acquired.npy", "w") as stream:
            np.lib.format.write_array(stream, scan.acquired.numpy(), allow_pickle=False)


def _write(stream: Any, shape: tuple[int, ...], blocks: Iterable[Tensor]) -> None:
    """Plain writes, not a memory map: on a full disk a map kills the process, while a write raises OSError."""
    header = {"descr": "<c8", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, header)
    for block in blocks:
        stream.write(np.ascontiguousarray(block.numpy(), dtype="<c8").data)
