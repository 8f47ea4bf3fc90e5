"""What few patients cost a network: the same recipe and steps on 1, 3 and 10 patients.

    python data_scripts/simulate_training_set.py IMAGES --matrix 128x128 --coils 4 6 8 --slices 6 --spacing_mm 5 \
        --validation patient19 patient20 --output simulated
    python measurements/scarcity.py simulated --output folder [--only unet] [--sets "1 patient"] [--no-judge]

Networks begin at random weights, since those that come along have seen every patient. Patients are taken in one order,
those with most images first, each with at most `FILES` of them. The validation scans, whose patients train nothing, are
undersampled and reconstructed as `mrirecon benchmark` does it: PSNR in the head. What is in the folder already is not
trained again. Writes docs/records/scarcity.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from mrirecon.benchmark import Benchmark, MaskEntry, MethodEntry, find_scans, run_benchmark

ROOT = Path(__file__).parents[1]
STEPS = {"unet": 600}  # of the recipes configs/tiny_NAME.yaml
PATIENTS = (1, 3, 10)
CONTRASTS = ("FLAIR", "T1")  # of the validation scans
FILES = 3  # of one patient, at most
MASKS = (
    MaskEntry("uniform1d", 4, center_fraction=0.08, seeds=("file",)),
    MaskEntry("gaussian1d", 8, center_fraction=0.04, seeds=("file",)),
)
BESIDE = ("zero_filled", "unet")  # the weights that come along


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("simulated", type=Path, help="what simulate_training_set.py made")
    parser.add_argument("--output", type=Path, required=True, help="folder of weights and tables")
    parser.add_argument("--only", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--sets", nargs="+", help="of the training sets train these only")
    parser.add_argument("--slices", type=int, default=2, help="judged of each scan, in its middle")
    parser.add_argument("--no-judge", action="store_true", help="train only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = training_sets(args.simulated)
    for network in args.only:
        for name in args.sets or sets:
            train(network, args.simulated, sets[name], place(args.output, network, name))
    if not args.no_judge:
        write(judge(args, sets), sets, args.simulated)


def training_sets(simulated: Path) -> dict[str, list[dict[str, Any]]]:
    """The files of each training set, as dataset.json describes them."""
    every = json.loads((simulated / "dataset.json").read_text("utf-8"))["files"]
    ours = [one for one in every if one["file"].startswith("multicoil_train/")]
    counts = Counter(one["patient"] for one in ours)
    order = sorted(counts, key=lambda patient: (-counts[patient], patient))
    if len(order) < max(PATIENTS):
        raise SystemExit(
            f"{simulated} has {len(order)} patients to train on: {max(PATIENTS)} are needed"
        )
    few = {p: [one for one in ours if one["patient"] == p][:FILES] for p in order}
    return {
        f"{n} patient{'s' * (n > 1)}": [one for p in order[:n] for one in few[p]] for n in PATIENTS
    }


def contrast_of(name: str) -> str:
    """FLAIR, T1, T2 or an empty text, as a file's name says it."""
    found = re.search(r"_(FLAIR|T1|T2)W?_", name, re.IGNORECASE)
    return found[1].upper() if found else ""


def place(output: Path, network: str, name: str) -> Path:
    return output / network / name.replace(" ", "_")


def train(network: str, simulated: Path, files: list[dict[str, Any]], folder: Path) -> None:
    """Weights from random ones by the recipe of the network, with its number of steps."""
    if (folder / "run" / "weights.safetensors").exists():
        return
    held_out = Path(
        "multicoil_val"
    )  # has to be there; with limit_val_batches 0 nothing looks at it
    for name in [held_out, *(Path(one["file"]) for one in files)]:
        link = folder / "data" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((simulated / name).resolve())
    words = [sys.executable, "-m", "mrirecon", "train"]
    words += ["--config", str(ROOT / "configs" / f"tiny_{network}.yaml")]
    words += ["--data.root", str(folder / "data"), "--output", str(folder / "run")]
    words += ["--trainer.max_steps", str(STEPS[network]), "--trainer.limit_val_batches", "0"]
    subprocess.run([*words, "--images", "0", "--seed", "0"], check=True)


def judge(args: argparse.Namespace, sets: dict[str, Any]) -> Any:
    """The table of all weights, and what stands beside them, on the validation scans."""
    methods = [
        MethodEntry(
            method=network,
            name=f"{network}, {name}",
            weights=str(place(args.output, network, name) / "run" / "weights.safetensors"),
        )
        for network in args.only
        for name in args.sets or sets
    ]
    benchmark = Benchmark(
        scans=tuple(find_scans([str(args.simulated / "multicoil_val")], args.slices)),
        masks=MASKS,
        methods=tuple(methods + [MethodEntry(method=name) for name in BESIDE]),
        support="head",
        pictured=0,
    )
    table = run_benchmark(benchmark, args.output / "table")
    assert table is not None
    return table.assign(contrast=[contrast_of(name) for name in table["scan"]])


def write(table: Any, sets: dict[str, Any], simulated: Path) -> None:
    """The record that the page quotes."""
    sys.path.insert(0, str(ROOT / "docs"))
    import records

    places = [(mask, contrast) for mask in table["mask"].unique() for contrast in CONTRASTS]
    means = table.groupby(["method", "mask", "contrast"], sort=False)["fastmri_psnr"].mean()
    each = table.pivot_table("fastmri_psnr", ["scan", "mask"], "method")
    worst = each.sub(each["zero_filled"], axis=0).min()
    rows = []
    for method in table["method"].unique():
        kind, _, name = method.partition(", ")
        trained = sets.get(name)
        slices = sum(one["shape"][0] for one in trained) if trained else None
        patients = len({one["patient"] for one in trained}) if trained else None
        beside = "weights that come along" if kind in STEPS else "not trained"
        figures = [f"{means[method, mask, contrast]:.2f}" for mask, contrast in places]
        rows.append([f"`{kind}`", name or beside, patients or "", slices or "", *figures])
        rows[-1].append("" if kind == "zero_filled" else f"{worst[method]:+.1f}")
    head = ["method", "trained on", "patients", "slices", *(f"{m}, {c}" for m, c in places)]
    head.append("worst scan, over zero filling")
    numbers = table[["method", "scan", "mask", "fastmri_psnr", "fastmri_ssim"]].round(4)
    records.Record(
        what="PSNR in the head of networks trained from random weights on 1, 3 and 10 patients, the same steps",
        script="python measurements/scarcity.py simulated --output scarcity",
        data="validation scans simulated from patients 19 and 20 (data_scripts/simulate_training_set.py)",
        made=records.here(),
        seeds={"training": 0, "simulation": 18, "masks": "file"},
        numbers={
            "steps": STEPS,
            "files": {name: [one["file"] for one in files] for name, files in sets.items()},
            "cells": numbers.to_dict("records"),
        },
        tables={"psnr": records.table(head, rows)},
    ).write("scarcity")


if __name__ == "__main__":
    main()
