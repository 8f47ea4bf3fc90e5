"""`mrirecon mask`."""

from __future__ import annotations

import torch

from mrirecon.cli.run import Command
from mrirecon.coverage import achieved_acceleration, calibration_region
from mrirecon.io import write_mask
from mrirecon.masks import MASKS, MaskSpec


def mask(
    *,
    kind: str,
    shape: list[int],
    acceleration: float,
    output: str,
    center_fraction: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Make a sampling mask, and print the acceleration it achieves.

    Kinds whose names end in 1d, equispaced and those of fastMRI sample whole columns; the others sample points.

    Args:
        kind: kind of mask, such as uniform1d or poisson.
        shape: readout and phase size, as in `--shape 640 372`.
        acceleration: points over sampled points.
        output: .npy (bool) or .png.
        center_fraction: calibration share; default 0.08 up to acceleration 5, else 0.04.
        seed: the same seed gives the same mask.
        overwrite: replace an existing output.
    """
    size = (shape[0], shape[1])
    made = MaskSpec(kind, acceleration, center_fraction).draw(size, seed)
    total, without = achieved_acceleration(made, torch.ones_like(made))
    write_mask(output, made, overwrite=overwrite)
    region = calibration_region(made)
    sides = "none" if region is None else " x ".join(str(r.stop - r.start) for r in region)
    print(
        f"{output}: {kind} {size[0]} x {size[1]}, {int(made.sum())} points in {int(made.any(dim=0).sum())} columns, "
        f"acceleration {total:.3f} ({without:.3f} outside the calibration region of {sides})"
    )


SHAPE = {
    "nargs": 2,
    "type": int,
    "metavar": ("H", "W"),
    "required": True,
    "help": "readout and phase size",
}
COMMAND = Command(
    "mask",
    mask,
    "KIND --shape H W --acceleration R --output OUTPUT",
    {"kind": {"metavar": "KIND", "help": ", ".join(MASKS)}, "--shape": SHAPE},
    (
        "poisson --shape 320 320 --acceleration 8 --output mask.png",
        "uniform1d --shape 640 372 --acceleration 4 --seed 3 --output mask.npy",
    ),
)
