"""Held-out quality of the shipped networks beside converged, tuned L1-wavelet and total variation.

FOLDER is a training set of `data_scripts/simulate_training_set.py`. Weights of the classical methods are tuned on some
of its training volumes, everything is measured on its validation volumes, whose patients no network has seen:
fastMRI's volume PSNR and SSIM against the noise-free truth, mean over the volumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from cases import CONVERGED, WEIGHTS

from mrirecon.io import read_scan
from mrirecon.masks import uniform1d
from mrirecon.methods import METHODS
from mrirecon.metrics import Metrics, evaluate
from mrirecon.scan import Scan

PATTERNS = ((4.0, 0.08), (8.0, 0.04))
TUNED = {"l1_wavelet": CONVERGED, "tv": CONVERGED}


def scans(folder: Path, slices: int, acceleration: float, center: float) -> Iterable[Scan]:
    """The middle slices of every volume, undersampled by a mask of its own."""
    for seed, path in enumerate(sorted(folder.glob("[!.]*.h5"))):
        scan = read_scan(str(path))
        start = (scan.shape[0] - slices) // 2
        scan = scan.select(slice(start, start + slices))
        yield scan.undersample(
            uniform1d(scan.shape[2:], acceleration, center_fraction=center, seed=seed)
        )


def quality(scan: Scan, method: str, options: dict[str, Any]) -> Metrics:
    assert scan.reference is not None
    target = torch.stack([scan.reference(index) for index in range(scan.shape[0])])
    return evaluate(METHODS[method](**options)(scan).image[0], target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slices", type=int, default=4, help="of each volume")
    parser.add_argument("--tuning", type=int, default=4, help="training volumes to tune on")
    parser.add_argument("--classical", type=Path, help="keeps the classical results between runs")
    parser.add_argument(
        "--networks", nargs="*", default=["unet", "varnet", "humus"], metavar="METHOD[=WEIGHTS]"
    )
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    known: dict[str, Any] = {}
    if args.classical and args.classical.is_file():
        known = json.loads(args.classical.read_text())
    for acceleration, center in PATTERNS:
        held_out = list(scans(args.folder / "multicoil_val", args.slices, acceleration, center))
        title = f"uniform1d R = {acceleration:g}, centre {center:g}"
        print(f"{title}, {len(held_out)} volumes x {args.slices} slices")
        rows = known.setdefault(title, {})
        if "tv" not in rows:
            train = list(scans(args.folder / "multicoil_train", 2, acceleration, center))
            train = train[:: max(1, len(train) // args.tuning)]
            rows["zero_filled"] = [quality(scan, "zero_filled", {}) for scan in held_out]
            for name, options in TUNED.items():
                scores = {
                    weight: mean(
                        quality(scan, name, {**options, "regularization": weight}).psnr
                        for scan in train
                    )
                    for weight in WEIGHTS
                }
                best = max(WEIGHTS, key=lambda weight: scores[weight])
                print(f"  {name}: weight {best:g} is best on the tuning volumes")
                options = {**options, "regularization": best}
                rows[name] = [quality(scan, name, options) for scan in held_out]
            if args.classical:
                args.classical.write_text(json.dumps(known))
        table = {name: [Metrics(*row) for row in rows[name]] for name in rows}
        for choice in args.networks:
            name, _, weights = choice.partition("=")
            options = {"weights": weights} if weights else {}
            table[choice] = [quality(scan, name, options) for scan in held_out]
        for name, results in table.items():
            each = " ".join(f"{result.psnr:6.2f}" for result in results)
            print(
                f"  {name:12s} PSNR {mean(r.psnr for r in results):6.2f} dB   "
                f"SSIM {mean(r.ssim for r in results):.4f}   PSNR of each volume: {each}"
            )


if __name__ == "__main__":
    main()
