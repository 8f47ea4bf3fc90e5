"""Which data of a scan tell its coils apart: one choice for coil maps, kernels, networks, compression and scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.coverage import calibration_region
from mrirecon.scan import Scan

ENOUGH = 12  # samples: ESPIRiT's usual kernel fits twice


@dataclass(frozen=True, eq=False)
class Calibration:
    """What one slice is calibrated from.

    Attributes:
        kspace: zero where not sampled.
        mask: sampled points.
        origin: what it is, for messages.
    """

    kspace: Complex[Tensor, "coil readout phase"]
    mask: Bool[Tensor, "readout phase"]
    origin: Literal["imaging k-space", "separate calibration lines", "average of all volumes"] = (
        "imaging k-space"
    )

    def to(self, device: torch.device | str) -> Calibration:
        """The same on another device."""
        return replace(self, kspace=self.kspace.to(device), mask=self.mask.to(device))


def calibration_data(scan: Scan, index: int, size: int = ENOUGH, volume: int = 0) -> Calibration:
    """The best data that the scan holds to calibrate one slice from.

    The imaging k-space itself, where its fully sampled centre is at least `size` samples wide: it has the contrast and
    the motion of what is reconstructed. Else that or the separately acquired lines of `Scan.calibration`, whichever has
    the wider fully sampled centre, of equals the former. Where there are no such lines, the average of all volumes
    takes their place: it is fully sampled in dynamic series with interleaved masks (TSENSE; Kellman et al. 2001).

    Raises:
        ValueError: if samples are NaN or infinite.
    """
    if (
        scan.sampling is not None
    ):  # where others are better than all it may have, nothing is read to know the mask
        declared = scan.sampling(volume, index)
        if better := better_calibration(scan, index, size, volume, declared):
            return better
        kspace, mask = scan.measured(index, volume)
        if torch.equal(mask, declared):
            return Calibration(kspace, mask)
    else:
        kspace, mask = scan.measured(index, volume)
    return better_calibration(scan, index, size, volume, mask) or Calibration(kspace, mask)


def better_calibration(
    scan: Scan, index: int, size: int, volume: int, mask: Bool[Tensor, "readout phase"]
) -> Calibration | None:
    """`calibration_data` where it is other than the imaging k-space, which `mask` samples; else None."""
    if scan.calibration is None and scan.volumes == 1:
        return None
    own = width(mask)
    if own >= size:
        return None
    other = _average(scan, index) if scan.calibration is None else _separate(scan, index, volume)
    return other if width(other.mask) > own else None


def calibration_note(scan: Scan) -> str | None:
    """Which of two sources of calibration the middle slice has, in words; None where it has one only."""
    if scan.calibration is None:
        return None
    middle = scan.shape[0] // 2
    own = width(scan.mask(middle))
    found = calibration_data(scan, middle)
    sizes = f"{own} wide in the imaging k-space, {width(_separate(scan, middle, 0).mask)} in the separate lines"
    return f"calibrated from the {found.origin}: the fully sampled centre is {sizes}"


def width(mask: Bool[Tensor, "readout phase"]) -> int:
    """Narrower side of the fully sampled centre of a mask; 0 where the centre is not sampled."""
    region = calibration_region(mask)
    return 0 if region is None else min(part.stop - part.start for part in region)


def _separate(scan: Scan, index: int, volume: int) -> Calibration:
    assert scan.calibration is not None
    kspace = scan.calibration(volume, index)
    if not bool(torch.isfinite(kspace.sum())) and not bool(torch.isfinite(kspace).all()):
        raise ValueError(
            f"{scan.source}: the calibration lines of slice {scan.first_slice + index} hold NaN or infinite "
            "samples: repair or re-export the file"
        )
    return Calibration(kspace, (kspace != 0).any(dim=0), "separate calibration lines")


def _average(scan: Scan, index: int) -> Calibration:
    kspace, mask = scan.measured(index)
    total, count = kspace.clone(), mask.int()
    for volume in range(1, scan.volumes):
        kspace, mask = scan.measured(index, volume)
        total, count = total.add_(kspace), count + mask.int()
    return Calibration(total / count.clamp_min(1), count > 0, "average of all volumes")
