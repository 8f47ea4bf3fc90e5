"""Time and memory of a variable-density Poisson-disk mask of 320 x 320, beside sigpy.mri.poisson (numba-compiled).

Both draw sigpy's default pattern (no calibration square, corners left empty), after a call that compiles.
"""

from __future__ import annotations

from functools import partial
from itertools import count

import numpy as np
from peers import Call, Case, main

SHAPE = (320, 320)


def ours(acceleration: float) -> Call:
    from mrirecon.masks.own import poisson

    seeds = count()

    def draw(shape: tuple[int, int] = SHAPE) -> object:
        options = {"center_fraction": 0.0, "elliptical": True}
        return poisson(shape, acceleration, seed=next(seeds), **options)

    draw((64, 64))
    return draw


def sigpys(acceleration: float) -> Call:
    import sigpy.mri

    seeds = count()

    def draw(shape: tuple[int, int] = SHAPE) -> object:
        return sigpy.mri.poisson(shape, acceleration, seed=next(seeds), dtype=bool)

    draw((64, 64))
    return draw


def agreement(results: dict[str, object]) -> str:
    masks = {name: np.asarray(mask) for name, mask in results.items()}
    reached = (f"{name} {mask.size / mask.sum():.3f}" for name, mask in masks.items())
    return "acceleration reached: " + ", ".join(reached)


CASES = {
    f"Poisson disk, R = {acceleration}": Case(
        {"mrirecon": partial(ours, acceleration), "sigpy": partial(sigpys, acceleration)},
        agreement,
    )
    for acceleration in (8, 15)
}

if __name__ == "__main__":
    main(__doc__, CASES, __file__)
