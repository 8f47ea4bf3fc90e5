"""Time and memory of zero-filled RSS of a fastMRI-layout HDF5, beside reading the file and its inverse FFTs alone.

Makes a temporary file of random 15-coil 640 x 372 k-space with 40 slices. The file is in the page cache for both;
times are those of a slice.
"""

from __future__ import annotations

import atexit
import tempfile
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
import torch
from peers import Call, Case, main

from mrirecon.io import read_scan
from mrirecon.methods import ZeroFilled
from mrirecon.recon import run
from mrirecon.tensors import ifft2

SLICES = 40
COILS, ROWS, COLUMNS = 15, 640, 372


@cache
def scan_file() -> Path:
    """The file, made once in a process."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name, "scan.h5")
    write_file(path, SLICES)
    return path


def write_file(path: Path, slices: int) -> None:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape = (slices, COILS, ROWS, COLUMNS)
        kspace = file.create_dataset("kspace", shape, np.complex64)
        for index in range(slices):
            parts = random.standard_normal((2, *shape[1:]), dtype=np.float32)
            kspace[index] = parts[0] + 1j * parts[1]


def ours() -> Call:
    path = scan_file()
    return lambda: run(ZeroFilled(), read_scan(path)).image


def least() -> Call:
    """The least there is to do: each slice read by h5py and transformed."""
    return partial(read_and_transform, scan_file())


def read_and_transform(path: Path) -> None:
    with h5py.File(path) as file:
        for index in range(len(file["kspace"])):
            ifft2(torch.from_numpy(file["kspace"][index]))


CASES = {
    "zero_filled, 40 slices of 15 coils 640 x 372": Case(
        {"mrirecon": ours, "read + ifft": least}, work=SLICES
    )
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
