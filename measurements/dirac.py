"""DiracDiffusion beside DDS at equal network evaluations: early stop, sample and cold diffusion.

`python measurements/dirac.py --slice 0 SCANS` takes fully sampled scans of heads, undersamples one slice of each and
writes docs/records/dirac.json: PSNR in the head against the reference, with one factor of the magnitude fitted, and the
largest departure of the measured samples from the data in any step over their noise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import mrirecon as mr
from mrirecon.benchmark.regions import find_head
from mrirecon.tensors import ifft2c

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import records

MASKS = {"equispaced": 4, "gaussian1d": 8, "poisson": 8}
WAYS: dict[str, dict[str, Any]] = {
    "zero filling": {"method": "adjoint"},
    "`dirac`, t_stop 1": {"method": "dirac", "t_stop": 1.0},
    "`dirac`": {"method": "dirac"},
    "`dirac`, t_stop 0": {"method": "dirac", "t_stop": 0.0},
    "`dirac`, cold": {"method": "dirac", "cold": True},
    "`dds`": {"method": "dds"},
    "`unrolled_prior`": {"method": "unrolled_prior"},
}


def psnr(image: torch.Tensor, reference: torch.Tensor) -> float:
    head = find_head(reference[None])[0]
    x, truth = image.abs()[head], reference[head]
    error = (x @ truth) / (x @ x) * x - truth
    return float(10 * torch.log10(reference.max() ** 2 / error.square().mean()))


def reference_of(scan: mr.Scan) -> torch.Tensor:
    """The image of the file, or else of all samples."""
    if scan.reference is not None:
        return scan.reference(0)
    maps = mr.EstimatedMaps()(scan, 0, "cpu")
    return (maps[0].conj() * ifft2c(scan.kspace(0))).sum(0).abs()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="+")
    parser.add_argument("--slice", type=int, default=0)
    parser.add_argument("--masks", nargs="+", default=list(MASKS), choices=list(MASKS))
    args = parser.parse_args()
    rows = []
    for path in args.scans:
        scan = mr.read_scan(path)
        number = min(args.slice, scan.shape[0] - 1)
        scan = scan.select(range(number, number + 1))
        reference = reference_of(scan)
        for kind in args.masks:
            for label, options in WAYS.items():
                found = mr.reconstruct(scan, mask=kind, acceleration=MASKS[kind], **options)
                info = found.info
                row = {"scan": Path(path).stem, "mask": f"{kind} x{MASKS[kind]}", "way": label}
                row["psnr"] = psnr(found.image[0, 0], reference)
                residual = info.get("residual_over_noise")
                if residual:
                    noise = info["data_residual"] / residual
                    row["departure"] = info.get("largest_departure", np.nan) / noise
                rows.append(row)
                print(row, flush=True)
        write(pd.DataFrame(rows))


def write(frame: pd.DataFrame) -> None:
    table = frame.pivot_table("psnr", ["scan", "mask"], "way", sort=False)
    cells = [
        [*names, *(f"{x:.2f}" for x in row)]
        for names, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    mean = table.groupby("mask", sort=False).mean()
    means = [
        ["mean", mask, *(f"{x:.2f}" for x in row)]
        for mask, row in zip(mean.index, mean.to_numpy(), strict=True)
    ]
    departure = frame.dropna().groupby("way", sort=False)["departure"].max().round(2).to_dict()
    records.Record(
        what="dirac with dirac_tiny beside dds and unrolled_prior: PSNR in the head, dB, one slice of each scan",
        script="python measurements/dirac.py --slice 0 SCANS",
        data="simulated scans of patients 19 and 20, and a real 8-coil brain, fully sampled; not in a clone",
        made=records.here(),
        seeds={"masks": 0, "draws": 0},
        tolerance=None,
        numbers={"largest departure over the noise": departure},
        tables={"psnr": records.table(["scan", "mask", *table.columns], [*cells, *means])},
    ).write("dirac")


if __name__ == "__main__":
    main()
