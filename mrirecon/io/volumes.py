"""Reconstructions as files: the suffix sets the format, and `<name>.json` beside the image describes it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.io.cfl import (
    PHASE,
    READOUT,
    SLICE,
    TIME,
    check_apart,
    open_cfl,
    pair,
    select_dims,
    slice_blocks,
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
from mrirecon.io.hdf5 import is_hdf5, names, read_array, reading, writing
from mrirecon.io.nifti import read_image, write_nifti
from mrirecon.io.numpy import open_npy, write_npy
from mrirecon.scan import Volume

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".h5", ".npy", ".cfl", ".dcm", ".dicom")
DICOM = (".dcm", ".dicom")  # one object, and a folder of single images
ONE_VOLUME = (".h5", ".npy", ".dcm")
TARGETS = ("reconstruction", "reconstruction_rss", "reconstruction_esc")


def check_output(path: PathLike, overwrite: bool = False, inputs: Iterable[PathLike] = ()) -> Path:
    """The path, after checking that `write_volume` can write it; to be called before a long reconstruction.

    Raises:
        ValueError: if the suffix is not one of `VOLUME_SUFFIXES`, the path is one of the `inputs`, or a folder that
            would be replaced holds more than images in DICOM.
        OSError: as `files.check_target`: no such folder, file exists, is a folder, read-only.
        ModuleNotFoundError: if it is DICOM and pydicom is missing.
    """
    path = Path(path)
    check_apart(volume_files(path), inputs)
    suffix = suffix_of(path, VOLUME_SUFFIXES)
    for file in _files(path):
        check_target(file, overwrite, is_folder=suffix == ".dicom")
    if suffix in DICOM:
        from mrirecon.io.dicom_writer import check_pydicom

        check_pydicom(path)
        others = [one.name for one in _inside(path) if not re.fullmatch(r"\d{4,}\.dcm", one.name)]
        if others:
            raise ValueError(
                f"{path} holds {others[0]}, which was not written here and would be lost: give another name"
            )
    return path


def volume_files(path: PathLike) -> tuple[Path, ...]:
    """All files of an output, its JSON first; those of a folder that is there with it."""
    return sidecar(path), *_files(Path(path)), *_inside(Path(path))


def is_complete(path: PathLike) -> bool:
    """Whether an output was written completely; the image is renamed into place last, after its JSON."""
    is_folder = suffix_of(path, VOLUME_SUFFIXES) == ".dicom"
    images = _files(Path(path))
    there = (image.is_dir() if is_folder else image.is_file() for image in images)
    return sidecar(path).is_file() and all(there)


def write_volume(
    volume: Volume,
    path: PathLike,
    *,
    overwrite: bool = False,
    inputs: Iterable[PathLike] = (),
    beside: Mapping[Path, Mapping[str, Any]] | None = None,
) -> tuple[str, ...]:
    """Write a reconstruction and its JSON, and further JSON files `beside` it; all appear whole or not at all.

    `.nii.gz` and `.nii`: float32 magnitude (readout, phase, slice[, volume]). `.h5`: float32 magnitude
    `reconstruction` (slice, readout, phase). `.npy`: complex64 (slice, readout, phase). `.cfl`: complex64 in BART's
    dimensions, slices in 13 and volumes in 10. `.dcm`: DICOM, one Enhanced MR Image; `.dicom`: a folder of MR Images,
    one a slice; both are Secondary Capture where the geometry is unknown. Intensities are those of the k-space, never
    rescaled (to 1/65535 of the largest in DICOM). Each image of `volume.extras` becomes a file of the same type beside
    it, NAME_std for `std`; older ones are replaced. The `inputs`, from which the volume was made, are never replaced.

    Returns:
        What the format could not hold, one sentence each; the JSON has them among its notes.

    Raises:
        ValueError: for an unknown suffix, several volumes in .h5, .npy or .dcm, or a file that is one of the `inputs`.
        OSError: as `check_output`, or if the disk is full.
        ModuleNotFoundError: if it is DICOM and pydicom is missing.

    Example:
        mr.write_volume(volume, "brain.nii.gz")
    """
    path = check_output(path, overwrite, inputs)
    suffix = check_volumes(path, len(volume.image))
    beside = beside or {}
    extras = {name: _files(extra_path(path, name)) for name in volume.extras}
    names = [file for files in extras.values() for file in files]
    check_apart([*names, *beside], inputs)
    for file in beside:
        check_target(file, overwrite)
    if suffix in DICOM:
        from mrirecon.io.dicom_modules import identified

        volume = identified(volume)
    lost = _lost(volume, suffix)
    if lost:
        notes = [*volume.info.get("notes", ()), *lost]
        volume = replace(volume, info={**volume.info, "notes": notes})
    outputs = [*names, *_files(path)]
    folders = outputs if suffix == ".dicom" else ()
    with replacing(sidecar(path), *beside, *outputs, folders=folders) as (info, *parts):
        write_json(info, describe(volume))
        left = iter(parts)
        for content in beside.values():
            write_json(next(left), content)
        for name, files in extras.items():
            image = volume.extras[name].detach().cpu().to(torch.complex64)
            _write_image(image, volume, [next(left) for _ in files], suffix, name)
        _write_image(volume.image.detach().cpu().to(torch.complex64), volume, list(left), suffix)
    return lost


def check_volumes(path: PathLike, volumes: int) -> str:
    """The suffix of an output, after checking that its format can hold so many volumes.

    Raises:
        ValueError: for an unknown suffix, or several volumes in .h5, .npy or .dcm.
    """
    suffix = suffix_of(path, VOLUME_SUFFIXES)
    if volumes > 1 and suffix in ONE_VOLUME:
        raise ValueError(
            f"{path}: {suffix} holds one volume, this reconstruction has {volumes}: "
            f"write {'.dicom' if suffix == '.dcm' else '.nii.gz, .nii or .cfl'}, or one of them, such as --volume 0"
        )
    return suffix


def _lost(volume: Volume, suffix: str) -> tuple[str, ...]:
    """What the volume has and the format cannot hold, one sentence each."""
    if suffix not in DICOM:
        return ()
    from mrirecon.io.dicom_frames import scale_of

    scale = scale_of(volume.image)
    lost = {
        f"DICOM shows the intensities times {scale:.0e}, for viewers; its real world values are unscaled": scale
        != 1,
        "the orientation is unknown: this DICOM is Secondary Capture, which states no position (--like or "
        "--orientation give one)": not volume.geometry.known,
        "voxels that are not a number are 0 in DICOM": not all(
            bool(torch.isfinite(image).all()) for image in volume.extras.values()
        ),
    }
    return tuple(sentence for sentence, is_lost in lost.items() if is_lost)


def extra_path(path: PathLike, name: str) -> Path:
    """`brain.nii.gz`, `std` -> `brain_std.nii.gz`; of a BIDS name `sub-1_rec-dds_desc-std_T1w.nii.gz`."""
    path = Path(path)
    suffix = suffix_of(path, VOLUME_SUFFIXES)
    stem, suffix = path.name[: -len(suffix)], path.name[-len(suffix) :]
    if named := re.fullmatch(r"(sub-.*_rec-[a-zA-Z0-9]+)(_[a-zA-Z0-9]+)", stem):
        return path.with_name(
            f"{named[1]}_desc-{re.sub('[^a-zA-Z0-9]', '', name)}{named[2]}{suffix}"
        )
    return path.with_name(f"{stem}_{name}{suffix}")


def _write_image(
    image: Complex[Tensor, "volume slice readout phase"],
    volume: Volume,
    parts: list[Path],
    suffix: str,
    name: str = "",
) -> None:
    volumes, slices, readout, phase = image.shape
    if suffix == ".h5":
        with writing(parts[-1]) as (file, _):
            file["reconstruction"] = image[0].abs().numpy()
    elif suffix == ".npy":
        write_npy(parts[-1], (slices, readout, phase), [image[0]])
    elif suffix == ".cfl":
        dims = {READOUT: readout, PHASE: phase, TIME: volumes, SLICE: slices}
        blocks = slice_blocks(lambda index, volume: image[volume, index], slices, volumes)
        write_cfl((parts[1], parts[0]), dims, blocks)
    elif suffix in DICOM:
        from mrirecon.io.dicom_writer import write_multiframe, write_singles

        write = write_multiframe if suffix == ".dcm" else write_singles
        write(image, volume, parts[-1], name)
    else:
        write_nifti(Volume(image=image, geometry=volume.geometry, info=volume.info), parts[-1])


def describe(volume: Volume) -> Mapping[str, Any]:
    """The content of the JSON beside an output."""
    from mrirecon import __version__

    return {
        **volume.info,
        "geometry": {
            "known": volume.geometry.known,
            "voxel_mm": volume.geometry.voxel_mm,
            "note": volume.geometry.note,
        },
        "versions": {
            "mrirecon": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def read_volume(path: PathLike, volume: int | None = None) -> Float[Tensor, "slice readout phase"]:
    """Magnitude of one volume, for metrics: an output of `write_volume`, or the target in a fastMRI file.

    Args:
        path: of the file.
        volume: which one of a file that has several, counted from 0.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is damaged, of another kind, empty, or has several volumes and none of them is chosen.

    Example:
        target = mr.read_volume("scan.h5")  # (slice, readout, phase)
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in DICOM:
        raise ValueError(
            f"{path} is DICOM, whose rows and columns are turned for viewers: give the volume as .nii.gz, .npy or .h5"
        )
    array: np.ndarray | FileArray
    if suffix in (".cfl", ".hdr"):
        array = _image_of_cfl(path)
    elif suffix == ".npy":
        array = open_npy(path)
    elif is_hdf5(existing_file(path)):
        with reading(path) as file:
            found = names(file)
            target = next((name for name in TARGETS if name in found), None)
            array = read_array(str(path), file[target]) if target else np.empty(0)
        if target is None:
            raise ValueError(
                f"{path} has no image ({', '.join(TARGETS)}): it has {', '.join(found) or 'nothing'}; of k-space "
                "reconstruct one first"
            )
    else:
        data, _ = read_image(path)
        array = np.moveaxis(data, (0, 1, 2), (-2, -1, -3))
    if array.ndim == 4:
        array = array[0 if len(array) == 1 else _chosen(path, len(array), volume)]
    if array.ndim != 3 or array.dtype.kind not in "fciu":
        size = " x ".join(map(str, array.shape))
        raise ValueError(
            f"{path} is {size} of {array.dtype}: give one volume (slice, readout, phase)"
        )
    _refuse_empty(path, array)
    return torch.from_numpy(np.array(np.abs(array), dtype=np.float32, order="C", copy=True))


def read_complex(path: PathLike) -> Complex[Tensor, "volume slice readout phase"]:
    """The complex image of a .npy or .cfl written by `write_volume`; a real-valued image has phase 0.

    Raises:
        FileNotFoundError, IsADirectoryError: if there is no such file.
        ValueError: if it is damaged, no image, empty, or holds NaN or infinite values.
    """
    path = Path(path)
    array = _image_of_cfl(path) if path.suffix.lower() == ".cfl" else open_npy(path)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.dtype.kind not in "fc":
        size = " x ".join(map(str, array.shape))
        raise ValueError(
            f"{path} is {size} of {array.dtype}: give an image (slice, readout, phase), complex or real"
        )
    _refuse_empty(path, array)
    image = torch.from_numpy(np.array(array, dtype=np.complex64, order="C", copy=True))
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"{path}: the image holds NaN or infinite values: reconstruct it again")
    return image


def _chosen(path: Path, count: int, volume: int | None) -> int:
    if volume is None:
        raise ValueError(
            f"{path} has {count} volumes: choose one, such as --volume 0 for the first"
        )
    if not 0 <= volume < count:
        raise ValueError(f"volume {volume}: {path} has volumes 0 to {count - 1}")
    return volume


def _refuse_empty(path: Path, array: np.ndarray | FileArray) -> None:
    if array.size == 0:
        size = " x ".join(map(str, array.shape))
        raise ValueError(f"{path} holds no image, it is {size}: write it again")


def _image_of_cfl(path: Path) -> FileArray:
    """The image in BART's dimensions as (volume, slice, readout, phase)."""
    array = open_cfl(path)
    known = (READOUT, PHASE, TIME, SLICE)
    if any(size > 1 and dim not in known for dim, size in enumerate(array.shape)):
        raise ValueError(
            f"{path} has dimensions {' '.join(map(str, array.shape))}: an image may use 0, 1, 10 and 13"
        )
    return select_dims(array, *known).transpose(2, 3, 0, 1)


def _files(path: Path) -> tuple[Path, ...]:
    """The files of an output, the one that makes it complete last."""
    if suffix_of(path, VOLUME_SUFFIXES) == ".cfl":
        data, header = pair(path)
        return header, data
    return (path,)


def _inside(path: Path) -> tuple[Path, ...]:
    """What is in the folder that an output is, if there is one."""
    is_folder = suffix_of(path, VOLUME_SUFFIXES) == ".dicom" and path.is_dir()
    return tuple(sorted(path.iterdir())) if is_folder else ()
