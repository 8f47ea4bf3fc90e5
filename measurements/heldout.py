"""Predict measured samples that were left out, over a sweep of settings.

A random tenth of the real scan's samples outside the calibration square is left out; each reconstruction's forward
model predicts them. The error is ||predicted - measured|| / ||measured||, after fitting one complex gain on the samples
that were kept.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from peers import array_scan, kspace_8x230x180

import mrirecon as mr

WEIGHTS = (0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005)
CG_WEIGHTS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.16)
SPECTRAL = ("ddnm_plus", "ddrm", "snips")
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(("l1_wavelet", {"regularization": weight, "relative": False}) for weight in WEIGHTS),
    *(("tv", {"regularization": weight, "relative": False}) for weight in WEIGHTS),
    *((name, {"regularization": "auto"}) for name in ("cg_sense", "l1_wavelet", "tv")),
    *(("cg_sense", {"regularization": weight}) for weight in CG_WEIGHTS),
    *(("unrolled_prior", {"adapt": steps} if steps else {}) for steps in (None, "auto", 60)),
    *(("dds", {"samples": 4, **more}) for more in ({}, {"sigma_min": 0.05}, {"samples": 8})),
    *(("score_mri", more) for more in ({}, {"levels": 60, "sigma_min": 0.03})),
    *((name, {"samples": 4}) for name in ("pyramid", "reconstruction_guidance")),
    ("adjoint", {}),
    *(("dps", more) for more in ({}, {"zeta": 3.0})),
    *((name, {"coils": coils}) for name in SPECTRAL for coils in ("lanczos", "each")),
    *((name, {"lanczos_steps": steps}) for name in SPECTRAL for steps in (10, 20)),
]


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
    y, fit = kspace * kept, mr.sense(maps, kept)(image)
    gain = torch.vdot(fit.flatten(), y.flatten()) / torch.linalg.vector_norm(fit) ** 2
    target = kspace * left_out
    miss = gain * mr.sense(maps, left_out)(image) - target
    return float(torch.linalg.vector_norm(miss) / torch.linalg.vector_norm(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=100, help="of l1_wavelet and tv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", help="all when not given")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    kspace, rows = kspace_8x230x180(), []
    for seed in args.seeds:
        left_out = leave_out(kspace, seed)
        scan = array_scan(kspace * ~left_out)
        maps = mr.EstimatedMaps()(scan, 0, "cpu")
        for name, options in SETTINGS:
            if args.methods is None or name in args.methods:
                few = {"iterations": args.iterations} if "relative" in options else {}
                given = mr.GivenMaps(maps, "memory")
                options = {**options, **few}
                volume = mr.reconstruct(scan, method=name, maps=given, device="cpu", **options)
                error = prediction_error(volume.image[0, 0], maps[0], kspace, left_out)
                rows.append({"method": name, "options": str(options), "seed": seed, "error": error})
    table = pd.DataFrame(rows).pivot_table("error", ["method", "options"], "seed", sort=False)
    print(table.assign(mean=table.mean(axis=1)).round(4).to_string())


if __name__ == "__main__":
    main()
