"""Does the standard deviation of draws predict the error? On held-out scans with known truth, as a Markdown table.

For each sampler (options of configs/samplers) N draws of the middle slices of each scan. Of the magnitudes in the head
(benchmarks/cases.py): the correlation of the predicted standard deviation with the absolute error of the mean of the
draws, pixel by pixel and averaged over 8 x 8 pixels (a single pixel's error is one draw of a random number, which no
standard deviation can predict); the standard deviation over the root mean square error; and the coverage of the 90 %
interval, mean ± t standard deviations times sqrt(1 + 1/N) with Student's t of N - 1 degrees of freedom, and of the
draws' own 5 to 95 % quantiles.
The same correlation of the null-space part, which needs no draws, stands beside it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import mean

import torch
import torch.nn.functional as F
from cases import PATTERNS, files, head, truth, undersampled
from gallery import sampler_options
from scipy.stats import t as student
from torch import Tensor

from mrirecon.methods import METHODS
from mrirecon.scan import Scan

BLOCK = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="see benchmarks/cases.py")
    parser.add_argument("--samplers", nargs="+", default=["dds", "pigdm"])
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--slices", type=int, default=2, help="of each scan, in its middle")
    parser.add_argument("--scans", type=int, help="take so many scans only")
    parser.add_argument(
        "--patterns", nargs="+", default=["uniform1d x4", "gaussian1d x8"], choices=list(PATTERNS)
    )
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    print(
        f"| mask | sampler | correlation, pixels | {BLOCK} x {BLOCK} | null space, {BLOCK} x {BLOCK} | std / error "
        "| 90 % interval covers | quantiles cover |"
    )
    print("|---|---|---|---|---|---|---|---|")
    scans = files(args.folder)[: args.scans]
    for pattern in args.patterns:
        for name in args.samplers:
            found = [
                figures(undersampled(path, args.slices, pattern, seed), name, args.draws)
                for seed, path in enumerate(scans)
            ]
            pixel, block, hidden, ratio, interval, quantiles = map(mean, zip(*found, strict=True))
            print(
                f"| {pattern} | `{name}` | {pixel:.2f} | {block:.2f} | {hidden:.2f} | {ratio:.2f} "
                f"| {interval:.0%} | {quantiles:.0%} |",
                flush=True,
            )


def figures(scan: Scan, name: str, count: int) -> tuple[float, ...]:
    """The columns of the table for one scan."""
    options = {**sampler_options(name), "samples": count, "draws": True, "trust": True}
    volume = METHODS[name](**options)(scan)
    target = truth(scan)
    inside = head(target)
    draws = torch.stack([volume.extras[f"draw{n}"][0] for n in range(1, count + 1)])
    middle, std = draws.mean(0), draws.std(0)
    error = (middle - target).abs()
    half = float(student.ppf(0.95, count - 1)) * math.sqrt(1 + 1 / count) * std
    low, high = torch.quantile(draws, torch.tensor([0.05, 0.95]), dim=0)
    covered, between = error <= half, (target >= low) & (target <= high)
    return (
        correlation(std[inside], error[inside]),
        correlation(*(blocks(x, inside) for x in (std, error))),
        correlation(*(blocks(x, inside) for x in (volume.extras["null_space"][0], error))),
        float(std[inside].square().mean().sqrt() / error[inside].square().mean().sqrt()),
        float(covered[inside].float().mean()),
        float(between[inside].float().mean()),
    )


def blocks(image: Tensor, inside: Tensor) -> Tensor:
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
