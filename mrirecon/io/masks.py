"""Sampling masks as files: npy, npz, cfl, HDF5 dataset `mask`, or a black-and-white png."""

from __future__ import annotations

import warnings
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from mrirecon.io.cfl import open_cfl, pair
from mrirecon.io.file_array import FileArray
from mrirecon.io.files import PathLike, check_target, existing_file, replacing, suffix_of
from mrirecon.io.hdf5 import is_hdf5, names, read_array, reading
from mrirecon.io.layout import size_text
from mrirecon.io.mask_arrays import AGAIN, LARGEST, as_mask
from mrirecon.io.numpy import open_npy, read_npz

MASK_SUFFIXES = (".npy", ".png")


def read_mask(path: PathLike) -> Bool[Tensor, "..."]:
    """A mask (readout, phase), or (phase,) for whole columns (`mask_arrays.expand_mask` makes it two-dimensional).

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is damaged, of another kind, or holds anything but 0 and 1.
    """
    path = Path(path)
    if not path.exists() and any(part.exists() for part in pair(path)):
        path = pair(path)[0]
    suffix = path.suffix.lower()
    if suffix in (".cfl", ".hdr"):
        return as_mask(path, _image_plane(open_cfl(path)))
    existing_file(path)
    if suffix == ".npy":
        return as_mask(path, open_npy(path))
    if suffix == ".npz":
        return as_mask(path, read_npz(path, "mask")["mask"])
    if suffix == ".png":
        return as_mask(path, _read_png(path))
    if is_hdf5(path) and suffix != ".mat":  # MATLAB's have their axes in reverse order
        return as_mask(path, _read_hdf5(path))
    raise ValueError(f"{path} is no mask file: give npy, npz, cfl, png, or HDF5 with a 'mask'")


def write_mask(
    path: PathLike, mask: Bool[Tensor, "readout phase"], overwrite: bool = False
) -> None:
    """Write a mask as .npy (bool) or .png (white is sampled; rows are the readout).

    Raises:
        ValueError: if the suffix is neither.
        OSError: as `files.check_target`, or if the disk is full.
    """
    suffix = suffix_of(path, MASK_SUFFIXES)
    with replacing(check_target(path, overwrite)) as (part,):
        if suffix == ".npy":
            np.save(part, mask.numpy(), allow_pickle=False)
        else:
            from PIL import Image

            Image.fromarray(mask.numpy().astype(np.uint8) * 255).save(part)


def _image_plane(array: FileArray) -> FileArray:
    """The two image dimensions of a BART mask: 0 and 1, or 1 and 2 as written by `bart poisson`."""
    kept = (1, 2) if array.shape[0] == 1 and array.shape[2] > 1 else (0, 1)
    others = tuple(dim for dim in range(array.ndim) if dim not in kept)
    if any(array.shape[dim] > 1 for dim in others):
        return array.squeeze()  # more than two axes: `as_mask` names them
    return array.squeeze(others)


def _read_png(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    content = BytesIO(
        path.read_bytes()
    )  # reading from the file, PIL allocates what a damaged chunk states
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(content)
        size = picture.size
        levels = np.asarray(picture.convert("L")) if prod(size) <= LARGEST else None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: the picture is larger than any k-space: {AGAIN}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: the picture is truncated or no png: {error}") from error
    if levels is None:
        raise ValueError(
            f"{path}: the picture is {size_text(size)}, larger than any k-space: {AGAIN}"
        )
    return levels // 255 if set(np.unique(levels)) <= {0, 255} else levels


def _read_hdf5(path: Path) -> np.ndarray:
    with reading(path) as file:
        found = names(file)
        if "mask" in found:
            return np.squeeze(read_array(str(path), file["mask"]))
    raise ValueError(f"{path} has no dataset 'mask': it has {', '.join(found) or 'nothing'}")
