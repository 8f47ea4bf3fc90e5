"""Selection of a scan's calibration data, the same for coil maps, kernels, networks, compression and scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.coverage import calibration_region
from mrirecon.scan import Scan
from mrirecon.tensors import rss

ENOUGH = 12  # samples: twice the usual kernel of ESPIRiT
IMAGING, SEPARATE = "imaging k-space", "separate calibration lines"
AVERAGE = "average of all volumes"
SIGNAL = 5.0  # times the median of a volume: larger samples are signal
SHARED = 8  # common samples: with fewer two volumes are not compared
# Largest difference of two volumes of the same contrast, relative to both, over common samples: in general, and where
# the header counts them as repetitions or phases, between which contrast agent and heart may change.
DIFFERENCE, DIFFERENCE_OF_SERIES = 0.25, 0.5
SERIES = ("repetition", "phase", "occurrence")


@dataclass(frozen=True, eq=False)
class Calibration:
    """The calibration data of one slice.

    Attributes:
        kspace: k-space, zero where not sampled.
        mask: True at sampled points.
        origin: where the data come from, for messages.
    """

    kspace: Complex[Tensor, "coil readout phase"]
    mask: Bool[Tensor, "readout phase"]
    origin: str = IMAGING

    @property
    def has_own_units(self) -> bool:
        """Whether it was measured separately from the slice, so that contrast and gain may differ."""
        return self.origin not in (IMAGING, AVERAGE)

    def to(self, device: torch.device | str) -> Calibration:
        """The same data on another device."""
        return replace(self, kspace=self.kspace.to(device), mask=self.mask.to(device))


def calibration_data(scan: Scan, index: int, size: int = ENOUGH, volume: int = 0) -> Calibration:
    """The best data in the scan from which one slice can be calibrated.

    That is the imaging k-space, where its fully sampled centre is at least `size` samples wide, since it has the
    contrast and the motion of the slice. Otherwise it is the first of these whose fully sampled centre is wider:

    - the separately acquired lines of `Scan.calibration`, if the scan has them;
    - without them the volume with the widest centre, since coil sensitivities are the same for all contrasts;
    - where that is narrower than `size`, the average of all volumes, if they have the same contrast: in dynamic series
      with interleaved masks it is fully sampled (TSENSE; Kellman et al., MRM 45:846, 2001).

    Args:
        scan: scan to calibrate.
        index: slice.
        size: width in samples at which the imaging k-space suffices.
        volume: volume of the slice.

    Raises:
        ValueError: if samples are NaN or infinite.
    """
    declared = None if scan.sampling is None else scan.sampling(volume, index)
    if declared is not None and width(declared) < size:
        better = better_calibration(scan, index, size, volume, declared)
        if better is not None:  # without reading the slice itself
            return better
    kspace, mask = scan.measured(index, volume)
    mask = mask if bool(kspace.any()) else torch.zeros_like(mask)
    if declared is not None and width(declared) < size and torch.equal(mask, declared):
        return Calibration(kspace, mask)
    return better_calibration(scan, index, size, volume, mask) or Calibration(kspace, mask)


def better_calibration(
    scan: Scan, index: int, size: int, volume: int, mask: Bool[Tensor, "readout phase"]
) -> Calibration | None:
    """`calibration_data` where that is not the imaging k-space, whose sampled points are `mask`; else None."""
    if scan.calibration is None and scan.volumes == 1:
        return None
    own = width(mask)
    if own >= size:
        return None
    other = (
        _from_volumes(scan, index, size, own)
        if scan.calibration is None
        else _separate(scan, index, volume)
    )
    return other if other is not None and width(other.mask) > own else None


def calibration_note(scan: Scan) -> str | None:
    """A note on which source of calibration data the middle slice uses; None where the scan has only one."""
    middle = scan.shape[0] // 2
    if scan.calibration is not None:
        own = width(scan.mask(middle))
        found = calibration_data(scan, middle)
        sizes = f"{own} wide in the imaging k-space, {width(_separate(scan, middle, 0).mask)} in the separate lines"
        return f"calibrated from the {found.origin}: the fully sampled centre is {sizes}"
    if scan.volumes == 1:
        return None
    masks = [scan.mask(middle, volume) for volume in range(scan.volumes)]
    narrow = [v for v, mask in enumerate(masks) if bool(mask.any()) and width(mask) < ENOUGH]
    for volume in narrow:
        better = better_calibration(scan, middle, ENOUGH, volume, masks[volume])
        if better is not None:
            others = f"{len(narrow)} of {scan.volumes} volumes"
            named = others if len(narrow) > 1 or not scan.volume_names else _name(scan, volume)
            return (
                f"{named} calibrated from the {better.origin}: its fully sampled centre is {width(better.mask)} wide, "
                f"theirs up to {max(width(masks[v]) for v in narrow)}"
            )
    return None


def width(mask: Bool[Tensor, "readout phase"]) -> int:
    """Shorter side, in samples, of the fully sampled centre of a mask; 0 where the centre is not sampled."""
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
    return Calibration(kspace, (kspace != 0).any(dim=0), SEPARATE)


def _from_volumes(scan: Scan, index: int, size: int, own: int) -> Calibration | None:
    """The volume with the widest centre; where that is narrower than `size`, the average of volumes if it is wider."""
    widths = [width(scan.mask(index, volume)) for volume in range(scan.volumes)]
    found = None
    for volume in sorted(range(scan.volumes), key=lambda volume: -widths[volume]):
        if widths[volume] <= own:
            break
        kspace, mask = scan.measured(index, volume)
        if bool(kspace.any()):  # a file may declare zeros as sampled
            found = Calibration(kspace, mask, f"volume {_name(scan, volume)}")
            break
    if found is not None and width(found.mask) >= size:
        return found
    average = _average(scan, index)
    if average is None or (found is not None and width(average.mask) <= width(found.mask)):
        return found
    return average


def _name(scan: Scan, volume: int) -> str:
    return scan.volume_names[volume] if scan.volume_names else f"{volume}"


def _average(scan: Scan, index: int) -> Calibration | None:
    """The average of all volumes, or None where their contrasts differ."""
    total = count = None
    for volume in range(scan.volumes):
        kspace, mask = scan.measured(index, volume)
        if not bool(kspace.any()):
            continue
        if total is None or count is None:
            total, count = kspace.clone(), mask.int()
            continue
        if not _same_contrast(scan, total / count.clamp_min(1), count > 0, kspace, mask):
            return None
        total, count = total.add_(kspace), count + mask.int()
    if total is None or count is None:
        return None
    return Calibration(total / count.clamp_min(1), count > 0, AVERAGE)


def _same_contrast(
    scan: Scan,
    one: Complex[Tensor, "coil readout phase"],
    sampled: Bool[Tensor, "readout phase"],
    other: Complex[Tensor, "coil readout phase"],
    mask: Bool[Tensor, "readout phase"],
) -> bool:
    """Whether two volumes have the same contrast, by their common samples of signal, or by their names if too few."""
    names = [set(name.split()[::2]) for name in scan.volume_names]
    series = bool(names) and all(name <= set(SERIES) for name in names)
    levels = [rss(x) for x in (one, other)]
    signal = [x > SIGNAL * x[m].median() for x, m in zip(levels, (sampled, mask), strict=True)]
    shared = sampled & mask & (signal[0] | signal[1])
    if int(shared.sum()) < SHARED:
        return series or not any(name & {"contrast", "set"} for name in names)
    energy = sum(float(x[:, shared].abs().square().sum()) for x in (one, other))
    apart = float((one - other)[:, shared].abs().square().sum())
    return apart <= (DIFFERENCE_OF_SERIES if series else DIFFERENCE) ** 2 * energy
