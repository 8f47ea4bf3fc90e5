"""Options that several commands share: device, mask, maps, slices."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mrirecon.io import expand_mask, read_maps, read_mask
from mrirecon.masks import MASKS, default_center_fraction, make_mask
from mrirecon.methods import Calibrated, GivenMaps
from mrirecon.methods.calibrate import MapSource
from mrirecon.scan import Scan

Device = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: Device) -> str:
    """The torch device; auto takes a GPU where there is one.

    Raises:
        ValueError: if the device is not there.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, there in present.items() if there)
    if not present[name]:
        raise ValueError(f"device {name} is not available here: use --device auto or cpu")
    return name


def choose_slices(scan: Scan, text: str | None) -> Scan:
    """The scan restricted to `A:B` (first and one past the last slice, either may be left out).

    Raises:
        ValueError: if the text is not A:B or reaches beyond the scan.
    """
    if text is None:
        return scan
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise ValueError(f"--slices {text} is not of the form A:B, such as 10:12 or :5")
    start, stop = (int(part) if part else None for part in match.groups())
    return scan.select(slice(start, stop))


def choose_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: float | None,
    center_fraction: float | None,
    seed: int,
) -> tuple[Tensor, dict[str, Any]]:
    """A mask by kind or from a file, and how it came about, for the JSON.

    Raises:
        ValueError: if the kind is unknown, the acceleration missing, or the file of another size.
        OSError: if the file cannot be read.
    """
    if kind not in MASKS and (Path(kind).suffix or Path(kind).exists()):
        if acceleration is not None or center_fraction is not None:
            raise ValueError(
                f"--mask {kind} is a file, which fixes the acceleration: leave out --accel and --center_fraction"
            )
        return expand_mask(read_mask(kind), shape), {"file": kind}
    if acceleration is None and kind in MASKS:
        raise ValueError(f"--mask {kind} needs an acceleration: add --accel R, such as --accel 4")
    fraction = center_fraction
    if fraction is None:
        fraction = default_center_fraction(acceleration or 1)
    mask = make_mask(kind, shape, acceleration or 1, center_fraction=fraction, seed=seed)
    return mask, {
        "kind": kind,
        "acceleration": acceleration,
        "center_fraction": fraction,
        "seed": seed,
    }


def choose_maps(maps: str, calibration: Calibrated, slices: str | None, count: int) -> MapSource:
    """`espirit`, `lowres`, or a file; a file with maps of all slices follows `--slices`.

    Raises:
        ValueError, OSError: if it is neither a kind nor a readable file.
    """
    if maps == "espirit":
        return replace(calibration, kind="espirit")
    if maps == "lowres":
        return replace(calibration, kind="lowres")
    if not Path(maps).suffix and not Path(maps).exists():
        raise ValueError(f"--maps {maps} is neither espirit, lowres nor a file of maps")
    given = read_maps(maps)
    if slices is not None and len(given) > count:
        start = int(slices.partition(":")[0] or 0)
        given = given[start : start + count]
    return GivenMaps(given, maps)
