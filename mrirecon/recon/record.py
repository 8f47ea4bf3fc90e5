"""What the JSON beside a reconstruction says: collected slice by slice, one typed record, written in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrirecon.coverage import Acceleration, achieved_acceleration
from mrirecon.methods.base import Figures
from mrirecon.metrics import evaluate
from mrirecon.scan import Scan, Volume

# Share of the data that one set of maps may not explain: a note, not in the JSON.
UNEXPLAINED = "unexplained"
FOLDED = 0.08  # of it: folded-over anatomy leaves 0.10 to 0.18, what else was tried at most 0.05


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a reconstruction came about. What is None is left out of the JSON.

    `Request.complete` adds what the reconstruction itself does not know: `mask`, `request` and `metrics`.

    Attributes:
        method: its name.
        parameters: its options with their values.
        source: the scan.
        format: its reader.
        kspace_shape: (slice, coil, readout, phase).
        volumes: their number.
        acceleration: acquired over sampled points, mean over the slices.
        seconds_per_slice: mean.
        figures: mean over the slices of each number that the method, or holding its image against the data, gave.
        maps: where coil maps came from.
        prewhitened: whether k-space was.
        intensity_scale: bright level of each volume, in the units of the (prewhitened) k-space.
        noise_std: of each volume's k-space, likewise.
        partial_fourier: what was done about a side that was left out.
        about: what the method says of its weights and noise levels.
        left_out: what samples that were left out decided: parameters, adapted weights, error bars.
        notes: sentences for people.
    """

    method: str
    parameters: Mapping[str, Any]
    source: str
    format: str
    kspace_shape: Sequence[int]
    volumes: int
    acceleration: Acceleration
    seconds_per_slice: float
    figures: Mapping[str, float]
    maps: Mapping[str, Any]
    prewhitened: bool | None
    intensity_scale: list[float] | None
    noise_std: list[float] | None
    partial_fourier: str | None
    about: Mapping[str, Any]
    left_out: Mapping[str, Any] | None
    notes: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            # The entries of these two stand among the others.
            values |= value if name in ("figures", "about") else {name: value}
        total, without = self.acceleration
        rates = {"nominal": None, "achieved": total, "without_calibration": without}
        values |= {"acceleration": rates, "mask": {"kind": "as acquired"}}
        kept = ("intensity_scale",)  # readers of the JSON ask for it
        return {key: value for key, value in values.items() if value is not None or key in kept}


class Tally:
    """Collects what stands beside the picture of each slice."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.mask: Tensor | None = None  # of the last slice, whose acceleration is known
        self.slices: list[Mapping[str, Any]] = []
        self.skipped: list[str] = []

    def add(self, mask: Tensor, seconds: float, figures: Figures) -> dict[str, Any]:
        """Add a slice, and give all that was added as plain values."""
        if self.mask is None or not torch.equal(mask, self.mask):
            self.mask = mask
            self.acceleration = achieved_acceleration(mask.cpu(), self.scan.acquired)
        added = {"acceleration": self.acceleration, "seconds": seconds, "figures": figures}
        self.slices.append(added)
        return added

    def check(self) -> None:
        """Raise ValueError if no slice was added."""
        if not self.slices:
            raise ValueError(
                f"{self.scan.source}: no slice could be reconstructed ({self.skipped[0]}): lower --calibration.crop, "
                "use --maps lowres, or give maps with --maps FILE"
            )

    def acceleration_and_seconds(self) -> tuple[Acceleration, float]:
        """Means over the slices."""
        count = len(self.slices)
        columns = zip(*(one["acceleration"] for one in self.slices), strict=True)
        seconds = sum(one["seconds"] for one in self.slices)
        return Acceleration(*(sum(column) / count for column in columns)), seconds / count

    def means(self) -> tuple[dict[str, float], list[str]]:
        """Figures as means over the slices, and notes on those that are left out."""
        figures: dict[str, list[float | None]] = {}
        for one in self.slices:
            for name, value in one["figures"].items():
                figures.setdefault(name, []).append(value)
        means, notes = {}, [*self.skipped, *self._folded(figures.pop(UNEXPLAINED, []))]
        for name, values in figures.items():
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                means[name] = sum(known) / len(known)
            else:
                notes.append(
                    f"{name} is left out: it did not converge in {len(values) - len(known)} of {len(values)} slices, "
                    "whose noise is very low (--method.trust true iterates longer; a map that did not converge is NaN)"
                )
        return means, notes

    def _folded(self, unexplained: Sequence[float | None]) -> list[str]:
        """The hint at two sets of maps, where a quarter of the slices need them."""
        shares = [value for value in unexplained if value and value > FOLDED]
        if 4 * len(shares) < len(self.slices) or not shares:
            return []
        return [
            f"one set of coil maps leaves {100 * max(shares):.0f} % of the data unexplained beyond its noise: where "
            "the field of view is smaller than the object, --calibration.sets 2 explains it"
        ]


def describe_mask(volume: Volume, mask: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the JSON says of a reconstruction whose scan was undersampled so."""
    mask = mask or {"kind": "as acquired"}
    acceleration = {**volume.info["acceleration"], "nominal": mask.get("acceleration")}
    return {**volume.info, "acceleration": acceleration, "mask": mask}


def metrics_of(volume: Volume, scan: Scan) -> tuple[dict[str, Any], str]:
    """Metrics where the scan has a reference; one that cannot be used is a note, never an error."""
    if scan.reference is None or scan.volumes > 1:
        return {}, ""
    try:
        return {"metrics": evaluate(volume.image[0], scan)._asdict()}, ""
    except ValueError as error:
        return {}, f"no metrics, the reference cannot be used: {error}"
