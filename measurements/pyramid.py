"""What `pyramid` saves: PSNR and CPU seconds beside `dds`, its parent at one size, with equal and with fewer levels.

The middle slice of each simulated scan; coil maps are estimated once, from its calibration centre, and do not count.
Begun at CG-SENSE from a level of 0.3, and from noise alone at the prior's highest level.
"""

from __future__ import annotations

import argparse
from time import process_time
from typing import Any

import pandas as pd
import torch

import mrirecon as mr

MASKS: list[dict[str, Any]] = [
    {"mask": "uniform1d", "acceleration": 4, "center_fraction": 0.08},
    {"mask": "poisson", "acceleration": 8, "center_fraction": 0.07},
]
WARM, COLD = {"start": "cg_sense", "levels": 20}, {"start": "noise", "levels": 40}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(("dds", {**WARM, "levels": levels}) for levels in (20, 10)),
    *(("pyramid", {**WARM, **more}) for more in ({}, {"stride": 2}, {"sizes": 2, "stride": 2})),
    *(("dds", {**COLD, "levels": levels}) for levels in (40, 20, 10)),
    *(("pyramid", {**COLD, **more}) for more in ({}, {"stride": 2})),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", nargs="+", help="fully sampled, with a target")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for path in args.scans:
        whole = mr.read_scan(path)
        middle = whole.shape[0] // 2
        scan = whole.select(slice(middle, middle + 1))
        maps = mr.GivenMaps(mr.EstimatedMaps()(scan, 0, "cpu")[None], "memory")
        for mask in MASKS:
            for method, options in SETTINGS:
                begin = process_time()
                volume = mr.reconstruct(
                    scan,
                    method=method,
                    maps=maps,
                    device="cpu",
                    **mask,
                    **options,
                )
                row = {"seconds": process_time() - begin, "psnr": volume.info["metrics"]["psnr"]}
                rows.append({"method": method, "options": str(options), **mask, **row})
    table = pd.DataFrame(rows).pivot_table(
        ["psnr", "seconds"], ["method", "options"], "mask", sort=False
    )
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
