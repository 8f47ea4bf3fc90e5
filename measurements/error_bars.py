"""Do calibrated intervals hold the truth as often as they say? On simulated scans with known truth.

Of the magnitudes in the head, for each method and mask: the share of pixels whose truth lies in the interval, and the
rank correlation of the standard deviation with the true error, both root mean square over 8 x 8 pixels, before and
after calibration; and the share of left-out samples that `recon` itself states.

    python measurements/error_bars.py data/multicoil_val/*.h5 --slice 0
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

import mrirecon as mr
from mrirecon.benchmark.regions import find_head
from mrirecon.recon.left_out.error_bars import ErrorBars
from mrirecon.recon.left_out.spread import Factors, deviations_of
from mrirecon.recon.pipeline import Pipeline

BLOCK = 8
MASKS = {"equispaced": 4, "uniform1d": 4, "gaussian1d": 8, "gaussian2d": 8, "poisson": 8}
METHODS = ("dds", "pigdm", "diffpir", "tv", "l1_wavelet", "unrolled_prior")
SAMPLERS = METHODS[:3]
UNCHANGED = Factors.everywhere(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", nargs="+", help="fully sampled simulated scans with references")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--masks", nargs="+", default=list(MASKS))
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--slice", type=int, default=0)
    parser.add_argument("--level", type=float, default=0.9)
    args = parser.parse_args()
    rows = []
    for path in args.scans:
        for mask in args.masks:
            for name in args.methods:
                method = {"name": name}
                if name in SAMPLERS:
                    method["samples"] = args.draws
                request = mr.Request(
                    method=method,
                    mask=mask,
                    acceleration=MASKS[mask],
                    calibrate=True,
                    level=args.level,
                )
                scan = request.read(path).select(slice(args.slice, args.slice + 1))
                pipeline = request.pipeline(request.prepare(scan)[0])
                with torch.no_grad():
                    found = figures(pipeline, scan.reference(0))
                rows.append({"mask": f"{mask} x{MASKS[mask]}", "method": name, **found})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby(["mask", "method"], sort=False).mean()
    print(table.round(3).to_string())


def figures(pipeline: Pipeline, truth: Tensor) -> dict[str, float]:
    """The columns of the table for one slice."""
    bars, solver = pipeline.judged.bars, pipeline.solver
    ((problem,),) = pipeline.problems.batches(pipeline.problems.places())
    (solution,) = solver.solve([problem])
    known = deviations_of(solver, problem, solution)
    inside = find_head(truth[None])[0]
    found: dict[str, float] = {}
    plain = ErrorBars(UNCHANGED, bars.level, {})
    for when, one in (("before", plain), ("after", bars)):
        result = one.around(pipeline.finish, problem, solution, *known)
        low, high, std = (result.extras[name] for name in ("low", "high", "std"))
        error = (result.image.abs() - truth).abs()
        held = ((low <= truth) & (truth <= high))[inside].float()
        found[f"held {when}"] = float(held.mean())
        found[f"rank correlation {when}"] = float(
            spearmanr(blocks_of(std, inside), blocks_of(error, inside))[0]
        )
        found[f"samples held {when}"] = bars.info[f"coverage_{when}"]
    return found


def blocks_of(image: Tensor, inside: Tensor) -> Tensor:
    """Root mean square over blocks that lie in the head by more than a half."""
    weight = inside.float()[None, None]
    power = F.avg_pool2d(image.square()[None, None] * weight, BLOCK)
    share = F.avg_pool2d(weight, BLOCK)
    kept = share > 0.5
    return (power[kept] / share[kept]).sqrt()


if __name__ == "__main__":
    main()
