"""What figures about an image cost: their share of the CPU time of a reconstruction, per method.

    python measurements/trust.py [METHOD ...] [--slices 1] [--full]

The 8-coil scan of 230 x 180, or with --full a phantom of 15 coils x 640 x 372 behind two masks; one thread. `figures`
is what every JSON has, `share` what `trust: share` adds; both are over the time without that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import wraps
from statistics import median
from time import process_time
from typing import Any

import torch
from peers import kspace_8x230x180

from mrirecon.birdcage import birdcage_maps
from mrirecon.io.arrays import plain_scan
from mrirecon.methods import networks, posterior, problem
from mrirecon.networks.base import Unrolled
from mrirecon.phantom import shepp_logan
from mrirecon.recon.request import Request
from mrirecon.scan import Scan
from mrirecon.tensors import fft2c

METHODS = [
    "zero_filled",
    "cg_sense",
    "l1_wavelet",
    "tv",
    "varnet",
    "humus",
    "unrolled_prior",
    "dds",
]
SHAPE, COILS, NOISE = (640, 372), 15, 0.02
MASKS = {"uniform1d": 4, "poisson": 8}
FIGURES = [  # what computes them
    (problem.Problem, "residual"),
    (posterior, "image_figures"),
    (networks, "image_figures"),
    (networks, "data_figures"),
    (Unrolled, "misfit"),
]
SHARE = [(posterior, "null_space_figures"), (networks.UnrolledMethod, "_null_space")]
SHARE += [(networks, "null_space_figures")]


class Clock:
    """CPU seconds within functions that are replaced by timed ones; calls within calls count once."""

    def __init__(self, places: list[tuple[Any, str]]) -> None:
        self.seconds, self._depth = 0.0, 0
        for owner, name in places:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            start = process_time()
            self._depth += 1
            try:
                return call(*args, **options)
            finally:
                self._depth -= 1
                self.seconds += 0 if self._depth else process_time() - start

        return timed


def full_scan(slices: int) -> Scan:
    """A phantom of 15 coils x 640 x 372, whose slices are alike."""
    generator = torch.Generator().manual_seed(0)
    kspace = fft2c(birdcage_maps(SHAPE, COILS)[0] * shepp_logan(SHAPE))
    noise = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator)
    return plain_scan(
        "phantom", "array", (slices, *kspace.shape), lambda volume, index: kspace + NOISE * noise
    )


def measured(slices: int) -> Scan:
    kspace = kspace_8x230x180()
    shape = (slices, *kspace.shape)
    return plain_scan("measured", "array", shape, lambda volume, index: kspace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scan = full_scan(args.slices) if args.full else measured(args.slices)
    figures, share = Clock(FIGURES), Clock(SHARE)
    print(
        f"{scan.shape}, medians of {args.repeats}: CPU seconds, share of figures, of trust: share"
    )
    for kind, acceleration in MASKS.items() if args.full else [(None, None)]:
        for name in args.methods:
            found = []
            for trust in (False, "share"):
                if trust and name not in ("varnet", "humus", "unrolled_prior", "dds"):
                    continue
                method = {"name": name, **({"trust": trust} if trust else {})}
                request = Request(method=method, mask=kind, acceleration=acceleration)
                data, _ = request.prepare(scan)
                for _ in range(args.repeats):
                    figures.seconds = share.seconds = 0.0
                    start = process_time()
                    request.pipeline(data, device="cpu").run()
                    found.append(
                        (bool(trust), process_time() - start, figures.seconds, share.seconds)
                    )
            line(f"{name} {kind or ''}", found)


def line(title: str, found: list[tuple[bool, float, float, float]]) -> None:
    plain = median(total for asked, total, _, _ in found if not asked)
    cost = median(seconds for asked, _, seconds, _ in found if not asked)
    asked = [seconds for trust, _, _, seconds in found if trust]
    more = f"{median(asked) / plain:8.1%}" if asked else ""
    print(f"  {title:28s} {plain:8.2f} s {cost / plain:8.1%} {more}", flush=True)


if __name__ == "__main__":
    main()
