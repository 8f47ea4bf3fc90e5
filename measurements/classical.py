"""Time and memory of CG-SENSE, L1-wavelet and total variation beside sigpy and BART at equal iterations.

All get the same k-space and the same maps: the real 8-coil scan, and 32 coils of full size, where sigpy is left out.
BART's time includes starting it and reading its files, ours includes the loop over slices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from espirit import full_size
from peers import Bart, Call, Case, array_scan, kspace_8x230x180, main

import mrirecon as mr
from mrirecon.masks.own import equispaced

# (method, its weight, sigpy's app, BART's options), weights on one scale.
METHODS = {
    "cg_sense": (0.01, "SenseRecon", "-l2 -r 0.01"),
    "l1_wavelet": (0.005, "L1WaveletRecon", "-l1 -r 0.005 -e"),
    "tv": (0.005, "TotalVariationRecon", "-R T:3:0:0.005"),
}
Data = Callable[[], torch.Tensor]


def large() -> torch.Tensor:
    return full_size(32) * equispaced((640, 372), 4, center_fraction=0.08, seed=0)


@cache
def maps_of(data: Data) -> torch.Tensor:
    return mr.EstimatedMaps()(array_scan(data()), 0, "cpu")


def ours(data: Data, name: str, iterations: int) -> Call:
    weight = METHODS[name][0]
    absolute = {"tolerance": 0.0} if name == "cg_sense" else {"relative": False}
    method = mr.METHODS[name](regularization=weight, iterations=iterations, **absolute)
    scan, maps = array_scan(data()), mr.GivenMaps(maps_of(data), "memory")
    return lambda: mr.run(method, scan, maps=maps)


def sigpys(data: Data, name: str, iterations: int) -> Call:
    import sigpy.mri.app

    weight, app, _ = METHODS[name]
    arrays = data().numpy(), maps_of(data)[0].numpy()
    settings = {"lamda": weight, "max_iter": iterations, "show_pbar": False}
    return lambda: getattr(sigpy.mri.app, app)(*arrays, **settings).run()


def barts(data: Data, name: str, iterations: int) -> Call:
    return Bart(data(), maps_of(data)[0]).command(f"pics -w1 {METHODS[name][2]} -i {iterations}")


def case(data: Data, name: str, iterations: int, small: bool = False) -> Case:
    tools = {"mrirecon": ours, **({"sigpy": sigpys} if small else {}), "bart": barts}
    made = {t: partial(tool, data, name, iterations) for t, tool in tools.items()}
    return Case(made, repeats=99 if small else 3)


CASES = {
    **{
        f"{name}, 8 coils 230 x 180, 100 iterations": case(kspace_8x230x180, name, 100, small=True)
        for name in METHODS
    },
    **{f"{name}, 32 coils 640 x 372, 20 iterations": case(large, name, 20) for name in METHODS},
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
