"""Small stand-ins for the files that the pages speak of."""

import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from blocks import ROOT, blocks

from mrirecon.io import write_scan
from mrirecon.masks import make_mask
from mrirecon.methods import METHODS
from mrirecon.networks import MODELS, NETWORKS
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

SHAPE = (40, 32)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -24], [0, 0, 4, 10], [0, 0, 0, 1.0]])


def image(gain=1.0, slices=3):
    fading = np.linspace(1, 0.6, slices)
    return (gain * shepp_logan(SHAPE).numpy()[:, :, None] * fading).astype(np.float32)


def scan(seed=0, **options):
    return simulate_scan(
        image(0.5 + seed / 4), coils=4, snr=60.0, affine=AFFINE, seed=seed, **options
    ).scan


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """The folder that every page is run in a copy of."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("configs", "data_scripts", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("scan.h5", "full.h5", "scan.mrd", "other.mrd", "scan.cfl"):
        write_scan(scan(), folder / name)
    kspace = torch.stack([scan().kspace(index) for index in range(3)])
    np.save(folder / "kspace.npy", kspace.numpy())
    nibabel.save(nibabel.Nifti1Image(image(), AFFINE), folder / "head.nii.gz")
    (folder / "images").mkdir()
    for number, patient in enumerate((1, 2, 19, 20)):
        path = folder / "images" / f"patient{patient}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.roll(image(), number, axis=0), AFFINE), path)
    mask = make_mask("fastmri_equispaced_fraction", SHAPE, 4, center_fraction=0.2, seed=0)
    for part, count in (("train", 2), ("val", 2), ("test", 2)):
        (folder / "data" / f"multicoil_{part}").mkdir(parents=True)
        for number in range(count):
            data = scan(number + (2 if part == "val" else 0))
            data = data if part != "test" else data.undersample(mask)
            write_scan(data, folder / "data" / f"multicoil_{part}" / f"file{number}.h5")
    sparse = make_mask("uniform1d", SHAPE, 2, center_fraction=0.2, seed=0)
    for number, part in enumerate(("train", "train", "val")):
        path = folder / "own" / f"multicoil_{part}" / f"patient{number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scan(replace(scan(number).undersample(sparse), reference=None), path)
    layout = {"num_cascades": 2, "pools": 2, "chans": 4, "sens_pools": 2, "sens_chans": 3}
    network = NETWORKS["varnet"](**layout)
    torch.save(network.state_dict(), folder / "knee_leaderboard_state_dict.pt")
    (own,) = (b for b in blocks(ROOT / "docs/training.md") if "class Net(Network)" in b.text)
    (folder / "mine.py").write_text(own.text)
    return folder


@pytest.fixture
def page_folder(stand_ins, tmp_path, monkeypatch):
    """A copy of the stand-ins, which is the working directory; what a page registers is its own."""
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    for table in (NETWORKS, MODELS):
        monkeypatch.setattr(table, "homes", dict(table.homes))
    folder = tmp_path / "page"
    shutil.copytree(stand_ins, folder)
    monkeypatch.chdir(folder)
    return folder
