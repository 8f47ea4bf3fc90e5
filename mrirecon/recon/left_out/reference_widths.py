"""Error bars whose width comes from scans with references: split conformal prediction, a scan being one observation.

Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates 2023 (arXiv:2107.07511). `benchmark` writes the file, `recon` reads
it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrirecon.io.files import PathLike, existing_file
from mrirecon.methods.base import Method
from mrirecon.methods.left_out import skipped_axis
from mrirecon.options import fits
from mrirecon.recon.left_out.error_bars import ErrorBars
from mrirecon.recon.left_out.jackknife import PARTS
from mrirecon.recon.left_out.spread import Factors, student
from mrirecon.scan import Scan
from mrirecon.weights import sha256_of
from mrirecon.weights.card import TOLERANCE

SCHEMA = 1
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
PLAIN = ErrorBars(Factors.everywhere(1.0), 0.9, {})  # the spread as it is
FREE = (
    "weights",
    "seed",
    "samples",
    "draws",
    "trust",
    "images_at_once",
)  # parameters that may differ


def conformal_factor(scores: Sequence[float], level: float) -> tuple[float, float]:
    """The factor of a further scan, and the probability with which it suffices.

    The score of a scan is the least factor with which its intervals hold the share `level` of its pixels. Of n scans
    the ceil((n + 1) level)-th score is taken, or the largest. The score of a further exchangeable scan is not above the
    k-th with a probability of at least k / (n + 1).

    Args:
        scores: of the scans.
        level: share of the pixels.

    Example:
        conformal_factor([2.0, 1.0, 3.0], 0.5)  # (2.0, 0.5)
    """
    count = len(scores)
    number = min(count, math.ceil((count + 1) * level - 1e-9))
    return sorted(scores)[number - 1], number / (count + 1)


@dataclass(frozen=True)
class Widths:
    """Of one kind of mask.

    Attributes:
        kind: of the mask.
        acceleration: that was achieved, mean.
        columns: whether whole lines were skipped.
        scans: how many scans.
        parameters: of the method, but for those that do not change what it gives.
        sha256: of its files, such as weights.
        levels: share of the pixels that intervals are to hold.
        factors: of each level, by which the standard deviation is multiplied for half an interval.
        probability: with which that suffices.
    """

    kind: str
    acceleration: float
    columns: bool
    scans: int
    parameters: dict[str, Any]
    sha256: dict[str, str]
    levels: list[float]
    factors: list[float]
    probability: list[float]


@dataclass(frozen=True)
class ReferenceWidths:
    """What scans with references say of the error bars of a method.

    Attributes:
        method: its name.
        draws: number of draws, or of reconstructions from fewer samples.
        masks: one entry for each mask.
        source: the file, for messages.
    """

    method: str
    draws: int
    masks: Sequence[Widths]
    source: str = ""

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        masks = [asdict(one) for one in self.masks]
        return {"schema": SCHEMA, "method": self.method, "draws": self.draws, "masks": masks}

    @classmethod
    def read(cls, path: PathLike) -> ReferenceWidths:
        """The widths of a file.

        Raises:
            OSError: if there is none.
            ValueError: if it is something else, or damaged.
        """
        try:
            found = json.loads(existing_file(Path(path)).read_text(encoding="utf-8"))
            if found["schema"] != SCHEMA or not fits(found["draws"], int) or not found["masks"]:
                raise ValueError
            masks = [Widths(**one) for one in found["masks"]]
            for one in masks:
                numbers = [one.acceleration, *one.levels, *one.factors, *one.probability]
                if not all(fits(x, float) and 0 < x < math.inf for x in numbers) or not (
                    len(one.levels) == len(one.factors) == len(one.probability)
                ):
                    raise ValueError
            return cls(str(found["method"]), found["draws"], masks, str(path))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no calibration file: give one that mrirecon benchmark --error_bars true wrote"
            ) from error

    def for_method(self, method: Method, level: float) -> ReferenceWidths:
        """Those of its masks that were measured with this very method.

        Raises:
            ValueError: if there are none, or none at this level, saying what differs.
            OSError: if a file of the method cannot be read.
        """
        asked, given = f"calibrate {self.source}", draws_of(method)
        if method.name != self.method:
            raise ValueError(f"{asked} is for {self.method}, not for {method.name}")
        if given != self.draws:
            raise ValueError(
                f"{asked} is for {self.draws} draws, these are {given}: give --samples {self.draws}"
            )
        parameters = parameters_of(method)
        hashes = {name: sha256_of(*parts) for name, parts in method.files().items()}
        differences = [_difference(one, parameters, hashes) for one in self.masks]
        same = [m for m, said in zip(self.masks, differences, strict=True) if not said]
        if not same:
            raise ValueError(f"{asked} was measured with another {method.name}: {differences[0]}")
        if level not in (known := same[0].levels):
            listed = ", ".join(f"{one:g}" for one in known)
            raise ValueError(f"{asked} has no level {level:g}: it has {listed}")
        return ReferenceWidths(self.method, self.draws, same, self.source)

    def error_bars(self, scan: Scan, level: float, kind: str | None) -> ErrorBars:
        """Error bars of a scan, by the mask that is most like its own; by the widest where none is.

        Args:
            scan: as it is reconstructed.
            level: share of the truth that intervals are to hold.
            kind: of its mask, where that is known.
        """
        mask = scan.mask(scan.middle() or 0)
        columns = skipped_axis(mask) is not None
        acceleration = float(scan.acquired.sum() / max(int(mask.sum()), 1))
        alike = [
            one
            for one in self.masks
            if (one.kind == kind if kind is not None else one.columns == columns)
            and 1 / TOLERANCE <= acceleration / one.acceleration <= TOLERANCE
        ]

        def half(one: Widths) -> float:
            return one.factors[one.levels.index(level)]

        of_scan = sorted(alike, key=lambda one: abs(math.log(acceleration / one.acceleration)))
        widths = of_scan[0] if alike else max(self.masks, key=half)
        chance = widths.probability[widths.levels.index(level)]
        promise = (
            f"error bars by {widths.scans} scan(s) with references ({Path(self.source).name}): of another scan like "
            f"them they hold {100 * level:g} % of the head with a probability of {100 * chance:.0f} %"
        )
        if not alike:
            here = f"{kind or ('of whole lines' if columns else 'of points')} x{acceleration:.3g}"
            there = ", ".join(f"{one.kind} x{one.acceleration:.3g}" for one in self.masks)
            promise = (
                f"error bars by {Path(self.source).name}, which knows masks {there}: this mask is {here}, the "
                "widest ones are taken and nothing is promised"
            )
        factor = half(widths) / student(level, self.draws)
        info = {
            **{"radius": [0.0], "factor": [factor], "factor_measured": [factor], "level": level},
            **{"draws": self.draws, "file": self.source, "scans": widths.scans},
            **{"mask": widths.kind, "probability": chance if alike else None, "promise": promise},
        }
        return ErrorBars(Factors.everywhere(factor), level, info)


def draws_of(method: Method) -> int:
    """Number of images whose spread is the error bar: draws, or reconstructions from fewer samples."""
    return int(getattr(method, "samples", PARTS))


def parameters_of(method: Method) -> dict[str, Any]:
    """Parameters that change what a method gives, as plain values."""
    given = {name: one for name, one in method.parameters().items() if name not in FREE}
    return dict(json.loads(json.dumps(given, default=str)))


def _difference(one: Widths, parameters: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """What differs from a method; empty if nothing does."""
    for name in {**one.parameters, **parameters}:
        here, there = parameters.get(name), one.parameters.get(name)
        if here != there:
            return f"{name} was {there}, here it is {here}"
    return "" if one.sha256 == hashes else "its weights were others"
