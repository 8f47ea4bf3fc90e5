"""Kill training with signal 9 at random moments, resume it each time, and compare the end with a run never killed.

    python benchmarks/kill_training.py --kills 10

Prints where each kill hit, and whether the final weights are the same to the last bit.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mrirecon.io import write_scan
from mrirecon.phantom import shepp_logan
from mrirecon.simulate import simulate_scan

OPTIONS = {
    "network": "varnet",
    "network.num_cascades": 2,
    "network.chans": 4,
    "network.pools": 2,
    "network.sens_chans": 2,
    "network.sens_pools": 2,
    "data.masks": "[{kind: uniform1d, acceleration: 4, center_fraction: 0.1}]",
    "data.workers": 1,
    "optimizer.ema_decay": 0.99,
    "optimizer.schedule": "cosine",
    "checkpoints.every_steps": 1,
    "trainer.accelerator": "cpu",
    "ckpt_path": "last",
}


def make_data(root: Path) -> None:
    for split, count in (("train", 6), ("val", 2)):
        (root / f"multicoil_{split}").mkdir(parents=True)
        for volume in range(count):
            image = shepp_logan((48, 40)).numpy()[:, :, None] * np.linspace(1, 0.5, 4)
            image = (image * (0.5 + volume / count)).astype(np.float32)
            scan = simulate_scan(image, coils=4, snr=40.0, seed=volume).scan
            write_scan(scan, root / f"multicoil_{split}" / f"file{volume}.h5")


def command(root: Path, output: Path, epochs: int) -> list[str]:
    options = OPTIONS | {"data.root": root, "output": output, "trainer.max_epochs": epochs}
    typed = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "mrirecon", "train", *typed]


def step_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    folder = Path(tempfile.mkdtemp(prefix="kill_training-"))
    make_data(folder / "data")
    straight = command(folder / "data", folder / "straight", args.epochs)
    subprocess.run(straight, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    resumed = command(folder / "data", folder / "killed", args.epochs)
    last = folder / "killed" / "checkpoints" / "last.ckpt"
    for kill in range(args.kills):
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(resumed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Every third kill hits anywhere, the start included; the others while checkpoints are being written.
        if kill % 3 == 0:
            time.sleep(draw.uniform(0, 10))
        else:
            while process.poll() is None and (
                not last.exists() or last.stat().st_mtime_ns == before
            ):
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {kill + 1}: last checkpoint loads, step {step_of(last)}", flush=True)
    subprocess.run(resumed, check=True, stdout=subprocess.DEVNULL)
    ends = [
        torch.load(folder / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("straight", "killed")
    ]
    same = all(torch.equal(ends[0]["state_dict"][k], v) for k, v in ends[1]["state_dict"].items())
    print(f"{args.kills} kills, {ends[1]['global_step']} steps, weights bit for bit equal: {same}")
    shutil.rmtree(folder)
    sys.exit(not same)


if __name__ == "__main__":
    main()
