"""Seconds a slice of the fastMRI-layout data pipeline beside `fastmri.data.SliceDataset` with `VarNetDataTransform`.

Makes a temporary folder of random 15-coil 640 x 368 volumes in the public layout and runs both through the same
DataLoader settings, an epoch a call, files in the page cache. The masks are random equispaced_fraction ones. Processor
time (--clock cpu) misses what workers do.
"""

from __future__ import annotations

import atexit
import tempfile
import warnings
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

import h5py
import numpy as np
from peers import Call, Case, main
from torch.utils.data import DataLoader

from mrirecon.training.end_to_end.data import FastMRIDataModule, MaskSpec

VOLUMES, SLICES = 3, 8
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


@cache
def training_folder() -> Path:
    """The folder, made once in a process."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    root = Path(folder.name)
    (root / "multicoil_train").mkdir()
    for volume in range(VOLUMES):
        write_volume(root / "multicoil_train" / f"file{volume}.h5", SLICES, volume)
    return root


def official(workers: int) -> Call:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri.data import SliceDataset, subsample, transforms
    masks = subsample.EquispacedMaskFractionFunc([0.08], [4])
    transform = transforms.VarNetDataTransform(mask_func=masks, use_seed=False)
    dataset = SliceDataset(training_folder() / "multicoil_train", "multicoil", transform)
    kept = workers > 0
    loader = DataLoader(dataset, 1, shuffle=True, num_workers=workers, persistent_workers=kept)
    return partial(epoch, loader)


def ours(workers: int) -> Call:
    masks = [MaskSpec("fastmri_equispaced_fraction", 4, 0.08)]
    module = FastMRIDataModule(training_folder(), masks, batch_size=1, workers=workers)
    return partial(epoch, module.train_dataloader())


def epoch(loader: Iterable[object]) -> None:
    for _ in loader:
        pass


CASES = {
    f"data pipeline, 15 coils 640 x 368, {workers} workers{', clock time' if workers else ''}": Case(
        {"mrirecon": partial(ours, workers), "fastmri": partial(official, workers)},
        work=VOLUMES * SLICES,
        wall=workers > 0,
    )
    for workers in (0, 1, 2)
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
