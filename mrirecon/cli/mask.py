"""`mrirecon mask`."""

from __future__ import annotations

import re

import torch

from mrirecon.cli.config import Settings, UsageError
from mrirecon.cli.parser import Parser
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
        shape: readout and phase size, as in `--shape 640 372` or 640x372.
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


def as_numbers(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """`--shape 64x64` as `--shape 64 64`, in YAML too.

    Raises:
        UsageError: if it is neither.
    """
    words, rest = [], list(args)
    while rest:
        arg = rest.pop(0)
        flag, equals, value = arg.partition("=")
        if flag != "--shape":
            words.append(arg)
            continue
        first = value if equals else rest.pop(0) if rest else ""
        size = _size(first) or _size(f"{first}x{rest.pop(0) if rest else ''}")
        if size is None:
            raise UsageError(f"--shape is {first!r}: give two whole numbers, as 64 64 or 64x64")
        words += ["--shape", *size]
    if isinstance(shape := settings.get("shape"), str) and (size := _size(shape)):
        settings = {**settings, "shape": [int(one) for one in size]}
    return words, settings


def _size(text: str) -> list[str] | None:
    """`64x48` as two numbers."""
    match = re.fullmatch(r"(-?\d+)[x,](-?\d+)", text.lower())
    return None if match is None else [match[1], match[2]]


SHAPE = {
    "nargs": 2,
    "type": int,
    "metavar": ("H", "W"),
    "required": True,
    "help": "readout and phase size; 320x320 is understood too",
}
COMMAND = Command(
    "mask",
    mask,
    "KIND --shape H W --acceleration R --output OUTPUT",
    {"kind": {"metavar": "KIND", "help": ", ".join(MASKS)}, "--shape": SHAPE},
    (
        "poisson --shape 320 320 --acceleration 8 --output mask.png",
        "uniform1d --shape 640x372 --acceleration 4 --seed 3 --output mask.npy",
    ),
    prepare=as_numbers,
)
