"""Convert Calgary-Campinas raw data (HDF5 or npy) to a training set in the fastMRI layout.

What the files hold, by the challenge's own code (github.com/rmsouza01/MC-MRI-Rec) and by `CalgaryCampinasDataset` of
DIRECT (github.com/NKI-AI/direct): real numbers (x, ky, kz, 2 x coils), real and imaginary parts alternating, of 1 mm
isotropic 3D T1-weighted heads; the readout x is an image axis already. A plain inverse FFT over (ky, kz), without any
shift, gives the image with the head in its middle. The zero frequency lies at N / 2 in the 12 and 32 coil data and at 0
in the one coil data; it is found by its energy. Of kz the first 85 % were acquired with several coils; the rest is set
to 0, as DIRECT does.

Writes 2D slices along x, (ky, kz) as (readout, phase), with the RSS of that k-space as target.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from conversion import add_options, convert, find_files, read_split, with_target
from script import parser, run
from torch import Tensor

from mrirecon.geometry import Geometry
from mrirecon.io.arrays import plain_scan
from mrirecon.io.hdf5 import reading
from mrirecon.scan import Scan
from mrirecon.tensors import fftshift

ORIGINS = ("auto", "middle", "corner")
VOXEL_MM = (1.0, 1.0, 1.0)
ACQUIRED = 0.85


def main(args: argparse.Namespace) -> int:
    """Find, split, convert."""
    if args.acquired is not None and not 0.5 < args.acquired <= 1:
        raise ValueError(f"--acquired is {args.acquired}: give a share above 0.5, at most 1")
    files = find_files(args.inputs, (".h5", ".npy"))
    places = read_split(args.split, files, patient_of)
    return convert(
        args, files, places, lambda file: [(file.stem, read(file, args.acquired, args.origin))]
    )


def patient_of(file: Path) -> str:
    """The exam number: e14079 of e14079s3_P09216.7.h5; scans of one exam are of one person."""
    match = re.match(r"e\d+", file.name)
    return match[0] if match else file.stem


def read(file: Path, acquired: float | None, origin: str) -> Scan:
    """One volume, read slice by slice, with its target.

    Raises:
        ValueError: if the file is damaged or of another kind, or the middle of its k-space is not found.
    """
    shape, stored = _opened(file)
    x, ky, kz, channels = shape
    grid = (ky, kz)
    if origin == "auto":
        origin = origin_of(_complex(stored(x // 2)), file)
    known = torch.zeros(grid, dtype=torch.bool)
    share = acquired or (ACQUIRED if channels > 2 else 1.0)
    known[:, : math.ceil(share * kz)] = True
    phase = torch.outer(*(_shift_phase(n) for n in grid))

    def slice_of(_: int, index: int) -> Tensor:
        kspace = _complex(stored(index))
        kspace = fftshift(kspace) if origin == "corner" else kspace
        return (kspace * known * phase).to(torch.complex64)

    scan = plain_scan(
        str(file),
        "calgary-campinas",
        (x, channels // 2, ky, kz),
        slice_of,
        acquired=known,
        sampling=lambda volume, index: known,
        geometry=Geometry(voxel_mm=VOXEL_MM, note="1 mm isotropic, by the data set's description"),
        attributes={"acquisition": "T1"},
        notes=(f"zero frequency found in the {origin} of k-space",),
    )
    return with_target(scan, 1.0)


def origin_of(kspace: Tensor, file: Path) -> str:
    """Whether the zero frequency lies in the middle or in the corner, by the energy of a block around each.

    Raises:
        ValueError: if neither has ten times that of the other.
    """
    power = kspace.abs().square().sum(dim=0)
    rows, columns = (max(1, n // 32) for n in power.shape)
    middle, corner = (
        float(
            part[n // 2 - rows : n // 2 + rows + 1, m // 2 - columns : m // 2 + columns + 1].sum()
        )
        for part in (power, fftshift(power))
        for n, m in [part.shape]
    )
    if max(middle, corner) < 10 * min(middle, corner) or max(middle, corner) == 0:
        raise ValueError(f"{file}: the middle of k-space is not found by its energy: give --origin")
    return "middle" if middle > corner else "corner"


def _shift_phase(n: int) -> Tensor:
    """exp(2 pi i (k - c) c / n), c = n // 2: from a transform whose image origin is index 0 to one where it is c."""
    c = n // 2
    return torch.exp(2j * math.pi * c / n * (torch.arange(n, dtype=torch.float64) - c))


def _complex(stored: np.ndarray) -> Tensor:
    """(ky, kz, 2 x coils) -> complex (coil, ky, kz)."""
    pairs = torch.from_numpy(np.ascontiguousarray(stored, dtype=np.float64))
    return torch.complex(pairs[..., ::2], pairs[..., 1::2]).movedim(-1, 0)


def _opened(file: Path) -> tuple[tuple[int, ...], Callable[[int], np.ndarray]]:
    """Shape of the array and a function that reads one slice.

    Raises:
        ValueError: if there is no such array.
    """
    if file.suffix.lower() == ".npy":
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{file} is no npy array, or a damaged one: copy it again") from error
        shape, kind = array.shape, array.dtype.kind
    else:
        with reading(file) as opened:
            found = list(opened)
            dataset = opened["kspace"] if "kspace" in found else None
            shape, kind = (
                getattr(dataset, "shape", ()),
                getattr(dataset, "dtype", np.dtype("O")).kind,
            )
        if "kspace" not in found:
            raise ValueError(f"{file} has no 'kspace': it has {', '.join(found) or 'nothing'}")
    if len(shape) != 4 or kind != "f" or shape[3] % 2 or not all(shape):
        size = " x ".join(map(str, shape))
        raise ValueError(
            f"{file} is {size} of kind {kind!r}: Calgary-Campinas files are real (x, ky, kz, 2 x coils)"
        )

    def stored(index: int) -> np.ndarray:
        if file.suffix.lower() == ".npy":
            return np.asarray(array[index])
        with reading(file) as opened:
            return np.asarray(opened["kspace"][index])

    return shape, stored


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(
        __doc__,
        "python data_scripts/convert_calgary_campinas.py Train --output data --skip_ends 50",
    )
    add_options(made)
    made.add_argument(
        "--acquired",
        type=float,
        metavar="F",
        help="share of kz that was acquired, from its first column (default: 0.85, with one coil 1)",
    )
    made.add_argument(
        "--origin",
        choices=ORIGINS,
        default="auto",
        help="where the zero frequency lies in k-space (default: auto)",
    )
    return made


if __name__ == "__main__":
    sys.exit(run(main, options()))
