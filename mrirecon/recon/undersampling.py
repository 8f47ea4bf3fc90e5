"""A scan as if less of it had been measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from mrirecon.coverage import Coverage, achieved_acceleration, coverage_of
from mrirecon.echo import center_echo
from mrirecon.io import expand_mask, read_mask
from mrirecon.io.mask_arrays import as_mask
from mrirecon.masks import MASKS, MaskSpec, Number, Seed
from mrirecon.nearest import known_as
from mrirecon.scan import Scan

MISSED = 0.03  # an acceleration that differs by more from what was asked is worth a note
Made = tuple[Tensor, dict[str, Any]]  # a mask, and how it came about, for the JSON


@dataclass(frozen=True)
class DrawnMask:
    """A kind of mask.

    Attributes:
        spec: the kind and its numbers.
        seed: seed of the mask.
        is_given: whether it names samples of the file; a kind is drawn about the echo.
    """

    spec: MaskSpec
    seed: Seed = 0

    is_given: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """For notes."""
        return self.spec.kind

    def make(self, shape: tuple[int, int], acquired: Tensor) -> Made:
        """The mask for a k-space grid of which these points are acquired, and how it came about."""
        mask = self.spec.draw(shape, self.seed, acquired)
        return mask, self.spec.describe(shape, self.seed, acquired)

    def describe(self) -> list[Any]:
        """What was asked for, for the JSON."""
        return [self.kind, self.spec.acceleration, self.spec.center_fraction, self.seed]


@dataclass(frozen=True, eq=False)
class GivenMask:
    """A mask of a file or at hand, (readout, phase) or columns (phase,); used as `DrawnMask` is.

    Attributes:
        mask: of bool, or of 0 and 1; or the file, which is read twice, so that a wrong one is found before the scan is.
    """

    mask: Tensor | str

    is_given: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Read a file.

        Raises:
            ValueError, OSError: if it cannot be read.
        """
        if isinstance(self.mask, str):
            read_mask(self.mask)

    @property
    def kind(self) -> str:
        return self.mask if isinstance(self.mask, str) else "given"

    def make(self, shape: tuple[int, int], acquired: Tensor) -> Made:
        if isinstance(self.mask, str):
            mask = expand_mask(read_mask(self.mask), shape, self.mask)
            return mask, {"kind": "file", "file": self.mask}
        mask = as_mask("the given mask", self.mask.cpu().numpy())
        return expand_mask(mask, shape, "the given mask"), {"kind": "given"}

    def describe(self) -> list[Any]:
        if isinstance(self.mask, str):
            return [self.mask, None, None, 0]
        return ["given", list(self.mask.shape), int(self.mask.sum())]


MaskSource: TypeAlias = DrawnMask | GivenMask


def mask_from(
    mask: str | PathLike[str] | Tensor | None,
    acceleration: Number | None,
    center_fraction: Number | None,
    seed: int,
) -> MaskSource | None:
    """The mask that is meant: a kind, a file, a tensor, or none.

    Raises:
        ValueError: if the kind is unknown or the acceleration missing, impossible or too much.
        OSError: if the file cannot be read.
    """
    fixed = acceleration is not None or center_fraction is not None
    if mask is None:
        if fixed:
            raise ValueError(
                "acceleration and center_fraction belong to a mask: add its kind, such as poisson (--mask poisson)"
            )
        return None
    if isinstance(mask, Tensor):
        if fixed:
            raise ValueError("the given mask fixes the acceleration: leave it out")
        return GivenMask(mask)
    name = fspath(mask)
    path, kind = Path(name), known_as(name, MASKS)
    if kind is None and (
        path.suffix or path.exists() or path.with_name(path.name + ".cfl").exists()
    ):
        if fixed:
            raise ValueError(
                f"mask {name} is a file, which fixes the acceleration: leave out acceleration and center_fraction"
            )
        return GivenMask(name)
    if kind is not None and acceleration is None:
        raise ValueError(
            f"mask {name} needs an acceleration: give one, such as 4 (--acceleration 4)"
        )
    spec = MaskSpec(
        kind=name,
        acceleration=1.0 if acceleration is None else acceleration,
        center_fraction=center_fraction,
    )
    return DrawnMask(spec, seed)


def narrow(scan: Scan, coverage: Coverage) -> Scan:
    """The scan with `acquired` as it was found to be, and a note where that is not what the file says."""
    if bool((coverage.acquired == scan.acquired).all()):
        return scan
    note = (
        f"the scan covers {int(coverage.acquired.sum())} of the {coverage.acquired.numel()} points of its k-space "
        "grid: accelerations count these"
    )
    return replace(scan, acquired=coverage.acquired, notes=(*scan.notes, note))


def undersample(scan: Scan, coverage: Coverage, source: MaskSource) -> tuple[Scan, dict[str, Any]]:
    """A scan as if only the points of a mask had been measured, and how the mask came about.

    The notes of the scan say if it was undersampled already, and which acceleration comes out where another was asked.

    Args:
        scan: with `acquired` as the coverage has it.
        coverage: of the scan.
        source: of the mask.

    Raises:
        ValueError, OSError: if the mask cannot be made, or is of another size than the k-space.
    """
    if scan.is_image:
        raise ValueError(
            f"{scan.source} is an image: to leave out samples of its Fourier transform tells nothing of a scanner, "
            "make k-space of it with the command simulate"
        )
    mask, made = source.make((scan.shape[2], scan.shape[3]), coverage.acquired)
    notes = (*scan.notes, *_notes(coverage, mask, source.kind, made.get("acceleration")))
    return replace(scan.undersample(mask, kind=source.kind), notes=notes), made


def undersample_file(scan: Scan, source: MaskSource) -> tuple[Scan, dict[str, Any]]:
    """A scan as it is stored with the points of a mask only, to be written, and how the mask came about.

    A kind of mask is drawn about the echo of the first volume, as it is for a reconstruction, but k-space stays where
    it is in the file. The reference is left out: a file with one would pass for fully sampled.

    Raises:
        ValueError, OSError: as `undersample`.
    """
    centred = scan if source.is_given else center_echo(scan)
    coverage = coverage_of(centred)
    mask, made = source.make((scan.shape[2], scan.shape[3]), coverage.acquired)
    along, across = (-round(shift) for shift in centred.echo_shift)
    stored = narrow(scan, coverage_of(scan)).undersample(
        torch.roll(mask, (along, across), (0, 1)), kind=source.kind
    )
    notes = [*stored.notes, *_notes(coverage, mask, source.kind, made.get("acceleration"))]
    if scan.reference is not None:
        notes.append(
            f"the reference image is left out, as in fastMRI's test sets: evaluate against {scan.source}"
        )
    attributes = {**scan.attributes, "undersampled": made}
    return replace(stored, reference=None, attributes=attributes, notes=tuple(notes)), made


def _notes(coverage: Coverage, mask: Tensor, kind: str, asked: Number | None) -> Iterator[str]:
    """What is to be said of a mask on a scan that covers so much."""
    yield (
        f"undersampled retrospectively ({kind})"
        if coverage.complete
        else f"the scan was undersampled already: its mask is intersected with {kind}"
    )
    sampled = coverage.sampled & mask
    if asked is not None and bool(sampled[coverage.acquired].any()):
        reached = achieved_acceleration(sampled, coverage.acquired).total
        if abs(reached / asked - 1) > MISSED:
            yield f"acceleration {asked:g} was asked for, {kind} makes it {reached:.2f} here"
