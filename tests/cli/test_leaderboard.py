"""From a folder in the public layout to a leaderboard file: train, resume, reconstruct the test set, evaluate."""

import csv
import json
import warnings

import h5py
import numpy as np
import pytest
import yaml

from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

SLICES, SHAPE, WINDOW = 3, (48, 40), (32, 32)
HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>
<H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>
<encodedSpace><matrixSize><x>48</x><y>40</y><z>1</z></matrixSize>
<fieldOfView_mm><x>48</x><y>40</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>32</x><y>32</y><z>1</z></matrixSize>
<fieldOfView_mm><x>32</x><y>32</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>39</maximum><center>20</center>
</kspace_encoding_step_1></encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"""
MASK = np.zeros(SHAPE[1], dtype=bool)
MASK[::4] = MASK[18:23] = True
RECIPE = {
    "network": {"name": "varnet", "num_cascades": 2, "chans": 4, "pools": 2, "sens_chans": 2},
    "data": {
        "masks": [{"kind": "fastmri_random", "acceleration": 4, "center_fraction": 0.1}],
        "batch_size": 1,
        "workers": 0,
    },
    "optimizer": {"lr": 0.003, "ema_decay": 0.9, "schedule": "constant", "warmup_steps": 0},
    "trainer": {"accelerator": "cpu", "log_every_n_steps": 1},
}


def write_volume(path, seed, *, test=False):
    """A volume as the public files have it, targets cropped to the reconstruction matrix."""
    image = shepp_logan(SHAPE).numpy()[:, :, None] * np.linspace(1, 0.6, SLICES) * (1 + seed / 4)
    scan = simulate_scan(image.astype(np.float32), coils=4, snr=40.0, seed=seed).scan
    kspace = np.stack([scan.kspace(index).numpy() for index in range(SLICES)])
    shifted = np.fft.ifftshift(kspace, axes=(-2, -1))
    coils = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))
    target = np.sqrt((np.abs(coils) ** 2).sum(axis=1))[:, 8:40, 4:36].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["ismrmrd_header"] = HEADER
        if test:
            kspace *= MASK
            file["mask"] = MASK
            file.attrs["acceleration"], file.attrs["num_low_frequency"] = 4, 5
        else:
            file["reconstruction_rss"] = target
            file.attrs["max"], file.attrs["norm"] = target.max(), np.linalg.norm(target)
        file["kspace"] = kspace
        file.attrs["acquisition"], file.attrs["patient_id"] = "CORPD_FBK", f"patient{seed}"
    return target


def validation_losses(run):
    """Of each epoch, in the order they were trained."""
    rows = []
    for log in sorted(run.glob("logs/version_*/metrics.csv")):
        with log.open() as file:
            rows += [float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss")]
    return rows


@pytest.fixture
def truths(tmp_path):
    for seed in range(4):
        write_volume(tmp_path / f"data/multicoil_train/file{seed}.h5", seed)
    write_volume(tmp_path / "data/multicoil_val/file9.h5", 9)
    return {
        name: write_volume(tmp_path / f"data/multicoil_test/{name}.h5", seed, test=True)
        for seed, name in ((5, "file5"), (6, "file6"))
    }


def test_train_resume_reconstruct_and_evaluate(mrirecon, truths, tmp_path):
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(RECIPE))
    line = ("train", "--config", recipe, "--data.root", tmp_path / "data", "--output", run)
    for epochs in (1, 2):
        result = mrirecon(*line, "--trainer.max_epochs", epochs, "--ckpt_path", "last")
        assert result.status == 0, result.errors
    first, second = validation_losses(run)
    assert second < first

    tests = sorted((tmp_path / "data/multicoil_test").glob("*.h5"))
    weights = run / "weights.safetensors"
    out = tmp_path / "leaderboard"
    options = ("--method", "varnet", "--weights", weights, "--format", "h5", "--output", out)
    result = mrirecon("recon", *tests, *options)
    assert result.status == 0, result.errors
    targets = tmp_path / "targets"
    targets.mkdir()
    for name, truth in truths.items():
        with h5py.File(targets / f"{name}.h5", "w") as file:
            file["reconstruction_rss"] = truth
            file["kspace"] = np.zeros((SLICES, 4, *SHAPE), np.complex64)
    result = mrirecon("evaluate", out, targets, "--output", tmp_path / "metrics.json")
    assert result.status == 0, result.errors
    found = json.loads((tmp_path / "metrics.json").read_text())["volumes"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmri import evaluate as official
    for name, truth in truths.items():
        with h5py.File(out / f"{name}.h5") as file:
            image = file["reconstruction"][()]
        assert image.shape == (SLICES, *WINDOW) and image.dtype == np.float32
        ours = next(found[key] for key in found if key.startswith(name))
        assert ours["psnr"] == pytest.approx(official.psnr(truth, image), rel=1e-5)
        assert ours["nmse"] == pytest.approx(official.nmse(truth, image), rel=1e-5)
        assert ours["ssim"] == pytest.approx(official.ssim(truth, image), rel=1e-5)
