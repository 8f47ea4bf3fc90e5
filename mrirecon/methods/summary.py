"""What stands beside a reconstruction, collected slice by slice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mrirecon.coverage import Acceleration, achieved_acceleration
from mrirecon.scan import Scan

# What stands beside the picture of a slice, by its name in the JSON; None is what did not converge.
Figures = dict[str, float | None]
UNEXPLAINED = (
    "unexplained"  # figure of slices that one set of maps may not explain; a note, not in the JSON
)
FOLDED = 0.08  # of it: folded-over anatomy leaves 0.10 to 0.18, what else was tried at most 0.05


class Report:
    """Collects, slice by slice, what stands beside the picture."""

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.mask: Tensor | None = None  # of the last slice, whose acceleration is known
        self.accelerations: list[Acceleration] = []
        self.seconds: list[float] = []
        self.figures: dict[str, list[float | None]] = {}
        self.skipped: list[str] = []

    def add_slice(self, mask: Tensor, seconds: float, figures: Figures) -> dict[str, Any]:
        """Add a slice, and give all that was added as plain values."""
        if self.mask is None or not torch.equal(mask, self.mask):
            self.mask = mask
            self.acceleration = achieved_acceleration(mask.cpu(), self.scan.acquired)
        added = {"acceleration": self.acceleration, "seconds": seconds, "figures": figures}
        self.add_kept(added)
        return added

    def add_kept(self, added: dict[str, Any]) -> None:
        """Add a slice again, as an earlier `add_slice` gave it."""
        self.seconds.append(added["seconds"])
        self.accelerations.append(Acceleration(*added["acceleration"]))
        for name, value in added["figures"].items():
            self.figures.setdefault(name, []).append(value)

    def summary(self) -> dict[str, Any]:
        if not self.seconds:
            raise ValueError(
                f"{self.scan.source}: no slice could be reconstructed ({self.skipped[0]}): lower --calibration.crop, "
                "use --maps lowres, or give maps with --maps FILE"
            )
        total, without = (
            sum(column) / len(column) for column in zip(*self.accelerations, strict=True)
        )
        summary: dict[str, Any] = {
            "source": self.scan.source,
            "format": self.scan.format,
            "kspace_shape": self.scan.shape,
            "volumes": self.scan.volumes,
            "acceleration": {"achieved": total, "without_calibration": without},
            "seconds_per_slice": sum(self.seconds) / len(self.seconds),
            "notes": [*self.scan.notes, *self.skipped, *self._folded()],
        }
        for name, values in self.figures.items():
            if name == UNEXPLAINED:
                continue
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                summary[name] = sum(known) / len(known)
            else:
                summary["notes"].append(
                    f"{name} is left out: it did not converge in {len(values) - len(known)} of {len(values)} slices, "
                    "whose noise is very low (--method.trust true iterates longer; a map that did not converge is NaN)"
                )
        return summary

    def _folded(self) -> list[str]:
        """The hint at two sets of maps, where a quarter of the slices need them."""
        shares = [value for value in self.figures.get(UNEXPLAINED, []) if value and value > FOLDED]
        if 4 * len(shares) < len(self.seconds) or not shares:
            return []
        return [
            f"one set of coil maps leaves {100 * max(shares):.0f} % of the data unexplained beyond its noise: where "
            "the field of view is smaller than the object, --calibration.sets 2 explains it"
        ]
