"""Which data of a scan tell its coils apart: one choice for coil maps, kernels, networks, compression and scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.coverage import calibration_region
from mrirecon.scan import Scan
from mrirecon.tensors import rss

ENOUGH = 12  # samples: ESPIRiT's usual kernel fits twice
IMAGING, SEPARATE = "imaging k-space", "separate calibration lines"
AVERAGE = "average of all volumes"
SIGNAL = 5.0  # times the median of a volume: samples that tell its contrast, not its noise
SHARED = 8  # samples below which two volumes are not compared
# How much volumes may differ where both were sampled, as a share of them both, to have one contrast: as the data alone
# say it, and where the header counts them as repetitions or phases, in which contrast agent and heart move on.
DIFFERENCE, DIFFERENCE_OF_SERIES = 0.25, 0.5
SERIES = ("repetition", "phase", "occurrence")


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
    origin: str = IMAGING

    @property
    def has_own_units(self) -> bool:
        """Whether it was measured apart from the slice, so that its contrast and gain may be others."""
        return self.origin not in (IMAGING, AVERAGE)

    def to(self, device: torch.device | str) -> Calibration:
        """The same on another device."""
        return replace(self, kspace=self.kspace.to(device), mask=self.mask.to(device))


def calibration_data(scan: Scan, index: int, size: int = ENOUGH, volume: int = 0) -> Calibration:
    """The best data that the scan holds to calibrate one slice from.

    The imaging k-space itself, where its fully sampled centre is at least `size` samples wide: it has the contrast and
    the motion of what is reconstructed. Else that, or where their fully sampled centre is wider:

    - the separately acquired lines of `Scan.calibration`, where the scan has such;
    - without them the volume that has the widest centre, since coils are the same for all contrasts;
    - where no volume's is `size` wide, the average of all of one contrast: it is fully sampled in dynamic series with
      interleaved masks (TSENSE; Kellman et al. 2001). Volumes that differ where both were sampled are not averaged.

    Raises:
        ValueError: if samples are NaN or infinite.
    """
    declared = None if scan.sampling is None else scan.sampling(volume, index)
    if declared is not None and width(declared) < size:
        better = better_calibration(scan, index, size, volume, declared)
        if better is not None:  # then the slice itself need not be read
            return better
    kspace, mask = scan.measured(index, volume)
    mask = mask if bool(kspace.any()) else torch.zeros_like(mask)
    if declared is not None and width(declared) < size and torch.equal(mask, declared):
        return Calibration(kspace, mask)
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
    other = (
        _of_volumes(scan, index, size, own)
        if scan.calibration is None
        else _separate(scan, index, volume)
    )
    return other if other is not None and width(other.mask) > own else None


def calibration_note(scan: Scan) -> str | None:
    """Which of several sources of calibration the middle slice has, in words; None where it has one only."""
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
    return Calibration(kspace, (kspace != 0).any(dim=0), SEPARATE)


def _of_volumes(scan: Scan, index: int, size: int, own: int) -> Calibration | None:
    """The volume with the widest centre, or where that is narrower than `size` and than itself the average."""
    widths = [width(scan.mask(index, volume)) for volume in range(scan.volumes)]
    found = None
    for volume in sorted(range(scan.volumes), key=lambda volume: -widths[volume]):
        if widths[volume] <= own:
            break
        kspace, mask = scan.measured(index, volume)
        if bool(kspace.any()):  # zeros may be called sampled
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
    """Of all volumes, or None where they are not of one contrast."""
    total = count = None
    for volume in range(scan.volumes):
        kspace, mask = scan.measured(index, volume)
        if not bool(kspace.any()):
            continue
        if total is None or count is None:
            total, count = kspace.clone(), mask.int()
            continue
        if not _alike(scan, total / count.clamp_min(1), count > 0, kspace, mask):
            return None
        total, count = total.add_(kspace), count + mask.int()
    if total is None or count is None:
        return None
    return Calibration(total / count.clamp_min(1), count > 0, AVERAGE)


def _alike(
    scan: Scan,
    one: Complex[Tensor, "coil readout phase"],
    sampled: Bool[Tensor, "readout phase"],
    other: Complex[Tensor, "coil readout phase"],
    mask: Bool[Tensor, "readout phase"],
) -> bool:
    """Whether two volumes have one contrast, by the samples of signal that they share, else by their names."""
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
