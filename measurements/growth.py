"""How CPU time and peak memory grow with slices, coils, matrix, noise levels and draws: exponents of fitted powers.

Each point is a process of its own with one thread, so that its peak memory is its own; CPU time (of the process, user
and system) is that of the reconstruction alone, after one of a tiny scan. Slices, coils and matrix are those of
`cg_sense` with a fixed number of iterations, with coil maps at hand, so that CG alone is looked at, and with
ESPIRiT, which is in the row `coils, with ESPIRiT`; levels and draws those of `dds` with the prior that comes along.

    python measurements/growth.py          # three to four minutes; writes docs/records/growth.json
    python docs/figures.py growth text     # the picture, and what the page quotes
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mrirecon as mr
from mrirecon.device import PeakMemory
from mrirecon.io.arrays import plain_scan
from mrirecon.phantom import shepp_logan
from mrirecon.scan import Scan

ROOT = Path(__file__).parents[1]
CG = {"method": "cg_sense", "slices": 1, "coils": 8, "matrix": 256, "iterations": 30}
DDS = {"method": "dds", "slices": 1, "coils": 4, "matrix": 128, "levels": 10, "samples": 1}
# What grows: (the rest, its name among the options, its values).
SERIES: dict[str, tuple[dict[str, Any], str, tuple[int, ...]]] = {
    "slices": ({**CG, "matrix": 192}, "slices", (2, 4, 8, 16)),
    "coils": (CG, "coils", (4, 8, 16, 32)),
    "coils, with ESPIRiT": ({**CG, "maps": "espirit"}, "coils", (4, 8, 16, 32)),
    "side of the matrix": ({**CG, "coils": 4}, "matrix", (192, 256, 384, 512)),
    "levels": (DDS, "levels", (5, 10, 20, 40)),
    "draws": (DDS, "samples", (1, 2, 4, 8)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point is not None:
        print(json.dumps(measure(**args.point)))
        return
    found = {}
    for name, (fixed, varied, values) in SERIES.items():
        points = [point({**fixed, varied: value}) for value in values]
        seconds, memory = (list(column) for column in zip(*points, strict=True))
        found[name] = {
            "method": fixed["method"],
            "values": values,
            "cpu_seconds": seconds,
            "peak_mb": memory,
            "time_exponent": exponent(values, seconds),
            "memory_exponent": exponent(values, memory),
        }
        print(name, found[name], flush=True)
    write(found)


def point(options: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds, and MB of peak memory above that before, of a process of its own."""
    words = [sys.executable, __file__, "--point", json.dumps(options)]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=threads)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def measure(
    method: str, slices: int, coils: int, matrix: int, maps: str | None = None, **options: Any
) -> tuple[float, float]:
    """CPU seconds and MB of one reconstruction."""
    scan, known = scan_of(slices, coils, matrix)
    given = {} if maps == "espirit" else {"maps": known}
    if method == "cg_sense":
        options |= {"tolerance": 0.0, "regularization": 0.01}
    once, its_maps = scan_of(1, 2, 64)
    mr.reconstruct(once, method=method, maps=its_maps, device="cpu", progress=False, **options)
    memory, start = PeakMemory("cpu"), time.process_time()
    mr.reconstruct(scan, method=method, device="cpu", progress=False, **given, **options)
    return time.process_time() - start, (memory.rise() or 0) / 1e6


def scan_of(slices: int, coils: int, matrix: int) -> tuple[Scan, mr.GivenMaps]:
    """A scan whose slices are all the same phantom, every fourth column and 24 in the middle, and its coil maps."""
    maps = mr.birdcage_maps((matrix, matrix), coils)
    noise = mr.complex_noise_like(maps[0], torch.Generator().manual_seed(0))
    kspace = mr.fft2c(shepp_logan((matrix, matrix)) * maps[0]) + 0.005 * noise
    mask = torch.zeros(matrix, dtype=torch.bool)
    mask[::4] = mask[matrix // 2 - 12 : matrix // 2 + 12] = True
    kspace = kspace * mask
    shape = (slices, coils, matrix, matrix)
    scan = plain_scan("phantom", "memory", shape, lambda volume, index: kspace)
    return scan, mr.GivenMaps(maps.expand(slices, -1, -1, -1), "the phantom")


def exponent(values: tuple[int, ...], costs: list[float]) -> float:
    """P of the power c n^p that fits best on logarithmic axes."""
    return round(float(np.polyfit(np.log(values), np.log(costs), 1)[0]), 2)


def write(found: dict[str, dict[str, Any]]) -> None:
    """The record that the page on costs quotes."""
    sys.path.insert(0, str(ROOT / "docs"))
    import records

    head = ["what grows", "from", "to", "method", "CPU time", "exponent", "peak memory", "exponent"]
    rows = []
    for name, one in found.items():
        seconds, memory = one["cpu_seconds"], one["peak_mb"]
        rows.append(
            [
                name,
                one["values"][0],
                one["values"][-1],
                f"`{one['method']}`",
                f"{seconds[0]:.2f} to {seconds[-1]:.2f} s",
                f"{one['time_exponent']:.2f}",
                f"{memory[0]:.0f} to {memory[-1]:.0f} MB",
                f"{one['memory_exponent']:.2f}",
            ]
        )
    records.Record(
        what="CPU time of one thread, peak memory above the start, and the powers of what grows that fit them",
        script="python measurements/growth.py",
        data="a phantom, made by the script",
        made=records.here(),
        seeds={"noise": 0},
        numbers=found,
        tables={"growth": records.table(head, rows)},
    ).write("growth")


if __name__ == "__main__":
    main()
