"""How well the error of left-out samples ranks methods: Kendall's tau against PSNR, on scans with truth.

    python measurements/left_out.py SCAN.h5 ... [--methods cg_sense tv ...] [--table FILE.csv]

The middle slice of each scan is undersampled by three kinds of masks and compared (`mrirecon.compare`). Pairs of
methods whose PSNR differs by more than 0.2 dB count: tau is the number of pairs in the right order, less those in the
wrong one, over all. It is given for three weights of the squared errors: none, `importance` as it is used (the square
root of the number of missing samples for each one measured in a band), and that number itself. `floor` is the error
that the noise of the left-out samples alone gives. One thread; two to four minutes for a scan and mask.
"""

import argparse
import csv
import math
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import torch

import mrirecon as mr
from mrirecon.recon.left_out import prediction

MASKS = {"equispaced": 4, "gaussian1d": 8, "poisson": 8}
METHODS = ["cg_sense", "l1_wavelet", "tv", "varnet", "humus", "unrolled_prior", "dds"]
METHODS += ["grappa", "min_norm"]
POWERS = {"none": 0.0, "root": 1.0, "full": 2.0}  # of `importance`
DIFFERENT = 0.2  # dB


class Recorder:
    """Stands for `misfit_and_energy`, and keeps the errors of every set with other weights too."""

    def __init__(self):
        self.original, self.errors = prediction.misfit_and_energy, defaultdict(list)
        self.noise = 0.0

    def __call__(self, trial, number, predicted):
        chosen, measured = trial.sets[number], trial.whitened(trial.problem.kspace)
        predicted_ = trial.of_one_image(trial.whitened(predicted))
        weight = chosen.weight[chosen.points]
        misfit = (predicted_ - measured)[:, chosen.points].abs().square()
        energy = measured[:, chosen.points].abs().square()
        for name, power in POWERS.items():
            w = weight**power
            self.errors[name].append(float(((w * misfit).sum() / (w * energy).sum()).sqrt()))
        whitened = trial.problem.near.scan.noise_covariance is not None  # of standard deviation 1
        noise = 2 * (1 if whitened else self.noise) ** 2 * len(measured) * weight.sum()
        self.errors["floor"].append(float((noise / (weight * energy).sum()).sqrt()))
        return self.original(trial, number, predicted)


def rows_of(path, kind, acceleration, methods, seed):
    """Of each method that suits the mask: PSNR and left-out errors."""
    scan = mr.read_scan(path)
    middle = scan.shape[0] // 2
    scan = scan.select(slice(middle, middle + 1))
    recorder = Recorder()
    recorder.noise = mr.noise_level(scan)
    prediction.misfit_and_energy = recorder
    options = {"mask": kind, "acceleration": acceleration, "mask_seed": seed, "device": "cpu"}
    rows = []
    for name in methods:
        recorder.errors.clear()
        try:
            found = mr.compare(scan, [name], **options).results[0]
        except ValueError as error:
            print(f"  {name}: {error}")
            continue
        if found.left_out is None:
            print(f"  {name}: {found.note}")
            continue
        means = {key: sum(errors) / len(errors) for key, errors in recorder.errors.items()}
        assert math.isclose(means["root"], found.left_out.mean, rel_tol=1e-4)
        psnr = found.volume.info["metrics"]["psnr"]
        place = {"scan": Path(path).name, "mask": kind, "method": name}
        rows.append({**place, "psnr": psnr, **means})
    prediction.misfit_and_energy = recorder.original
    return rows


def pairs_of(rows, weight):
    """(right or wrong, what) of each pair that differs."""
    for one, other in combinations(rows, 2):
        difference = one["psnr"] - other["psnr"]
        if abs(difference) > DIFFERENT:
            right = (one[weight] - other[weight]) * difference < 0
            what = f"{one['method']}/{other['method']} on {one['scan']} {one['mask']}: {difference:+.2f} dB"
            yield right, what


def tau(pairs):
    """Kendall's tau."""
    pairs = list(pairs)
    return sum(1 if right else -1 for right, _ in pairs) / max(len(pairs), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scans", nargs="+")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--masks", nargs="+", default=list(MASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    groups = []
    for kind in given.masks:
        for path in given.scans:
            started = time.perf_counter()
            rows = rows_of(path, kind, MASKS[kind], given.methods, given.seed)
            groups.append(rows)
            print(f"{path} {kind} x{MASKS[kind]}: {time.perf_counter() - started:.0f} s")
            for row in sorted(rows, key=lambda row: -row["psnr"]):
                figures = "  ".join(f"{key} {row[key]:.4f}" for key in (*POWERS, "floor"))
                print(f"  {row['method']:<15} {row['psnr']:6.2f} dB  {figures}", flush=True)
    for weight in POWERS:
        pairs = [pair for rows in groups for pair in pairs_of(rows, weight)]
        print(f"weights {weight}: tau {tau(pairs):.2f} over {len(pairs)} pairs")
        for kind in given.masks:
            of_kind = [rows for rows in groups if rows and rows[0]["mask"] == kind]
            pairs = [pair for rows in of_kind for pair in pairs_of(rows, weight)]
            print(f"  {kind}: {tau(pairs):.2f} over {len(pairs)} pairs")
            for right, what in pairs:
                if not right and weight == "root":
                    print(f"    wrong: {what}")
    if given.table:
        with Path(given.table).open("w", newline="") as file:
            every = [row for rows in groups for row in rows]
            writer = csv.DictWriter(file, list(every[0]))
            writer.writeheader()
            writer.writerows(every)


if __name__ == "__main__":
    main()
