"""Time and memory of CG-SENSE, L1-wavelet and total variation beside sigpy and BART at equal iterations.

All three get the same k-space (8 x 230 x 180) and the same maps. BART's time includes starting it and reading its
files, ours includes the loop over slices. Peak memory is that of a fresh process with everything it imports.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import torch
from peers import HAVE_BART, Bart, Calls, array_scan, compare, kspace_8x230x180, print_peak

import mrirecon as mr

# Title: (method, its weight, sigpy's app, BART's options), weights on one scale.
CASES = {
    "cg_sense": (0.01, "SenseRecon", "-l2 -r 0.01"),
    "l1_wavelet": (0.005, "L1WaveletRecon", "-l1 -r 0.005 -e"),
    "tv": (0.005, "TotalVariationRecon", "-R T:3:0:0.005"),
}


def calls_of(name: str, iterations: int) -> Calls:
    weight, app, options = CASES[name]
    kspace = kspace_8x230x180()
    scan = array_scan(kspace)
    maps = mr.EstimatedMaps()(scan, 0, "cpu")

    def ours() -> object:
        absolute = {"tolerance": 0.0} if name == "cg_sense" else {"relative": False}
        method = mr.METHODS[name](regularization=weight, iterations=iterations, **absolute)
        return mr.run(method, scan, maps=mr.GivenMaps(maps, "memory"))

    def sigpys() -> object:
        import sigpy.mri.app

        run = getattr(sigpy.mri.app, app)
        arrays = kspace.numpy(), maps[0].numpy()
        return run(*arrays, lamda=weight, max_iter=iterations, show_pbar=False).run()

    calls: Calls = {"mrirecon": ours, "sigpy": sigpys}
    if HAVE_BART:
        bart = Bart(kspace, maps[0])
        calls["bart"] = partial(bart, f"pics -w1 {options} -i {iterations}")
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    if args.once:
        print_peak(calls_of(args.once[0], args.iterations)[args.once[1]])
        return
    for name in args.methods:
        compare(name, calls_of(name, args.iterations), args.repeats, __file__)


if __name__ == "__main__":
    main()
