"""Time and memory of a variable-density Poisson-disk mask, beside sigpy.mri.poisson (numba-compiled).

Run `python measurements/poisson.py`. Both draw sigpy's default pattern (no calibration square, corners left empty),
timed in turn in one process after a call that compiles and warms up. Peak memory is the growth of a fresh process's
resident memory during one call (Linux only).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

SHAPE = (320, 320)

Draw = Callable[[tuple[int, int], float, int], int]


def ours() -> Draw:
    from mrirecon.masks.own import poisson

    def draw(shape: tuple[int, int], acceleration: float, seed: int) -> int:
        mask = poisson(shape, acceleration, center_fraction=0.0, seed=seed, elliptical=True)
        return int(mask.sum())

    return draw


def sigpy() -> Draw:
    import sigpy.mri

    def draw(shape: tuple[int, int], acceleration: float, seed: int) -> int:
        return int(sigpy.mri.poisson(shape, acceleration, seed=seed, dtype=bool).sum())

    return draw


TOOLS = {"mrirecon": ours, "sigpy": sigpy}


def peak_memory_mb(tool: str, acceleration: float) -> float:
    code = f"import sys; sys.path[:0] = {sys.path}; import poisson; poisson.report_memory({tool!r}, {acceleration})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def report_memory(tool: str, acceleration: float) -> None:
    draw = TOOLS[tool]()
    draw((64, 64), 4.0, 0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = resident_kb("VmRSS")
    draw(SHAPE, acceleration, 0)
    print((resident_kb("VmHWM") - before) / 1024)


def resident_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--accelerations", type=float, nargs="+", default=[8.0, 15.0])
    args = parser.parse_args()
    draws = {name: tool() for name, tool in TOOLS.items()}
    for draw in draws.values():
        draw((64, 64), 4.0, 0)
    for acceleration in args.accelerations:
        seconds: dict[str, list[float]] = {name: [] for name in TOOLS}
        points = {}
        for seed in range(args.repeats):
            for name, draw in draws.items():
                start = perf_counter()
                points[name] = draw(SHAPE, acceleration, seed)
                seconds[name].append(perf_counter() - start)
        medians = {name: median(values) for name, values in seconds.items()}
        for name in TOOLS:
            print(
                f"{SHAPE[0]} x {SHAPE[1]}, R = {acceleration:g}: {name:8s} {1e3 * medians[name]:7.1f} ms, "
                f"{points[name]} points (R = {SHAPE[0] * SHAPE[1] / points[name]:.3f}), "
                f"peak memory {peak_memory_mb(name, acceleration):.1f} MB"
            )
        print(f"ratio of medians: {medians['sigpy'] / medians['mrirecon']:.1f}")


if __name__ == "__main__":
    main()
