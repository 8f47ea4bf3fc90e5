"""fastMRI HDF5, multicoil and singlecoil: `kspace`, `ismrmrd_header`, `mask`, targets and attributes.

Layout: github.com/facebookresearch/fastMRI, `fastmri/data/README.md`. What the layout cannot hold (directions,
positions, separate calibration, which points were acquired) is written to a group `mrirecon`, which other readers
ignore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.io.arrays import NO_HEADER, arrange, arranged_scan
from mrirecon.io.fastmri_header import (
    centred_part,
    from_header,
    measured_columns,
    padding_by_data,
    window,
)
from mrirecon.io.fastmri_own import read_own, write_own
from mrirecon.io.hdf5 import (
    OpenFiles,
    check_stored,
    read_array,
    read_complex,
    read_text,
    reading,
    writing,
)
from mrirecon.io.layout import USUAL, Layout
from mrirecon.io.mask_arrays import as_mask, expand_mask
from mrirecon.io.mrd_header_writer import build_header
from mrirecon.scan import Scan

AXES = {4: ("slice", "coil", "readout", "phase"), 3: ("slice", "readout", "phase")}
REFERENCES = ("reconstruction_rss", "reconstruction_esc")


def read_fastmri(path: Path, layout: Layout = USUAL) -> Scan:
    """A scan whose slices are read when they are needed.

    The image window is that of fastMRI: n pixels from (N - n) // 2, with n from the target, else from the header's
    reconSpace; where k-space is narrower than that, a square of its width (`fastmri.data.transforms`, FLAIR 203).

    Raises:
        ValueError: if the file is damaged, has no complex `kspace`, or header, mask and data disagree.
    """
    source, path, name = str(path), path.absolute(), layout.variable or "kspace"
    with reading(path) as file:
        names = set(file)
        kspace = file[name]
        if not hasattr(kspace, "dtype"):
            raise ValueError(f"{source}: {name!r} is a group, expected a dataset")
        arrangement = arrange(source, kspace.shape, kspace.dtype, layout, AXES)
        check_stored(source, kspace)
        shape = arrangement.shape
        header = read_text(file["ismrmrd_header"], source) if "ismrmrd_header" in names else None
        mask = np.squeeze(read_array(source, file["mask"])) if "mask" in names else None
        target = next((name for name in REFERENCES if name in names), None)
        target_shape = file[target].shape if target else None
        target_type = file[target].dtype if target else None
        known: dict[str, Any] = {"header": header}
        known["attributes"] = {name: _native(value) for name, value in file.attrs.items()}
        own = read_own(source, file["mrirecon"], shape) if "mrirecon" in names else {}
        columns = measured_columns(kspace, arrangement, layout) if header else None
    if header:
        known |= from_header(source, header, shape, arrangement)
        known |= padding_by_data(known, columns)
        known["acquired"] = layout.as_stored(known["acquired"])
    else:
        known["notes"] = (NO_HEADER,)
    if target_shape is not None and 0 in target_shape:
        known["notes"] += (f"{target} is {_size(target_shape)}: it is no reference",)
        target = None
    elif target_type is not None and target_type.kind not in "biuf":
        known["notes"] += (f"{target} holds {target_type}, no real numbers: it is no reference",)
        target = None
    if target is not None and target_shape is not None:
        if len(target_shape) != 3 or target_shape[0] != shape[0]:
            raise ValueError(
                f"{source}: {target} is {_size(target_shape)}, kspace {_size(shape)}: "
                "both must have the same number of slices"
            )
        known |= window(shape, target_shape[1:])
    known |= own
    if target is not None and target_shape is not None:
        if all(have >= want for have, want in zip(target_shape[1:], known["matrix"], strict=True)):
            known["reference"] = _reference(path, target, known["matrix"])
        else:
            sizes = f"{_size(target_shape)}, smaller than the image of {_size(known['matrix'])}"
            known["notes"] = (*known["notes"], f"{target} is {sizes}: it is no reference")
    if "calibration" in known:
        known["calibration"] = lambda volume, index: _read(path, "mrirecon/calibration", index)
    sampled = None
    if mask is not None:
        sampled = expand_mask(as_mask(source, mask), shape[2:], source)
        sampled = sampled & known["acquired"] if "acquired" in known else sampled
        known["sampling"] = lambda volume, index: sampled

    def read(volume: int, index: int) -> Tensor:
        with reading(path) as file:
            kspace = arrangement.read(file[name], volume, index)
        return kspace if sampled is None else kspace * sampled

    return arranged_scan(source, "fastmri", arrangement, read, **known)


class SliceReader:
    """Reads single slices of many fastMRI files for training; files stay open between reads.

    Every method raises FileNotFoundError or ValueError if the file is missing or damaged.
    """

    def __init__(self) -> None:
        self._files = OpenFiles()

    def kspace(self, path: Path, index: int, out: Complex[Tensor, "coil readout phase"]) -> None:
        """Read the stored k-space of one slice into `out` (complex64, contiguous)."""
        with self._files.reading(path) as file:
            dataset = file["kspace"]
            shape = dataset.shape[1:]
            if (shape if len(shape) == 3 else (1, *shape)) != tuple(out.shape):
                raise ValueError(
                    f"{path}: a slice of kspace is {_size(shape)}, expected {_size(tuple(out.shape))}: "
                    "the file has changed since it was indexed, start again"
                )
            dataset.read_direct(out.numpy().reshape(shape), np.s_[index])

    def target(
        self, path: Path, index: int, size: tuple[int, int]
    ) -> Float[Tensor, "readout phase"]:
        """The stored target of one slice, cropped to `size` around its centre."""
        with self._files.reading(path) as file:
            name = next(name for name in REFERENCES if name in file)
            return _target(file[name], index, size)

    def centre_lines(self, path: Path) -> tuple[Bool[Tensor, " readout"], Bool[Tensor, " phase"]]:
        """Where the centre column and the centre row of k-space are not 0 in all coils of the middle slice."""
        with self._files.reading(path) as file:
            kspace = file["kspace"]
            middle, readout, phase = (n // 2 for n in (len(kspace), *kspace.shape[-2:]))
            lines = kspace[middle, ..., phase], kspace[middle, ..., readout, :]
        rows, columns = (torch.from_numpy(np.atleast_2d(line) != 0).any(dim=0) for line in lines)
        return rows, columns

    def has_corners(self, path: Path, box: tuple[int, int, int, int]) -> bool:
        """Whether the middle slice has samples at all corners of a box (row start, row stop, column start and stop)."""
        top, bottom, left, right = box
        rows = slice(top, bottom, max(bottom - 1 - top, 1))
        columns = slice(left, right, max(right - 1 - left, 1))
        with self._files.reading(path) as file:
            kspace = file["kspace"]
            corners = kspace[len(kspace) // 2, ..., rows, columns]
        return bool((corners != 0).reshape(-1, *corners.shape[-2:]).any(axis=0).all())


def write_fastmri(scan: Scan, path: Path) -> None:
    """Write a scan slice by slice, in the singlecoil layout if it has one coil.

    `mask` is written where all slices have the same columns, as in the public test sets; any other sampling pattern
    is represented by zeros in `kspace`.

    Raises:
        ValueError: if the scan has several volumes.
        OSError: if the disk is full.
    """
    if scan.volumes > 1:
        raise ValueError(
            f"fastMRI files hold one volume, {scan.source} has {scan.volumes}: write .mrd or .cfl"
        )
    slices, coils, readout, phase = scan.shape
    shape = scan.shape if coils > 1 else (slices, readout, phase)
    with writing(path) as (file, check):
        kspace = file.create_dataset("kspace", shape, np.complex64)
        first = scan.mask(0)
        same = True
        for index in range(slices):
            kspace[index] = scan.kspace(index).numpy().reshape(shape[1:])
            same = same and torch.equal(scan.mask(index), first)
            check()
        columns = first.any(dim=0)
        if same and not columns.all() and torch.equal(first, columns & scan.acquired):
            file["mask"] = columns.numpy()
        file["ismrmrd_header"] = _header(scan)
        for name, value in scan.attributes.items():
            numbers = isinstance(value, tuple | list) and all(
                isinstance(item, int | float) for item in value
            )
            plain = numbers or isinstance(value, str | int | float)
            file.attrs[name] = value if plain else json.dumps(value, default=str)
        if scan.reference is not None:
            _write_reference(
                scan, file, "reconstruction_rss" if coils > 1 else "reconstruction_esc"
            )
        write_own(scan, file.create_group("mrirecon"))


def _read(path: Path, name: str, index: int) -> Tensor:
    with reading(path) as file:
        return read_complex(file[name], index)


def _reference(path: Path, name: str, size: tuple[int, int]) -> Callable[[int], Tensor]:
    def reference(index: int) -> Tensor:
        with reading(path) as file:
            return _target(file[name], index, size)

    return reference


def _target(dataset: Any, index: int, size: tuple[int, int]) -> Tensor:
    target = torch.from_numpy(np.asarray(dataset[index], dtype=np.float32))
    rows, columns = centred_part(target.shape[0], size[0]), centred_part(target.shape[1], size[1])
    return target[rows, columns].contiguous()


def _write_reference(scan: Scan, file: Any, name: str) -> None:
    """The target, and the attributes `max` and `norm` that fastMRI's losses need, where they are missing."""
    assert scan.reference is not None
    target = file.create_dataset(name, (scan.shape[0], *scan.matrix), np.float32)
    largest, squares = 0.0, 0.0
    for index in range(scan.shape[0]):
        image = scan.reference(index)
        target[index] = image.numpy()
        largest = max(largest, float(image.max()))
        squares += float(image.double().square().sum())
    for key, value in (("max", largest), ("norm", squares**0.5)):
        if key not in file.attrs:
            file.attrs[key] = value


def _header(scan: Scan) -> str:
    """The scan's own XML header if it describes this grid correctly, otherwise a new one that does."""
    if scan.header is not None and not scan.is_3d:
        try:
            said = from_header(scan.source, scan.header, scan.shape)
        except ValueError:
            said = {}
        if said and said["crop"] == scan.crop and torch.equal(said["acquired"], scan.acquired):
            return scan.header
    # fastMRI counts lines from the first acquired one, so that the centre tells the padding before it.
    phase = scan.shape[3]
    columns = torch.nonzero(scan.acquired.any(dim=0))[:, 0].tolist()
    limit = (
        f"<kspace_encoding_step_1><minimum>0</minimum><maximum>{columns[-1] - columns[0]}</maximum>"
        f"<center>{max(phase // 2 - columns[0], 0)}</center></kspace_encoding_step_1>"
    )
    pattern = r"<kspace_encoding_step_1>\s*<minimum>.*?</kspace_encoding_step_1>"
    return re.sub(pattern, limit, build_header(scan), flags=re.DOTALL)


def _native(value: Any) -> Any:
    """Attributes as plain Python values, as h5py gives numpy scalars."""
    value = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
