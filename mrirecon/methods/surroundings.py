"""What a method may ask the scan for besides the slice it solves."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Complex
from torch import Tensor

from mrirecon.calibration import Calibration, better_calibration
from mrirecon.scan import Scan


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The slices around one; the first and the last stand for what lies beyond them, as in HUMUS-Net."""

    scan: Scan
    volume: int
    index: int
    device: str

    def kspace(self, offset: int) -> Complex[Tensor, "coil y x"]:
        """Measured k-space of the slice so many slices away."""
        return self.scan.kspace(self._at(offset), self.volume).to(self.device)

    def calibration(self, size: int, offset: int = 0) -> Calibration | None:
        """`better_calibration` than that k-space; None where there is none."""
        there, scan = self._at(offset), self.scan
        mask = scan.mask(there, self.volume)
        found = better_calibration(scan, there, size, self.volume, mask)
        return None if found is None else found.to(self.device)

    def _at(self, offset: int) -> int:
        return min(max(self.index + offset, 0), self.scan.shape[0] - 1)
