"""Coil sensitivity maps as files, with the axes of k-space files and a JSON description beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from mrirecon.io.arrays import check_complex, complex_tensor
from mrirecon.io.cfl import (
    COIL,
    PHASE,
    PHASE2,
    READOUT,
    SETS,
    SLICE,
    open_cfl,
    pair,
    select_dims,
    write_cfl,
)
from mrirecon.io.file_array import FileArray
from mrirecon.io.files import (
    PathLike,
    check_target,
    existing_file,
    replacing,
    sidecar,
    suffix_of,
    write_json,
)
from mrirecon.io.hdf5 import check_whole, is_hdf5, names, read_complex, reading, writing
from mrirecon.io.numpy import is_npy, open_npy, read_npz, write_npy

READABLE = ".npy, .npz, .h5 and .cfl"
MAPS_SUFFIXES = (".npy", ".cfl", ".h5")


def read_maps(path: PathLike) -> Complex[Tensor, "slice *set coil readout phase"]:
    """Maps (slice, coil, readout, phase), or (slice, set, coil, readout, phase) where there are several sets.

    npy, npz (`maps` or the only array), HDF5 `maps`, and cfl with sets in dimension 4; (coil, readout, phase) is one
    slice. A three-dimensional cfl has its readout as the slice axis, as for k-space.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is damaged, real-valued, of another shape, or not finite.

    Example:
        mr.write_maps("maps.npy", maps[None], {"kind": "espirit"})
        again = mr.read_maps("maps.npy")  # (slice, coil, readout, phase)
    """
    maps = _load(Path(path))
    maps = maps[None] if maps.ndim == 3 else maps
    if maps.ndim not in (4, 5) or 0 in maps.shape:
        size = " x ".join(map(str, maps.shape))
        raise ValueError(
            f"{path}: maps are {size}, expected (slice, coil, readout, phase), "
            "with several sets (slice, set, coil, readout, phase)"
        )
    if not bool(torch.isfinite(maps.abs()).all()):
        raise ValueError(f"{path}: the maps hold NaN or infinite values: estimate them again")
    return maps


def write_maps(
    path: PathLike,
    maps: Complex[Tensor, "slice *set coil readout phase"],
    info: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write maps as .npy, .cfl or .h5 (dataset `maps`), and `info` as `<name>.json` (in .h5 as attribute `info` too).

    Raises:
        ValueError: if the suffix is none of these.
        OSError: as `files.check_target`, or if the disk is full.

    Example:
        mr.write_maps("maps.npy", maps[None], {"kind": "espirit"})
    """
    path = Path(path)
    suffix = suffix_of(path, MAPS_SUFFIXES)
    files = (pair(path)[1], path) if suffix == ".cfl" else (path,)
    for file in files:
        check_target(file, overwrite)
    maps = maps.detach().cpu().to(torch.complex64)
    with replacing(sidecar(path), *files) as (description, *companions, part):
        write_json(description, info)
        if suffix == ".npy":
            write_npy(part, tuple(maps.shape), maps)
        elif suffix == ".h5":
            with writing(part) as (file, _):
                file["maps"] = maps.numpy()
                file.attrs["info"] = json.dumps(json.loads(description.read_text()))
        else:
            sets = maps if maps.ndim == 5 else maps[:, None]
            axes = (SLICE, SETS, COIL, READOUT, PHASE)
            write_cfl(
                (part, companions[0]),
                dict(zip(axes, sets.shape, strict=True)),
                (one.transpose(-2, -1) for one in sets),
            )


def _load(path: Path) -> Tensor:
    array: np.ndarray | FileArray
    is_pair = not path.is_file() and any(part.is_file() for part in pair(path))
    if is_pair or path.suffix.lower() in (".cfl", ".hdr"):
        array = _from_cfl(path)
    elif is_hdf5(existing_file(path)) and path.suffix.lower() != ".mat":
        return _from_hdf5(path)
    elif path.suffix.lower() == ".npz":
        array = read_npz(path, "maps")["maps"]
    elif path.suffix.lower() == ".npy" or is_npy(path):
        array = open_npy(path)
    else:  # a .mat of v7.3 too, which is HDF5 with its axes in reverse order
        raise ValueError(f"{path}: maps are read from {READABLE}: save them as one of these")
    check_complex(str(path), "maps", array.shape, array.dtype)
    return complex_tensor(array)


def _from_cfl(path: Path) -> FileArray:
    array = open_cfl(path)
    known = (READOUT, PHASE, PHASE2, COIL, SETS, SLICE)
    unknown = [dim for dim, size in enumerate(array.shape) if size > 1 and dim not in known]
    if unknown or (array.shape[PHASE2] > 1 and array.shape[SLICE] > 1):
        raise ValueError(
            f"{path} has dimensions {' '.join(map(str, array.shape))}: maps may use 0 to 4 and 13"
        )
    array = select_dims(array, *known)
    three_d = array[..., 0].transpose(0, 4, 3, 1, 2)  # the readout is the slice axis
    two_d = array[:, :, 0].transpose(4, 3, 2, 0, 1)
    sets = three_d if array.shape[2] > 1 else two_d  # slice, set, coil, readout, phase
    return sets if sets.shape[1] > 1 else sets[:, 0]


def _from_hdf5(path: Path) -> Tensor:
    with reading(path) as file:
        found = names(file)
        if "maps" in found and hasattr(file["maps"], "dtype"):
            check_complex(str(path), "maps", file["maps"].shape, file["maps"].dtype)
            check_whole(str(path), file["maps"])
            return read_complex(file["maps"])
    raise ValueError(f"{path} has no dataset 'maps': it has {', '.join(found) or 'nothing'}")
