"""Predict measured samples that were left out: ours beside BART's `pics -l1`, over a sweep of settings.

A random tenth of the real scan's samples outside the calibration square is left out; each reconstruction's forward
model predicts them. The error is ||predicted - measured|| / ||measured||, after fitting one complex gain on the samples
that were kept (BART 0.8 `pics` flips the sign at this size). Each tool uses its own coil maps.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from peers import HAVE_BART, Bart, array_scan, kspace_8x230x180

from mrirecon.methods import METHODS, Calibrated, GivenMaps
from mrirecon.operators import sense

WEIGHTS = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005)
# What the learned methods are tried with.
LEARNED: dict[str, tuple[dict[str, Any], ...]] = {
    "unrolled_prior": ({},),
    "dds": ({"samples": 4}, {"samples": 4, "sigma_min": 0.05}, {"samples": 8}),
    "score_mri": ({}, {"levels": 60, "sigma_min": 0.03}),
    "dps": ({}, {"zeta": 3.0}),
}


def leave_out(kspace: torch.Tensor, seed: int) -> torch.Tensor:
    """Mask of a tenth of the samples outside the central 24 x 24."""
    outside = (kspace != 0).any(dim=0)
    outside[103:127, 78:102] = False
    points = outside.flatten().nonzero().flatten()
    chosen = np.random.default_rng(seed).choice(len(points), len(points) // 10, replace=False)
    mask = torch.zeros_like(outside)
    mask.flatten()[points[chosen]] = True
    return mask


def prediction_error(
    image: torch.Tensor, maps: torch.Tensor, kspace: torch.Tensor, left_out: torch.Tensor
) -> float:
    kept = (kspace != 0).any(dim=0) & ~left_out
    y, fit = kspace * kept, sense(maps, kept)(image)
    gain = torch.vdot(fit.flatten(), y.flatten()) / torch.linalg.vector_norm(fit) ** 2
    target = kspace * left_out
    miss = gain * sense(maps, left_out)(image) - target
    return float(torch.linalg.vector_norm(miss) / torch.linalg.vector_norm(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    kspace = kspace_8x230x180()
    found: dict[str, list[list[float]]] = {}
    print(f"weight (absolute)          {'  '.join(f'{w:7g}' for w in WEIGHTS)}")
    for name, variants in LEARNED.items():
        print(f"settings of {name}: {'; '.join(str(options) for options in variants)}")
    for seed in args.seeds:
        left_out = leave_out(kspace, seed)
        seen = kspace * ~left_out
        scan = array_scan(seen)
        errors: dict[str, list[float]] = {}
        ours = Calibrated()(scan, 0, "cpu")
        for name in ("l1_wavelet", "tv"):
            for weight in WEIGHTS:
                method = METHODS[name](
                    maps=GivenMaps(ours, "memory"),
                    regularization=weight,
                    relative=False,
                    iterations=args.iterations,
                )
                image = method(scan).image[0, 0]
                error = prediction_error(image, ours[0], kspace, left_out)
                errors.setdefault(name, []).append(error)
        for name, variants in LEARNED.items():
            for options in variants:
                image = METHODS[name](maps=GivenMaps(ours, "memory"), **options)(scan).image[0, 0]
                error = prediction_error(image, ours[0], kspace, left_out)
                errors.setdefault(name, []).append(error)
        if HAVE_BART:
            ecalib = Bart(seen)
            ecalib("ecalib -m1")
            theirs = ecalib.result()
            for label, maps in (("bart -l1", theirs), ("bart -l1, our maps", ours[0])):
                pics = Bart(seen, maps)
                for weight in WEIGHTS:
                    pics(f"pics -w1 -l1 -r {weight} -e -i {args.iterations}")
                    error = prediction_error(pics.result(), maps, kspace, left_out)
                    errors.setdefault(label, []).append(error)
        for name, values in errors.items():
            print(f"seed {seed}: {name:18s} {'  '.join(f'{e:7.4f}' for e in values)}")
            found.setdefault(name, []).append(values)
    for name, rows in found.items():
        means = np.mean(rows, axis=0)
        print(f"mean of {len(rows)} seeds: {name:18s} {'  '.join(f'{e:7.4f}' for e in means)}")


if __name__ == "__main__":
    main()
