"""Time and memory of zero-filled RSS of a fastMRI-layout HDF5, beside reading the file and its inverse FFTs alone.

Makes a temporary file of random 15-coil 640 x 372 k-space with 40 slices; `--slices` makes it smaller. The file is in
the page cache for both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import h5py
import numpy as np
import torch
from peers import print_peak

from mrirecon.io import read_scan
from mrirecon.methods import ZeroFilled
from mrirecon.recon import run
from mrirecon.tensors import ifft2

COILS, ROWS, COLUMNS = 15, 640, 372


def write_file(path: Path, slices: int) -> None:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape = (slices, COILS, ROWS, COLUMNS)
        kspace = file.create_dataset("kspace", shape, np.complex64)
        for index in range(slices):
            parts = random.standard_normal((2, *shape[1:]), dtype=np.float32)
            kspace[index] = parts[0] + 1j * parts[1]


def ours(path: Path) -> torch.Tensor:
    return run(ZeroFilled(), read_scan(path)).image


def read_and_transform(path: Path) -> None:
    """The least there is to do: each slice read by h5py and transformed."""
    with h5py.File(path) as file:
        for index in range(len(file["kspace"])):
            ifft2(torch.from_numpy(file["kspace"][index]))


TOOLS = {"mrirecon": ours, "read + ifft": read_and_transform}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    if args.once:
        print_peak(partial(TOOLS[args.once[0]], Path(args.once[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.h5"
        write_file(path, args.slices)
        seconds: dict[str, list[float]] = {name: [] for name in TOOLS}
        for turn in range(args.repeats + 1):
            for name, tool in TOOLS.items():
                start = perf_counter()
                tool(path)
                if turn:  # the first warms up
                    seconds[name].append(perf_counter() - start)
        medians = {name: median(values) for name, values in seconds.items()}
        print(
            f"{args.slices} slices of {COILS} x {ROWS} x {COLUMNS}, {torch.get_num_threads()} threads"
        )
        for name in TOOLS:
            done = subprocess.run(
                [sys.executable, __file__, "--once", name, str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"  {name:12s} {medians[name]:6.2f} s   peak {float(done.stdout):6.0f} MB")
        print(f"  ratio of medians: {medians['mrirecon'] / medians['read + ifft']:.2f}")


if __name__ == "__main__":
    main()
