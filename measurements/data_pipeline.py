"""Slices per second of the fastMRI-layout data pipeline beside `fastmri.data.SliceDataset` with `VarNetDataTransform`.

Makes a temporary folder of random 15-coil 640 x 368 volumes in the public layout and runs both through the same
DataLoader settings, one epoch each in turn, files in the page cache. The masks are random equispaced_fraction ones.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from time import perf_counter

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from mrirecon.training.end_to_end.data import FastMRIDataModule, MaskSpec

COILS, ROWS, COLUMNS = 15, 640, 368
HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>
<H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>
<encodedSpace><matrixSize><x>640</x><y>368</y><z>1</z></matrixSize>
<fieldOfView_mm><x>280</x><y>161</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>320</x><y>320</y><z>1</z></matrixSize>
<fieldOfView_mm><x>140</x><y>140</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>331</maximum>
<center>166</center></kspace_encoding_step_1></encodingLimits>
<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""


def write_volume(path: Path, slices: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", (slices, COILS, ROWS, COLUMNS), np.complex64)
        for index in range(slices):
            parts = random.standard_normal((2, COILS, ROWS, COLUMNS), dtype=np.float32)
            kspace[index] = parts[0] + 1j * parts[1]
        target = random.random((slices, 320, 320), dtype=np.float32)
        file["reconstruction_rss"] = target
        file["ismrmrd_header"] = HEADER
        file.attrs["max"] = target.max()


def official(root: Path, batch_size: int, workers: int) -> Iterable[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data import SliceDataset, subsample, transforms
    masks = subsample.EquispacedMaskFractionFunc([0.08], [4])
    transform = transforms.VarNetDataTransform(mask_func=masks, use_seed=False)
    dataset = SliceDataset(root / "multicoil_train", "multicoil", transform)
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def ours(root: Path, batch_size: int, workers: int) -> Iterable[object]:
    masks = [MaskSpec("fastmri_equispaced_fraction", 4, 0.08)]
    return FastMRIDataModule(root, masks, batch_size=batch_size, workers=workers).train_dataloader()


def epoch(loader: Iterable[object]) -> float:
    start = perf_counter()
    for _ in loader:
        pass
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "multicoil_train").mkdir()
        for volume in range(args.volumes):
            write_volume(root / "multicoil_train" / f"file{volume}.h5", args.slices, volume)
        slices = args.volumes * args.slices
        print(f"{slices} slices of {COILS} x {ROWS} x {COLUMNS}, batch size {args.batch_size}")
        print(f"{'workers':>8} {'fastmri':>10} {'mrirecon':>10}   slices/s")
        for workers in args.workers:
            loaders = [make(root, args.batch_size, workers) for make in (official, ours)]
            for loader in loaders:
                epoch(loader)
            times = [[epoch(loader) for loader in loaders] for _ in range(args.repeats)]
            peer, own = (slices / median(column) for column in zip(*times, strict=True))
            print(f"{workers:8} {peer:10.1f} {own:10.1f}   {own / peer:.2f} x")


if __name__ == "__main__":
    main()
