"""Kill mrirecon at random moments, run the same line again, and compare with a run that nobody disturbed.

After each kill -9 every file under a final name must be whole; after the rerun the folder must hold the files of the
undisturbed run, equal in what they say, and no others. Half of the kills come at a random moment, the others shortly
after a temporary file appears, where half-written files are likeliest.

    python measurements/kills.py --kills 60
    python measurements/kills.py --only train --kills 1 --times 10
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

# What no two runs have in common, and the logs of training, of which each start has its own.
TIMES = {"seconds_per_slice", "seconds", "seconds_per_draw", "peak_memory_mb", "trained_seconds"}
LOGS = ("logs/", "tensorboard/", "plots/", "table.html", "report.html")
WAIT = 300  # seconds after which a run counts as hung


@dataclass(frozen=True)
class Job:
    """A command line, written in a folder of its own beside the folder `data`."""

    name: str
    line: tuple[str, ...]
    again: tuple[str, ...] = ()  # what the rerun adds


def jobs() -> list[Job]:
    """What is killed; each writes to `out`."""
    recon = ("recon", "../data/scan.npy", "--output")
    simulate = ("simulate", "../data/head.nii", "--overwrite", "--output")
    prior = ("--method.levels", "6", "--samples", "1")
    trained = ("train", "--config", "../data/train.yaml", "--output", "out")
    return [
        Job(
            "recon zero_filled",
            (*recon, "out/a.nii.gz", "--method", "zero_filled", "--report", "out/a.html"),
        ),
        Job("recon cg_sense", (*recon, "out/a.cfl", "--method", "cg_sense", "--maps", "lowres")),
        Job(
            "recon dds",
            ("recon", "../data/few.npy", "--output", "out/a.npy", "--method", "dds", *prior),
        ),
        Job("convert mrd", ("convert", "../data/many.npy", "out/a.mrd", "--overwrite")),
        Job("convert npz", ("convert", "../data/many.npy", "out/a.npz", "--overwrite")),
        Job("convert h5", ("convert", "../data/many.npy", "out/a.h5", "--overwrite")),
        Job("simulate h5", (*simulate, "out/a.h5")),
        Job("simulate cfl", (*simulate, "out/a.cfl")),
        Job("benchmark", ("benchmark", "--config", "../data/benchmark.yaml", "--output", "out")),
        Job("train", trained, ("--ckpt_path", "last")),
    ]


def make_data(folder: Path) -> None:
    """Small inputs of every kind."""
    import nibabel

    random_numbers = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    head = np.hypot(x / 0.7, y / 0.85) < 1
    images = np.stack([head * (1 + 0.3 * np.cos(5 * x + n) * np.sin(4 * y)) for n in range(40)])
    coils = np.stack(
        [np.exp(-((x - a) ** 2) - (y - b) ** 2) for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    )
    shifted = np.fft.ifftshift(images[:, None] * coils, axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
    kspace = (kspace + 0.01 * random_numbers.standard_normal(kspace.shape)).astype(np.complex64)
    np.save(folder / "scan.npy", kspace)
    np.save(folder / "few.npy", kspace[:3])
    np.save(folder / "many.npy", np.concatenate([kspace] * 8))
    volume = images.transpose(1, 2, 0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "head.nii")
    for split in ("multicoil_train", "multicoil_val"):
        (folder / split).mkdir()
        for number in range(2):
            scan = folder / split / f"{split}{number}.h5"
            run("simulate", "head.nii", "--output", scan, "--slices", f"{8 + number}:{11 + number}",
                "--coils", 4, "--seed", number, folder=folder)  # fmt: skip
    settings = {
        "benchmark.yaml": {
            "scans": ["../data/multicoil_val"],
            "masks": [
                {"kind": "uniform1d", "acceleration": r, "center_fraction": 0.2} for r in (2, 4)
            ],
            "methods": [{"method": name} for name in ("zero_filled", "cg_sense", "tv")],
        },
        "train.yaml": {
            "network": {
                "name": "varnet",
                **dict.fromkeys(("num_cascades", "chans", "pools", "sens_chans", "sens_pools"), 2),
            },
            "data": {
                "root": "../data",
                "masks": [{"kind": "uniform1d", "acceleration": 4, "center_fraction": 0.1}],
                "batch_size": 1,
                "workers": 0,
            },
            "trainer": {"max_epochs": 3, "accelerator": "cpu", "num_sanity_val_steps": 0},
            "checkpoints": {"every_steps": 2},
            "optimizer": {"ema_decay": 0.99, "schedule": "cosine"},
            "images": 0,
        },
    }
    for name, values in settings.items():
        (folder / name).write_text(yaml.safe_dump(values))


def start(*args: object, folder: Path) -> subprocess.Popen[bytes]:
    """Begin `mrirecon ARGS`, silent but for errors."""
    line = [sys.executable, "-m", "mrirecon", *map(str, args)]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def run(*args: object, folder: Path) -> float:
    """Run `mrirecon ARGS` to its end; the seconds it took."""
    begun = time.monotonic()
    process = start(*args, folder=folder)
    said = process.communicate(timeout=WAIT)[1].decode(errors="replace")
    if process.returncode:
        raise SystemExit(
            f"mrirecon {' '.join(map(str, args))}: status {process.returncode}: {said}"
        )
    return time.monotonic() - begun


def kill(job: Job, folder: Path, seconds: float, choose: random.Random) -> str:
    """Start a job and kill it; says at what it was, or that it had ended."""
    process = start(*job.line, folder=folder)
    out, begun = folder / "out", time.monotonic()
    if choose.random() < 0.5:
        process_ends = begun + choose.uniform(0.3, 1.0) * seconds
        while process.poll() is None and time.monotonic() < process_ends:
            time.sleep(0.002)
    else:
        while process.poll() is None and not any(out.rglob(".partial-*")):
            time.sleep(0.001)
        time.sleep(choose.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=WAIT)
    if process.returncode != -signal.SIGKILL:
        return "ended before"
    return "while writing" if any(out.rglob(".partial-*")) else "killed"


def contents(folder: Path) -> dict[str, object]:
    """What the files say, by name, as far as two runs can be expected to agree; raises where one is not whole."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name.startswith(".partial-"):
            continue
        if name.startswith(LOGS) or "/events.out." in name:
            found[name if name in LOGS else name.partition("/")[0]] = "not compared"
        else:
            found[name] = READERS.get(path.suffix, Path.read_bytes)(path)
    return found


def _json(path: Path) -> object:
    return _timeless(json.loads(path.read_text()))


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _jsonl(path: Path) -> object:
    return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]


def _csv(path: Path) -> object:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def _npz(path: Path) -> object:
    with np.load(path) as archive:
        return {name: archive[name].tobytes() for name in archive.files}


def _checkpoint(path: Path) -> object:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy().tobytes() for name, tensor in content["state_dict"].items()}


def _page(path: Path) -> object:
    return path.read_text().rstrip().endswith("</html>")


def _picture(path: Path) -> object:
    return path.read_bytes().endswith(b"IEND\xaeB`\x82")


READERS: dict[str, Callable[[Path], object]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".npz": _npz,
    ".ckpt": _checkpoint,
    ".html": _page,
    ".png": _picture,
    ".md": lambda path: len(path.read_text().splitlines()),  # seconds stand in its tables
}


def disturbed(
    job: Job,
    wanted: dict[str, object],
    folder: Path,
    seconds: float,
    choose: random.Random,
    times: int,
) -> list[str]:
    """Kill a job so many times, look, run it again, compare: when it was killed last, and what was wrong."""
    wrong, resumed = [], replace(job, line=(*job.line, *job.again))
    for number in range(times):
        when = kill(resumed if number else job, folder, seconds, choose)
        try:
            contents(folder / "out")
        except Exception as error:  # whatever a reader says of half a file
            wrong.append(f"half a file: {error}")
    run(*job.line, *job.again, folder=folder)
    got = contents(folder / "out")
    wrong += [f"missing: {name}" for name in wanted.keys() - got.keys()]
    wrong += [f"left over: {name}" for name in got.keys() - wanted.keys()]
    wrong += [f"left over: {path.name}" for path in (folder / "out").rglob(".partial-*")]
    wrong += [
        f"other result: {name}" for name in wanted.keys() & got.keys() if got[name] != wanted[name]
    ]
    return [when, *wrong]


def main() -> int:
    """Kill, compare, print a table; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kills", type=int, default=60, help="in all, shared out over the commands"
    )
    parser.add_argument(
        "--times", type=int, default=1, help="a run is killed and resumed before it may end"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", default="", help="only commands whose name has this")
    given = parser.parse_args()
    choose = random.Random(given.seed)
    chosen = [job for job in jobs() if given.only in job.name]
    faults = 0
    with tempfile.TemporaryDirectory(prefix="mrirecon_kills_") as name:
        top = Path(name)
        (top / "data").mkdir()
        make_data(top / "data")
        print(
            f"{'command':<20}{'kills':>6}{'while writing':>15}{'ended before':>14}{'wrong':>7}",
            flush=True,
        )
        for number, job in enumerate(chosen):
            calm = top / "calm"
            (calm / "out").mkdir(parents=True)
            seconds = run(*job.line, folder=calm)
            wanted, count = contents(calm / "out"), Counter[str]()
            shutil.rmtree(calm)
            for _ in range(given.kills // len(chosen) + (number < given.kills % len(chosen))):
                folder = top / "killed"
                (folder / "out").mkdir(parents=True)
                when, *wrong = disturbed(job, wanted, folder, seconds, choose, given.times)
                shutil.rmtree(folder)
                count.update([when, "wrong"] if wrong else [when])
                for what in wrong:
                    print(f"  {job.name}, {when}: {what}", flush=True)
            landed = count["killed"] + count["while writing"]
            print(
                f"{job.name:<20}{landed:>6}{count['while writing']:>15}{count['ended before']:>14}{count['wrong']:>7}",
                flush=True,
            )
            faults += count["wrong"]
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
