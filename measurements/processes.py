"""How much faster two processes of one thread are than one: `recon` of a scan, and an epoch of training.

Makes random 15-coil data of full size in a temporary folder. Starting Python and importing PyTorch counts, as for those
who wait for it. The machine should have nothing else to do, and two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from data_pipeline import write_volume

SLICES = 16
EPOCH = ("--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0", "--data.workers", "0")


def seconds(processes: int, words: list[str]) -> tuple[float, float]:
    """(seconds, peak memory of the largest process in MB) of a command, divided between processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc_per_node={processes}", "-m", "mrirecon"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = perf_counter()
    done = subprocess.run([*launcher, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("train", "val"):
            (root / f"multicoil_{part}").mkdir()
            write_volume(root / f"multicoil_{part}" / "file0.h5", args.slices, 0)
        scan = str(root / "multicoil_train/file0.h5")
        mask = ["--mask", "equispaced", "--acceleration", "4", "--center_fraction", "0.08"]
        recipe = Path(__file__).parents[1] / "configs/tiny_varnet.yaml"
        commands = {
            "recon, cg_sense": ["recon", scan, "--method", "cg_sense", *mask],
            "train, an epoch of varnet_tiny": ["train", "--config", str(recipe), *EPOCH],
        }
        commands["train, an epoch of varnet_tiny"] += ["--data.root", folder]
        for title, words in commands.items():
            times: dict[int, list[float]] = {1: [], 2: []}
            peaks = dict.fromkeys(times, 0.0)
            for turn in range(args.repeats):
                for processes in times:
                    output = root / f"{words[0]}{turn}_{processes}.nii.gz"
                    more = ["--output", str(output)]
                    if words[0] == "train":
                        more += ["--trainer.devices", str(processes)]
                        more += ["--trainer.strategy", "ddp" if processes > 1 else "auto"]
                    spent, peak = seconds(processes, [*words, *more])
                    times[processes].append(spent)
                    peaks[processes] = max(peaks[processes], peak)
            one, two = (sorted(values)[len(values) // 2] for values in times.values())
            figures[title] = {"one": one, "two": two, "ratio": one / two, "peak_mb": peaks[2]}
            print(
                f"{title}, {args.slices} slices of 15 coils 640 x 368: one process {one:.1f} s, two {two:.1f} s, "
                f"{one / two:.2f} x, at most {peaks[2]:.0f} MB a process",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
