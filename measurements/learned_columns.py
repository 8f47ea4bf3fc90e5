"""A mask of columns learned from fully sampled scans, for `--mask FILE`: the best column is taken, then the next best.

    python measurements/learned_columns.py TRAINING_SCANS --acceleration 4 --output columns.npy
    python measurements/learned_columns.py TRAINING_SCANS --acceleration 4 --output columns.npy --judge HELD_OUT_SCANS

The greedy choice of Gözcü et al. (2018, arXiv:1805.01202), from a few random columns and slices at a time as in Sanchez
et al. (2020, arXiv:1902.00386), judged by CG-SENSE. Scans must be of one width. `--judge` compares with kinds of masks
of as many columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import mrirecon as mr
from mrirecon.operators.sense import Sense
from mrirecon.scan import Scan

CANDIDATES, SLICES, STEPS, DAMPING = 16, 2, 8, 0.02
KINDS = ("uniform1d", "gaussian1d", "equispaced")
METHODS = ("cg_sense", "unrolled_prior", "dds")


def learned(
    slices: list[tuple[torch.Tensor, torch.Tensor]], count: int, center: int, seed: int = 0
):
    """The columns (phase,) that are taken, `center` of them about the origin; of slices (k-space, maps)."""
    random, width = np.random.default_rng(seed), slices[0][0].shape[-1]
    start = width // 2 - center // 2
    chosen = set(range(start, start + center))
    while len(chosen) < count:
        others = [column for column in range(width) if column not in chosen]
        tried = random.choice(others, min(CANDIDATES, len(others)), replace=False).tolist()
        errors = np.zeros(len(tried))
        for index in random.choice(len(slices), min(SLICES, len(slices)), replace=False):
            errors += [error(*slices[index], chosen | {column}) for column in tried]
        chosen.add(tried[int(errors.argmin())])
    return columns(chosen, width)


def columns(chosen: set[int], width: int) -> torch.Tensor:
    mask = torch.zeros(width, dtype=torch.bool)
    mask[list(chosen)] = True
    return mask


def error(kspace: torch.Tensor, maps: torch.Tensor, chosen: set[int]) -> float:
    """||x - x0||^2 / ||x0||^2 of CG-SENSE from these columns, x0 that of all of them."""
    mask = columns(chosen, kspace.shape[-1]).expand(kspace.shape[-2:])
    A, full = mr.sense(maps, mask), mr.sense(maps, torch.ones_like(mask))
    x0, x = full.H(kspace), solved(A, kspace * mask)
    return float((x - x0).abs().square().sum() / x0.abs().square().sum())


def solved(A: Sense, y: torch.Tensor) -> torch.Tensor:
    return A.solve(A.H(y), DAMPING, iterations=STEPS)


def middle(path: Path) -> Scan:
    scan = mr.read_scan(path)
    half = scan.shape[0] // 2
    return scan.select(slice(half, half + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--acceleration", type=float, default=4)
    parser.add_argument("--center_fraction", type=float, default=0.08)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--judge", nargs="+", type=Path, default=[])
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    scans = [middle(path) for path in args.scans]
    width = scans[0].shape[3]
    if any(scan.shape[3] != width for scan in scans):
        parser.error(f"give scans of one width: {sorted({scan.shape[3] for scan in scans})}")
    slices = [(scan.kspace(0), mr.estimate_maps(scan)) for scan in scans]
    count, center = round(width / args.acceleration), round(args.center_fraction * width)
    mask = learned(slices, count, center)
    np.save(args.output, mask.numpy())
    print(f"{args.output}: {int(mask.sum())} of {width} columns, learned from {len(slices)} slices")
    for path in args.judge:
        scan = middle(path)
        for name in (str(args.output), *KINDS):
            fixed = {"acceleration": args.acceleration, "center_fraction": args.center_fraction}
            given = {} if name == str(args.output) else fixed
            found = [
                mr.reconstruct(scan, method=method, mask=name, progress=False, **given)
                for method in METHODS
            ]
            rate = found[0].info["acceleration"]["achieved"]
            psnr = "  ".join(
                f"{method} {volume.info['metrics']['psnr']:.2f} dB"
                for method, volume in zip(METHODS, found, strict=True)
            )
            print(f"{path.name}  {name:12s} R = {rate:.2f}  {psnr}", flush=True)


if __name__ == "__main__":
    main()
