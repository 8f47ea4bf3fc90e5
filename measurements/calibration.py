"""Does the standard deviation of draws predict the error? On held-out scans with known truth.

Scans and masks are those of configs/benchmark/gallery.yaml. Of the magnitudes in the head: the correlation of the
predicted standard deviation with the absolute error of the mean of the draws, pixel by pixel and averaged over 8 x 8
pixels (a single pixel's error is one draw of a random number, which no standard deviation can predict); the same of
the null-space part, which needs no draws; the standard deviation over the root mean square error; and the coverage of
the 90 % interval, mean ± t standard deviations times sqrt(1 + 1/N) with Student's t of N - 1 degrees of freedom, and
of the draws' own 5 to 95 % quantiles.

    python measurements/calibration.py data/multicoil_val
"""

from __future__ import annotations

import argparse
import math

import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import t as student
from torch import Tensor

from mrirecon.benchmark import Benchmark, MaskEntry, MethodEntry, find_scans
from mrirecon.benchmark.cells import cells_of
from mrirecon.benchmark.solve import Solver, Truth
from mrirecon.recon import run
from mrirecon.scan import Volume

BLOCK = 8
MASKS = (
    MaskEntry("uniform1d", 4, center_fraction=0.08),
    MaskEntry("gaussian1d", 8, center_fraction=0.04),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="fully sampled scans of heads, with their truth")
    parser.add_argument("--samplers", nargs="+", default=["dds", "pigdm"])
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--slices", type=int, default=2, help="of each scan, in its middle")
    parser.add_argument("--scans", type=int, help="take so many scans only")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    options = {"samples": args.draws, "draws": True, "trust": True}
    benchmark = Benchmark(
        scans=tuple(find_scans([args.folder], args.slices, args.scans)),
        masks=MASKS,
        methods=tuple(MethodEntry(method=name, options=options) for name in args.samplers),
        support="head",
    )
    solver, rows = Solver(benchmark, "cpu"), []
    for cell in cells_of(benchmark, benchmark.scans, benchmark.methods):
        truth, problem = solver.problem(cell)
        volume = run(cell.method.build({}, cell.seed), problem.scan, maps=problem.maps)
        found = figures(volume, truth, args.draws)
        rows.append({"mask": cell.mask.name, "sampler": cell.method.name, **found})
    means = pd.DataFrame(rows).groupby(["mask", "sampler"], sort=False).mean()
    print(means.round(2).to_string())


def figures(volume: Volume, truth: Truth, count: int) -> dict[str, float]:
    """The columns of the table for one scan."""
    inside, target = truth.support, truth.target
    assert inside is not None
    draws = torch.stack([volume.extras[f"draw{n}"][0] for n in range(1, count + 1)])
    middle, std = draws.mean(0), draws.std(0)
    error = (middle - target).abs()
    half = float(student.ppf(0.95, count - 1)) * math.sqrt(1 + 1 / count) * std
    low, high = torch.quantile(draws, torch.tensor([0.05, 0.95]), dim=0)
    covered, between = error <= half, (target >= low) & (target <= high)
    blocks = [blocks_of(x, inside) for x in (std, volume.extras["null_space"][0], error)]
    return {
        "correlation, pixels": correlation(std[inside], error[inside]),
        "8 x 8": correlation(blocks[0], blocks[2]),
        "null space, 8 x 8": correlation(blocks[1], blocks[2]),
        "std / error": float((std[inside].square().mean() / error[inside].square().mean()).sqrt()),
        "90 % interval covers": float(covered[inside].float().mean()),
        "quantiles cover": float(between[inside].float().mean()),
    }


def blocks_of(image: Tensor, inside: Tensor) -> Tensor:
    """Root mean square over blocks that lie in the head by more than a half."""
    weight = inside.float()[:, None]
    power = F.avg_pool2d(image.square()[:, None] * weight, BLOCK)
    share = F.avg_pool2d(weight, BLOCK)
    kept = share > 0.5
    return (power[kept] / share[kept]).sqrt()


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


if __name__ == "__main__":
    main()
