"""What is chosen for a reconstruction beside its method: slices, mask, maps; checked before a scan is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from mrirecon.io import expand_mask, read_maps, read_mask
from mrirecon.io.masks import as_mask
from mrirecon.masks import MASKS, default_center_fraction, make_mask
from mrirecon.methods.calibrate import Calibrated, GivenMaps, MapSource
from mrirecon.nearest import suggest
from mrirecon.scan import Scan


def parse_slices(text: str | None) -> slice:
    """`A:B`: the first and one past the last slice, either may be left out.

    Raises:
        ValueError: if the text is not A:B, or holds no slice.
    """
    match = re.fullmatch(r"(\d*):(\d*)", text or ":", re.ASCII)
    if match is None:
        raise ValueError(f"--slices {text} is not of the form A:B, such as 10:12 or :5")
    start, stop = (int(part) if part else None for part in match.groups())
    if stop is not None and (start or 0) >= stop:
        raise ValueError(f"--slices {text} holds no slice: B is one past the last, as in 10:12")
    return slice(start, stop)


@dataclass(frozen=True)
class MaskChoice:
    """Which mask to make, checked as far as that is possible before the size is known.

    Attributes:
        kind: kind of mask, or a file.
        acceleration: points over sampled points; a file needs none.
        center_fraction: calibration share; None takes the customary one.
        seed: of the mask.

    Raises:
        ValueError: if the kind is unknown or the acceleration missing or impossible.
        OSError: if the file cannot be read.
    """

    kind: str
    acceleration: int | float | None = None
    center_fraction: int | float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.is_given:
            read_mask(self.kind)
            if self.acceleration is not None or self.center_fraction is not None:
                raise ValueError(
                    f"--mask {self.kind} is a file, which fixes the acceleration: "
                    "leave out --accel and --center_fraction"
                )
        elif self.kind not in MASKS:
            raise ValueError(f"unknown mask kind {self.kind!r}: {suggest(self.kind, MASKS)}")
        elif self.acceleration is None:
            raise ValueError(
                f"--mask {self.kind} needs an acceleration: add --accel R, such as --accel 4 "
                "(acceleration=4 in Python)"
            )
        elif not 1 <= self.acceleration < math.inf:
            raise ValueError(f"--accel is {self.acceleration:g}: give a number of at least 1")

    @property
    def is_given(self) -> bool:
        """Whether it is a file, and no kind of mask."""
        path = Path(self.kind)
        named = path.suffix or path.exists() or path.with_name(path.name + ".cfl").exists()
        return self.kind not in MASKS and bool(named)

    def make(self, shape: tuple[int, int]) -> tuple[Tensor, dict[str, Any]]:
        """The mask for a k-space grid, and how it came about, for the JSON.

        Raises:
            ValueError: if the request cannot be met at this size, or the file is of another.
            OSError: if the file cannot be read.
        """
        if self.is_given:
            mask = expand_mask(read_mask(self.kind), shape, self.kind)
            return mask, {"kind": "file", "file": self.kind}
        fraction, acceleration = self.center_fraction, self.acceleration or 1.0
        if fraction is None:
            fraction = default_center_fraction(acceleration)
        mask = make_mask(self.kind, shape, acceleration, center_fraction=fraction, seed=self.seed)
        return mask, {
            "kind": self.kind,
            "acceleration": acceleration,
            "center_fraction": fraction,
            "seed": self.seed,
        }

    def describe(self) -> list[Any]:
        """For the JSON: what was asked for."""
        return [self.kind, self.acceleration, self.center_fraction, self.seed]


@dataclass(frozen=True, eq=False)
class GivenMask:
    """A mask at hand, (readout, phase) or columns (phase,).

    Attributes:
        mask: of bool, or of 0 and 1.
    """

    mask: Tensor
    kind: str = "given"
    is_given: ClassVar[bool] = True

    def make(self, shape: tuple[int, int]) -> tuple[Tensor, dict[str, Any]]:
        """As `MaskChoice.make`."""
        mask = as_mask("the given mask", self.mask.cpu().numpy())
        return expand_mask(mask, shape, "the given mask"), {"kind": self.kind}

    def describe(self) -> list[Any]:
        """For the JSON: what was asked for."""
        return [self.kind, list(self.mask.shape), int(self.mask.sum())]


def choose_maps(maps: str | PathLike[str], calibration: Calibrated) -> MapSource:
    """`espirit`, `lowres`, or the maps of a file.

    Raises:
        ValueError, OSError: if it is neither a kind nor a readable file.
    """
    if maps == "espirit":
        return replace(calibration, kind="espirit")
    if maps == "lowres":
        return replace(calibration, kind="lowres")
    path = Path(maps)
    if not (path.suffix or path.exists() or path.with_name(path.name + ".cfl").exists()):
        raise ValueError(f"--maps {maps} is neither espirit, lowres nor a file of maps")
    return GivenMaps(read_maps(maps), fspath(maps))


def maps_of_slices(maps: MapSource, scan: Scan, part: slice) -> MapSource:
    """Maps for `scan`, which is `part` of a longer one; a file may hold maps of all slices or of these."""
    if isinstance(maps, GivenMaps) and len(maps.maps) > scan.shape[0]:
        start = part.start or 0
        return replace(maps, maps=maps.maps[start : start + scan.shape[0]])
    return maps
