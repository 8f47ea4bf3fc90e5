"""Writing MRD (ISMRMRD HDF5) raw data: one acquisition for each readout that has samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrirecon.io.files import PathLike
from mrirecon.io.grid import VOLUME_COUNTERS
from mrirecon.io.hdf5 import writing
from mrirecon.io.mrd_header_writer import build_header
from mrirecon.scan import Scan
from mrirecon.tensors import fft2c

FIRST_IN_SLICE, LAST_IN_SLICE, LAST_IN_MEASUREMENT = 1 << 6, 1 << 7, 1 << 24
CALIBRATION = 1 << 19


@dataclass(frozen=True)
class _Block:
    """Readouts of one slice and volume: k-space (coil, readout, phase[, second phase]) and which samples to write."""

    volume: int
    index: int
    flags: int
    kspace: np.ndarray
    sampled: np.ndarray  # (readout, phase[, second phase])


def write_mrd(scan: Scan, path: PathLike) -> None:
    """Write every readout that has samples, one slice in memory at a time, and an XML header that describes `scan`.

    A 3D scan, and any whose mask leaves holes within readouts (a 2D mask), is written as a 3D acquisition: its slices
    are transformed back along the readout, one volume in memory. MRD raw data cannot hold the noise covariance and the
    reference images, which are left out.

    Raises:
        ValueError: if the mask leaves holes within readouts and varies from slice to slice.
        OSError: if the disk is full.
    """
    import h5py
    from ismrmrd.hdf5 import acquisition_dtype

    as_3d = scan.is_3d or _has_holes(scan)
    counters = _volume_counters(scan)
    with writing(Path(path)) as (file, check):
        header = build_header(scan, as_3d=as_3d, counters=counters).encode()
        # Declared ASCII, as by the ISMRMRD library: it cannot read strings declared UTF-8.
        file.create_dataset("dataset/xml", data=[header], dtype=h5py.string_dtype("ascii"))
        data = file.create_dataset(
            "dataset/data", (0,), maxshape=(None,), chunks=(256,), dtype=acquisition_dtype
        )
        for block in _blocks_3d(scan) if as_3d else _blocks_2d(scan):
            records = _records(block, acquisition_dtype)
            records["head"]["scan_counter"] = np.arange(len(records)) + len(data)
            for name, vector in _placement(scan, block.index, as_3d).items():
                records["head"][name] = vector
            for name, value in counters[block.volume].items():
                records["head"]["idx"][name] = value
            data.resize(len(data) + len(records), axis=0)
            data[len(data) - len(records) :] = records
            check()


def _records(block: _Block, dtype: np.dtype) -> np.ndarray:
    """One acquisition for each readout of the block that has samples, from its first to its last sample."""
    coils, size = block.kspace.shape[:2]
    encodes = np.argwhere(block.sampled.any(axis=0))
    records = np.zeros(len(encodes), dtype=dtype)
    head = records["head"]
    head["version"], head["flags"] = 1, block.flags
    head["active_channels"] = head["available_channels"] = coils
    head["idx"]["slice"] = block.index
    head["idx"]["kspace_encode_step_1"] = encodes[:, 0]
    if encodes.shape[1] > 1:
        head["idx"]["kspace_encode_step_2"] = encodes[:, 1]
    for record, encode in zip(records, encodes, strict=True):
        start, stop = _extent(block.sampled[(slice(None), *encode)])
        samples = block.kspace[(slice(None), slice(start, stop), *encode)]
        record["data"] = np.ascontiguousarray(samples).view(np.float32).reshape(-1)
        record["traj"] = np.zeros(0, np.float32)
        record["head"]["number_of_samples"] = stop - start
        record["head"]["center_sample"] = size // 2 - start
    head["flags"][:1] |= np.uint64(FIRST_IN_SLICE)
    head["flags"][-1:] |= np.uint64(LAST_IN_SLICE)
    return records


def _extent(sampled: np.ndarray) -> tuple[int, int]:
    where = np.flatnonzero(sampled)
    return int(where[0]), int(where[-1]) + 1


def _has_holes(scan: Scan) -> bool:
    """Whether some readout is not a contiguous run of samples that contains the k-space centre."""
    center = scan.shape[2] // 2
    for volume in range(scan.volumes):
        for index in range(scan.shape[0]):
            mask = scan.mask(index, volume).numpy()
            mask = mask[:, mask.any(axis=0)]
            first, last = mask.argmax(axis=0), len(mask) - mask[::-1].argmax(axis=0)
            if ((mask.sum(axis=0) != last - first) | (first > center) | (last <= center)).any():
                return True
    return False


def _blocks_2d(scan: Scan) -> Iterator[_Block]:
    for volume in range(scan.volumes):
        for index in range(scan.shape[0]):
            kspace, mask = scan.kspace(index, volume).numpy(), scan.mask(index, volume).numpy()
            yield _Block(volume, index, 0, kspace, mask)
            if scan.calibration is not None:
                kspace = scan.calibration(volume, index).numpy()
                # Written over the whole readout, so that its centre is always among the samples.
                lines = np.broadcast_to((kspace != 0).any(axis=(0, 1)), kspace.shape[1:])
                yield _Block(volume, index, CALIBRATION, kspace, lines)


def _blocks_3d(scan: Scan) -> Iterator[_Block]:
    for volume in range(scan.volumes):
        masks = [scan.mask(index, volume) for index in range(scan.shape[0])]
        if any(not torch.equal(mask, masks[0]) for mask in masks[1:]):
            raise ValueError(
                f"{scan.source}: its mask has holes within readouts and varies from slice to slice, "
                "which MRD cannot hold: write .npy or .cfl"
            )
        kspace = _along_readout(scan, lambda index: scan.kspace(index, volume))  # noqa: B023
        whole = np.broadcast_to(masks[0].numpy(), kspace.shape[1:])
        yield _Block(volume, 0, 0, kspace, whole)
        if (calibration := scan.calibration) is not None:
            kspace = _along_readout(scan, lambda index: calibration(volume, index))  # noqa: B023
            points = np.abs(kspace).max(axis=(0, 1)) > 0
            yield _Block(volume, 0, CALIBRATION, kspace, np.broadcast_to(points, kspace.shape[1:]))


def _along_readout(scan: Scan, read: Callable[[int], Tensor]) -> np.ndarray:
    """One volume with its slice axis transformed to readout samples, (coil, readout, phase, second phase)."""
    slices = torch.stack([read(index) for index in range(scan.shape[0])])
    return fft2c(slices, dim=(0,)).transpose(0, 1).numpy()


def _placement(scan: Scan, index: int, as_3d: bool) -> dict[str, tuple[float, float, float]]:
    """MRD position and directions of a slice, or of a 3D slab; empty where they are not known."""
    geometry = scan.geometry
    if geometry.directions is None or geometry.centers_mm is None:
        return {}
    names = (
        ("phase_dir", "slice_dir", "read_dir") if as_3d else ("read_dir", "phase_dir", "slice_dir")
    )
    center = geometry.centers_mm[len(geometry.centers_mm) // 2 if as_3d else index]
    return {"position": center, **dict(zip(names, geometry.directions, strict=True))}


def _volume_counters(scan: Scan) -> list[dict[str, int]]:
    """Counters of each volume, parsed from its name ("contrast 1 repetition 0"), else its number as repetition."""
    pattern = "|".join(VOLUME_COUNTERS)
    found = [
        {name: int(value) for name, value in re.findall(rf"\b({pattern}) (\d+)\b", text)}
        for text in scan.volume_names
    ]
    if len(found) == scan.volumes and len({tuple(row.items()) for row in found}) == scan.volumes:
        return found
    return [{"repetition": volume} for volume in range(scan.volumes)]
