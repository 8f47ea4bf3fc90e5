"""Time and memory of ESPIRiT coil maps (8 x 230 x 180, 24 x 24 calibration samples) beside sigpy and BART.

BART's time includes starting it and reading its files. Peak memory is that of a fresh process with everything it
imports.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import torch
from peers import HAVE_BART, Bart, Calls, compare, kspace_8x230x180, print_peak

from mrirecon.operators import espirit
from mrirecon.tensors import center_crop, rss


def calls() -> Calls:
    kspace = kspace_8x230x180()

    def ours() -> object:
        return espirit(center_crop(kspace, (24, 24)), (230, 180))

    def sigpys() -> object:
        import sigpy.mri.app

        return sigpy.mri.app.EspiritCalib(kspace.numpy(), show_pbar=False).run()

    tools: Calls = {"mrirecon": ours, "sigpy": sigpys}
    if HAVE_BART:
        bart = Bart(kspace)
        tools["bart"] = partial(bart, "ecalib -m1")
    return tools


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean |<a, b>| over the pixels where both are non-zero."""
    both = (a != 0).any(dim=0) & (b != 0).any(dim=0)
    cosine = (a.conj() * b).sum(dim=0).abs() / (rss(a) * rss(b)).clamp_min(1e-20)
    return float(cosine[both].mean())


def print_agreement() -> None:
    kspace = kspace_8x230x180()
    block = center_crop(kspace, (24, 24))
    theirs = torch.as_tensor(calls()["sigpy"]())
    maps = espirit(block, (230, 180)).maps[0]
    print(f"mean |<m1, m2>| with sigpy (defaults of both): {agreement(maps, theirs):.5f}")
    if HAVE_BART:
        bart = Bart(kspace)
        bart("ecalib -m1")
        same = espirit(block, (230, 180), threshold=0.001**0.5).maps[0]
        print(
            f"mean |<m1, m2>| with BART: {agreement(maps, bart.result()):.5f} (defaults of both), "
            f"{agreement(same, bart.result()):.5f} (at BART's threshold)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    if args.once:
        print_peak(calls()[args.once[1]])
        return
    compare("espirit", calls(), args.repeats, __file__)
    print_agreement()


if __name__ == "__main__":
    main()
