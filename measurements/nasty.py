"""Every method on every nasty input of `tests/methods/nasty.py`.

    python measurements/nasty.py
    python measurements/nasty.py --methods dds tv --inputs "one coil" "all NaN" --show

An image that is finite and not zero, or one clear sentence, is right. Prints how often which came out, and each fault.
Exit status 1 where there was one. 27 methods on 63 inputs take about 3 minutes on one core.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "methods"))

from nasty import INPUTS, SHORT, answer

import mrirecon as mr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=list(mr.METHODS), default=list(mr.METHODS))
    parser.add_argument("--inputs", nargs="+", choices=list(INPUTS), default=list(INPUTS))
    parser.add_argument("--show", action="store_true", help="print every answer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, counts = time.monotonic(), defaultdict(int)
    faults: dict[tuple[str, str], list[str]] = defaultdict(list)
    refusals: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in options.inputs:
        nasty = INPUTS[name]()
        for method in options.methods:
            with tempfile.TemporaryDirectory() as folder:
                start = time.monotonic()
                kind, what = answer(method, nasty, Path(folder))
                took = time.monotonic() - start
            if took > 60:
                kind, what = "fault", f"{took:.0f} s"
            counts[kind] += 1
            if kind == "fault":
                faults[name, what].append(method)
            elif kind == "refused":
                refusals[name][what].append(method)
            if options.show:
                print(f"{method} on {name!r}: {kind}: {what} ({took:.1f} s)")
    for name, messages in refusals.items():
        for message, methods in messages.items():
            print(f"{name}: refused by {named(methods, options.methods)}: {message}")
    print()
    for (name, what), methods in faults.items():
        print(f"FAULT {name}: {what}: {named(methods, options.methods)}")
    print(f"\n{dict(counts)} in {time.monotonic() - began:.0f} s")
    return 1 if faults else 0


def named(methods: list[str], asked: list[str]) -> str:
    missing = [name for name in asked if name not in methods]
    if len(missing) < 4 and len(methods) > 6:
        return f"all {len(methods)}" + (f" but {', '.join(missing)}" if missing else "")
    samplers = [name for name in methods if name in SHORT and name != "unrolled_prior"]
    if len(samplers) > 6:
        rest = [name for name in methods if name not in samplers]
        return ", ".join([*rest, f"{len(samplers)} samplers"])
    return ", ".join(methods)


if __name__ == "__main__":
    sys.exit(main())
