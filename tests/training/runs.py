"""Small training runs: data, configurations, comparison of what they leave behind."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch

from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan
from mrirecon.training.core.trainer import quiet
from mrirecon.training.run import Run

SHAPE = (36, 32)
SLICES = 3
VARNET = {"num_cascades": 2, "chans": 2, "pools": 2, "sens_chans": 2, "sens_pools": 2}


def make_data(root, train=4, val=2):
    """A folder in the fastMRI layout, with phantoms of different brightness and place."""
    for split, count in (("train", train), ("val", val)):
        folder = root / f"multicoil_{split}"
        folder.mkdir(parents=True)
        for volume in range(count):
            rng = np.random.default_rng((volume, count))
            image = shepp_logan(SHAPE).numpy()[:, :, None] * np.linspace(1, 0.5, SLICES)
            image = np.roll(image, rng.integers(-3, 4, 2), (0, 1)) * rng.uniform(0.5, 1.5)
            scan = simulate_scan(image.astype(np.float32), coils=3, snr=40.0, seed=volume).scan
            write_scan(scan, folder / f"file{volume}.h5")
    return root


def config(root, output, **changed):
    """A configuration as the command line makes it; `changed` are groups to update."""
    made = {
        "output": str(output),
        "seed": 0,
        "images": 0,
        "compile": False,
        "weights": None,
        "network": {"name": "varnet", **VARNET},
        "data": {
            "root": str(root),
            "masks": [{"kind": "uniform1d", "acceleration": 4, "center_fraction": 0.1}],
            "batch_size": 2,
            "workers": 0,
        },
        "loss": {"ssim": 1.0, "l1": 1.0},
        "optimizer": {
            "lr": 0.003,
            "schedule": "cosine",
            "warmup_steps": 2,
            "ema_decay": 0.9,
        },
        "checkpoints": {"every_minutes": 0.0},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
        },
        "about": {"data": "", "licence": "", "attribution": ""},
    }
    for group, values in changed.items():
        made[group] = values if group == "network" else {**made[group], **values}
    return made


def fit(settings, *reporters, resume=False):
    """Train; gives the run."""
    with quiet():
        run = Run.of(settings)
        run.fit(run.start("last" if resume else None), *reporters)
    return run


def last(output):
    return torch.load(Path(output) / "checkpoints" / "last.ckpt", weights_only=True)


def logged(output, column):
    """Values of one column of the CSV log, over all versions."""
    values = []
    for path in sorted(Path(output).glob("logs/version_*/metrics.csv")):
        with path.open() as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


def validate_and_fit(settings, result):
    """Validate the initial weights, then train; writes the volume metrics."""
    from mrirecon.training.core.trainer import build_trainer

    with quiet():
        run = Run.of(settings)
        trainer = build_trainer(run.trainer, run.output, [])
        trainer.validate(run.module, run.data, verbose=False)
        if trainer.is_global_zero:
            metrics = {name: m._asdict() for name, m in run.module.metrics.items()}
            Path(result).write_text(json.dumps(metrics))
        run.fit(None)


if __name__ == "__main__":  # so that Lightning can start the other processes
    validate_and_fit(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
