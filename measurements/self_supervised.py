"""What training without references costs: an unrolled prior trained on undersampled scans, with and without targets.

    python data_scripts/simulate_training_set.py images --matrix 128x128 --coils 4 6 8 --slices 6 --spacing_mm 6 \
        --validation patient19 patient20 --output simulated
    python measurements/self_supervised.py simulated --output folder [--steps 300] [--losses supervised ssdu ...]

Each training scan is undersampled once, by lines drawn for its name (`uniform1d`, x4), and written with its target and
without. Every loss starts from the same prior and takes as many steps, of one slice each, of the same scans in the same
order. The validation scans, whose patients trained nothing, are undersampled likewise and reconstructed: PSNR in the
head, mean over scans. One thread; on a busy machine 300 steps took 8 to 16 minutes, with two left-out sets 38.
"""

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import torch

import mrirecon as mr
from mrirecon.benchmark.regions import find_head
from mrirecon.training.core.trainer import quiet
from mrirecon.training.run import Run

MASK = {"kind": "uniform1d", "acceleration": 4, "center_fraction": 0.08}
DENOISER = {"widths": [32, 64, 96, 128], "sigma_data": 0.4}
SSDU = {"ssim": 0.0, "l1": 0.0, "self_supervised": 1.0}
LOSSES = {
    "start": {"ssim": 1.0, "l1": 1.0},  # no step
    "supervised": {"ssim": 1.0, "l1": 1.0},
    "ssdu": SSDU,
    "k": {**SSDU, "weighting": "k"},
    "multi-mask": {**SSDU, "splits": 2},
}


def undersample(source, folder, keep_target):
    """Write the training scans as a scanner that skips lines leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(source.glob("*.h5"))):
        scan = mr.read_scan(path)
        mask = mr.make_mask(shape=scan.shape[2:], seed=number, **MASK)
        reference = scan.reference if keep_target else None
        mr.write_scan(
            replace(scan.undersample(mask), reference=reference), folder / path.name, True
        )


def train(root, output, loss, steps, rate):
    """Weights after so many steps from the shipped prior."""
    config = {
        "output": str(output),
        "seed": 0,
        "images": 0,
        "compile": False,
        "weights": "prior_tiny",
        "network": {"name": "unrolled_prior", "steps": 8, "cg_steps": 5, "denoiser": DENOISER},
        "data": {"root": str(root), "masks": [MASK], "workers": 0},
        "loss": loss,
        "optimizer": {"lr": rate, "schedule": "cosine", "warmup_steps": 20, "ema_decay": 0.98},
        "checkpoints": {"every_minutes": 5.0},
        "trainer": {"max_epochs": -1, "max_steps": max(steps, 1), "gradient_clip_val": 1.0},
        "about": {},
    }
    config["trainer"] |= {"accelerator": "cpu", "precision": "bf16-mixed", "limit_val_batches": 0}
    config["optimizer"]["lr"] = rate if steps else 1e-12
    with quiet():
        run = Run.of(config)
        run.fit(run.start("last"))
        return run.export()


def psnr_in_head(weights, paths):
    """Of each scan, undersampled and reconstructed."""
    values = []
    for path in paths:
        scan = mr.read_scan(path)
        truth = torch.stack([scan.reference(index) for index in range(scan.shape[0])])
        image = mr.reconstruct(
            scan,
            method="unrolled_prior",
            weights=str(weights),
            mask=MASK["kind"],
            acceleration=MASK["acceleration"],
            center_fraction=MASK["center_fraction"],
            device="cpu",
        ).image[0]
        error = (image.abs() - truth)[find_head(truth)].square().mean()
        values.append(float(20 * torch.log10(truth.max()) - 10 * torch.log10(error)))
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("simulated", type=Path, help="fully sampled scans with targets")
    parser.add_argument("--output", type=Path, required=True, help="folder of scans and weights")
    parser.add_argument("--steps", type=int, default=300, help="of each training")
    parser.add_argument("--lr", type=float, default=2e-4, help="learning rate after the warm-up")
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folders = {keep: args.output / ("targets" if keep else "no_targets") for keep in (True, False)}
    for keep, folder in folders.items():
        undersample(args.simulated / "multicoil_train", folder / "multicoil_train", keep)
    paths = sorted((args.simulated / "multicoil_val").glob("*.h5"))
    print("loss,mean," + ",".join(path.stem for path in paths) + ",seconds", flush=True)
    for name in args.losses:
        begin, loss = time.monotonic(), LOSSES[name]
        steps = 0 if name == "start" else args.steps
        root = folders[loss["ssim"] > 0]
        weights = train(root, args.output / f"{name}-{steps}-{args.lr}", loss, steps, args.lr)
        seconds, values = time.monotonic() - begin, psnr_in_head(weights, paths)
        cells = [math.fsum(values) / len(values), *values]
        print(name + "," + ",".join(f"{x:.2f}" for x in cells) + f",{seconds:.0f}", flush=True)


if __name__ == "__main__":
    main()
