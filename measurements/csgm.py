"""How the error of a generator splits into what it cannot represent and what a search of its latent space misses.

    python measurements/csgm.py data/multicoil_val/*.h5 --output csgm.json

Of the middle slice of each fully sampled scan, inside the head: the relative error of the image that the generator
makes when it is fitted to all samples (representation), the distance to it of what it makes of the undersampled scan
(recovery), and the relative errors of that and of what other methods make.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mrirecon as mr

MASKS: dict[str, dict[str, Any]] = {
    "equispaced x4": {"mask": "equispaced", "acceleration": 4, "center_fraction": 0.08},
    "poisson x8": {"mask": "poisson", "acceleration": 8, "center_fraction": 0.1},
}
ALONE: dict[str, Any] = {"method": "csgm", "deviations": "none"}
METHODS: dict[str, dict[str, Any]] = {
    "zero filling": {"method": "zero_filled"},
    "`csgm`, no deviations": ALONE,
    "`csgm`": {"method": "csgm"},
    "`l1_wavelet`": {"method": "l1_wavelet"},
    "`tv`": {"method": "tv"},
}


def magnitude(scan: mr.Scan, options: dict[str, Any]) -> np.ndarray:
    return np.abs(mr.reconstruct(scan, **options).image[0, 0].numpy())


def errors(path: Path) -> Iterator[tuple[str, str, float]]:
    """What was measured of a scan: (mask, method, relative error in percent)."""
    scan = mr.read_scan(path)
    middle = scan.shape[0] // 2
    scan = scan.select(slice(middle, middle + 1))
    truth = magnitude(scan, {"method": "adjoint"})
    head = truth > 0.1 * np.quantile(truth, 0.99)

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(100 * np.linalg.norm((one - other)[head]) / np.linalg.norm(truth[head]))

    best = magnitude(scan, ALONE)
    for mask, options in MASKS.items():
        yield mask, "representation", distance(best, truth)
        for name, method in METHODS.items():
            image = magnitude(scan, {**method, **options})
            yield mask, name, distance(image, truth)
            if method is ALONE:
                yield mask, "recovery", distance(image, best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {}
    for path in given.scans:
        for mask, name, error in errors(path):
            print(f"{path.stem}  {mask}  {name}  {error:.2f} %", flush=True)
            found.setdefault(name, {}).setdefault(mask, []).append(round(error, 2))
    given.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
