"""BART's pair of files: `name.cfl` (complex64, first dimension fastest) and `name.hdr` (its dimensions).

Dimensions used here, as in BART's `misc/mri.h`: 0 readout, 1 phase, 2 second phase, 3 coil, 4 sets of maps,
10 time (our volumes), 13 slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.arrays import (
    NO_HEADER,
    arrange,
    arranged_scan,
    check_kspace,
    complex_tensor,
    plain_scan,
)
from mrirecon.io.file_array import FileArray
from mrirecon.io.files import PathLike, existing_file
from mrirecon.io.kept_volumes import KeptVolumes, SampledVolume
from mrirecon.io.layout import USUAL, Layout
from mrirecon.scan import Scan
from mrirecon.tensors import fft2c, ifft2c

READOUT, PHASE, PHASE2, COIL, SETS, TIME, SLICE = 0, 1, 2, 3, 4, 10, 13
DIMENSIONS = 16


def pair(path: Path) -> tuple[Path, Path]:
    """`(name.cfl, name.hdr)`, given either file or the bare `name` that BART takes.

    Raises:
        IsADirectoryError: if the path has no file name, such as `.` or `/`.
    """
    if not path.name:
        raise IsADirectoryError(f"{path} is a folder: give a file")
    base = path.with_suffix("") if path.suffix.lower() in (".cfl", ".hdr") else path
    return base.with_name(base.name + ".cfl"), base.with_name(base.name + ".hdr")


def parts_of(path: Path) -> tuple[Path, ...]:
    """The files that an input consists of: both of a cfl pair, whichever of them is named, or the file itself.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be read.
    """
    both = pair(path)
    if (path in both or not path.is_file()) and all(part.is_file() for part in both):
        return both
    return (existing_file(path),)


def check_apart(outputs: Iterable[PathLike], inputs: Iterable[PathLike]) -> None:
    """Refuse to overwrite an input. Links are followed, and a cfl pair counts as both of its files.

    Raises:
        ValueError: if an output is one of the inputs, naming both.
    """
    for output in (path for path in map(Path, outputs) if path.exists()):
        for source in map(Path, inputs):
            alone = source.is_file() and source.suffix.lower() not in (".cfl", ".hdr")
            parts = (source,) if alone else (source, *pair(source))
            if any(part.exists() and output.samefile(part) for part in parts):
                which = "" if output == source else f", the same file as {source}"
                raise ValueError(
                    f"{output} is the input itself{which}, which would be lost: give another output"
                )


def open_cfl(path: Path) -> FileArray:
    """The complex64 array with its 16 dimensions; parts of it are read when they are needed.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if the header is not readable or does not fit the size of the data.
    """
    data, header = pair(path)
    for here, other in ((data, header), (header, data)):
        if not here.exists() and other.exists():
            raise FileNotFoundError(f"{other} has no {here.name} beside it: a cfl needs both files")
    dims = _dimensions(existing_file(header))
    expected, size = 8 * prod(dims), existing_file(data).stat().st_size
    if size != expected:
        raise ValueError(
            f"{data} has {size} bytes, but {header.name} says {_text(dims)} complex64 numbers, "
            f"which is {expected} bytes: the header or the data is of another file, or truncated"
        )
    return FileArray(data, 0, np.dtype("<c8"), dims, "F")


def select_dims(array: FileArray, *dims: int) -> FileArray:
    """The array with only these of its 16 dimensions, in ascending order; the others must have length 1."""
    return array.squeeze(tuple(dim for dim in range(DIMENSIONS) if dim not in dims))


def write_cfl(paths: tuple[Path, Path], dims: dict[int, int], blocks: Iterable[Tensor]) -> None:
    """Write the .cfl and .hdr in `paths`.

    Args:
        paths: `(name.cfl, name.hdr)`.
        dims: BART dimension -> size; dimensions that are left out have size 1.
        blocks: the numbers in file order, each block in C order with the first BART dimension as its last axis.
    """
    data, header = paths
    sizes = [dims.get(dim, 1) for dim in range(DIMENSIONS)]
    header.write_text(f"# Dimensions\n{_text(sizes)} \n# Creator\nmrirecon\n")
    with data.open("wb") as stream:
        for block in blocks:
            stream.write(np.ascontiguousarray(block.numpy(), dtype="<c8").data)


def read_cfl(path: Path, layout: Layout = USUAL) -> Scan:
    """A scan from BART k-space, read slice by slice; a second phase dimension (2) makes it a 3D scan.

    Where `layout` names axes, the names belong to the dimensions larger than 1 in their order, in place of BART's
    meaning of these dimensions.

    Raises:
        FileNotFoundError, ValueError: as `open_cfl`, and where other dimensions than
            0, 1, 2, 3, 10 and 13 are used.
    """
    array = open_cfl(path)
    source, dims = str(pair(path)[0]), array.shape
    layout.check(source, "cfl", "axes", "kspace_centre", "image_centre")
    if layout.names is not None:
        used = select_dims(array, *(dim for dim, size in enumerate(dims) if size > 1))
        arrangement = arrange(source, used.shape, used.dtype, layout, {})
        return arranged_scan(
            source, "cfl", arrangement, lambda volume, index: arrangement.read(used, volume, index)
        )
    known = (READOUT, PHASE, PHASE2, COIL, TIME, SLICE)
    other = {dim: size for dim, size in enumerate(dims) if size > 1 and dim not in known}
    if other or (dims[PHASE2] > 1 and dims[SLICE] > 1):
        raise ValueError(
            f"{source} has dimensions {_text(dims)}: k-space may use 0 (readout), 1 (phase), "
            "2 (second phase), 3 (coil), 10 (time) and 13 (slice, 2D scans only), the others must be 1; "
            "--axes names them otherwise"
        )
    three_d = dims[PHASE2] > 1
    shape = (
        (dims[READOUT], dims[COIL], dims[PHASE], dims[PHASE2])
        if three_d
        else (dims[SLICE], dims[COIL], dims[READOUT], dims[PHASE])
    )
    check_kspace(source, shape)
    volumes = dims[TIME]
    names = tuple(f"time {n}" for n in range(volumes)) if volumes > 1 else ()
    if three_d:
        return _scan_3d(source, array, shape, volumes, names)
    views = select_dims(array, READOUT, PHASE, COIL, TIME, SLICE)

    def read(volume: int, index: int) -> Tensor:
        return complex_tensor(views[:, :, :, volume, index].transpose(2, 0, 1))

    axes = _used(
        dims, {READOUT: "readout", PHASE: "phase", COIL: "coil", TIME: "volume", SLICE: "slice"}
    )
    return plain_scan(source, "cfl", shape, read, volumes=volumes, volume_names=names, axes=axes)


def _used(dims: tuple[int, ...], names: dict[int, str]) -> tuple[str, ...]:
    """Names (of `layout.AXES`) of the dimensions that are larger than 1."""
    return tuple(name for dim, name in names.items() if dims[dim] > 1)


def _scan_3d(
    source: str,
    array: FileArray,
    shape: tuple[int, int, int, int],
    volumes: int,
    names: tuple[str, ...],
) -> Scan:
    """A 3D scan as 2D problems over its two phase encodings, after an inverse FFT along the readout."""
    views = select_dims(array, READOUT, PHASE, PHASE2, COIL, TIME)

    def transformed(volume: int) -> SampledVolume:
        # coil, phase2, phase, readout, which is the order of the file
        kspace = complex_tensor(views[..., volume].transpose(3, 2, 1, 0))
        if not bool(torch.isfinite(kspace.sum())) and not bool(torch.isfinite(kspace).all()):
            raise ValueError(
                f"{source}: k-space holds NaN or infinite samples: repair or re-export the file"
            )
        sampled = (kspace != 0).any(dim=0)
        lines = sampled[
            ..., sampled.any(dim=(0, 1))
        ]  # of a partial echo the readout has empty points
        if bool((lines.any(dim=-1) != lines.all(dim=-1)).any()):
            raise ValueError(
                f"{source}: a 3D scan must be fully sampled along the readout (dimension 0): "
                "bring the fully sampled direction there, for instance with bart transpose"
            )
        mask = sampled.any(dim=-1).T
        phase, phase2 = mask.nonzero().T
        samples = ifft2c(kspace[:, phase2, phase], dim=(-1,))
        return SampledVolume(samples.movedim(-1, 0).contiguous(), mask)

    volume_of = KeptVolumes(transformed)
    return plain_scan(
        source,
        "cfl",
        shape,
        lambda volume, index: volume_of(volume).plane(index),
        sampling=lambda volume, index: volume_of(volume).mask,
        volumes=volumes,
        volume_names=names,
        is_3d=True,
        axes=_used(
            array.shape,
            {READOUT: "slice", PHASE: "readout", PHASE2: "phase", COIL: "coil", TIME: "volume"},
        ),
        notes=(NO_HEADER, "3D scan: slices run along the readout, after its inverse FFT"),
    )


def write_scan_cfl(scan: Scan, paths: tuple[Path, Path]) -> None:
    """Write k-space in BART's dimensions: 2D slices in dimension 13; a 3D scan with its readout transformed back."""
    slices, coils, readout, phase = scan.shape
    if scan.is_3d:
        dims = {READOUT: slices, PHASE: readout, PHASE2: phase, COIL: coils, TIME: scan.volumes}
        write_cfl(paths, dims, _blocks_3d(scan))
    else:
        dims = {READOUT: readout, PHASE: phase, COIL: coils, TIME: scan.volumes, SLICE: slices}
        write_cfl(paths, dims, slice_blocks(scan.kspace, slices, scan.volumes))


def slice_blocks(
    read: Callable[[int, int], Complex[Tensor, "*coil readout phase"]], slices: int, volumes: int
) -> Iterable[Tensor]:
    """Blocks of `write_cfl` from `read(slice, volume)`: slice (13) varies slowest, then time (10); readout fastest."""
    for index in range(slices):
        for volume in range(volumes):
            yield read(index, volume).transpose(-2, -1)


def _blocks_3d(scan: Scan) -> Iterable[Tensor]:
    for volume in range(scan.volumes):
        kspace = torch.stack([scan.kspace(index, volume) for index in range(scan.shape[0])])
        kspace = fft2c(kspace, dim=(0,))  # slice, coil, phase, phase2
        yield kspace.permute(1, 3, 2, 0)


def _dimensions(header: Path) -> tuple[int, ...]:
    lines = [line.strip() for line in header.read_text(errors="replace").splitlines()]
    try:
        dims = tuple(int(word) for word in lines[lines.index("# Dimensions") + 1].split())
    except (ValueError, IndexError):
        dims = ()
    if not 1 <= len(dims) <= DIMENSIONS or min(dims) < 1:
        raise ValueError(
            f"{header} is no BART header: below '# Dimensions' it must hold 1 to 16 sizes"
        )
    return dims + (1,) * (DIMENSIONS - len(dims))


def _text(dims: Iterable[int]) -> str:
    return " ".join(map(str, dims))
