"""What is chosen for a reconstruction beside its method: slices, mask, maps; checked before a scan is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mrirecon.coverage import Coverage, achieved_acceleration
from mrirecon.io import expand_mask, read_maps, read_mask
from mrirecon.io.masks import as_mask
from mrirecon.masks import MASKS, default_center_fraction, make_mask
from mrirecon.methods.calibrate import Calibrated, GivenMaps, MapSource
from mrirecon.nearest import suggest
from mrirecon.scan import Scan

MISSED = 0.03  # an acceleration that differs by more from what was asked is worth a note


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

    def make(
        self, shape: tuple[int, int], acquired: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The mask for a k-space grid of which these points are acquired, and how it came about, for the JSON.

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
        mask = make_mask(
            self.kind,
            shape,
            acceleration,
            center_fraction=fraction,
            seed=self.seed,
            acquired=acquired,
        )
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

    def make(
        self, shape: tuple[int, int], acquired: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """As `MaskChoice.make`; a mask at hand is what it is."""
        mask = as_mask("the given mask", self.mask.cpu().numpy())
        return expand_mask(mask, shape, "the given mask"), {"kind": self.kind}

    def describe(self) -> list[Any]:
        """For the JSON: what was asked for."""
        return [self.kind, list(self.mask.shape), int(self.mask.sum())]


def narrowed(scan: Scan, coverage: Coverage) -> Scan:
    """The scan with `acquired` as it was found to be, and a note where that is not what the file says."""
    if torch.equal(coverage.acquired, scan.acquired):
        return scan
    note = (
        f"the scan covers {int(coverage.acquired.sum())} of the {coverage.acquired.numel()} points of its k-space "
        "grid: accelerations count these"
    )
    return replace(scan, acquired=coverage.acquired, notes=(*scan.notes, note))


def undersampled(
    scan: Scan,
    coverage: Coverage,
    kind: str,
    make: Callable[[tuple[int, int], Tensor], tuple[Tensor, dict[str, Any]]],
) -> tuple[Scan, dict[str, Any]]:
    """A scan as if only the points of a mask had been measured, and how the mask came about.

    The notes of the scan say if it was undersampled already, and which acceleration comes out where another was asked.

    Args:
        scan: with `acquired` as the coverage has it.
        coverage: of the scan.
        kind: of the mask.
        make: makes it from the size of the grid and the acquired points.

    Raises:
        ValueError, OSError: as `make`, and if the mask is of another size than the k-space.
    """
    mask, made = make((scan.shape[2], scan.shape[3]), coverage.acquired)
    note = f"the scan was undersampled already: its mask is intersected with {kind}"
    if coverage.complete:
        note = f"undersampled retrospectively ({kind})"
    scan, asked = scan.undersample(mask, note, kind), made.get("acceleration")
    sampled = coverage.sampled & mask
    if asked is not None and bool(sampled[coverage.acquired].any()):
        reached = achieved_acceleration(sampled, coverage.acquired).total
        if abs(reached / asked - 1) > MISSED:
            note = f"acceleration {asked:g} was asked for, {kind} makes it {reached:.2f} here"
            scan = replace(scan, notes=(*scan.notes, note))
    return scan, made


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
    """Maps for the slices `part` of the scan; a file may hold maps of all slices or of these.

    Raises:
        ValueError: if the slices lie beyond the scan.
    """
    run = scan.run(part)
    if isinstance(maps, GivenMaps) and len(maps.maps) == len(run) != scan.shape[0]:
        return replace(maps, first=run.start)
    return maps
