"""Selection of a scan's calibration data, the same for coil maps, kernels, networks, compression and scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.coverage import calibration_region
from mrirecon.scan import CoilMix, Scan
from mrirecon.tensors import center_crop, rss

ENOUGH = 12  # samples: twice the usual kernel of ESPIRiT
CENTRE = 32  # samples: side of what is kept of each slice for coil maps and scale
IMAGING, SEPARATE = "imaging k-space", "separate calibration lines"
AVERAGE = "average of all volumes"
SIGNAL = 5.0  # times the median of a volume: larger samples are signal
SHARED = 8  # common samples: with fewer two volumes are not compared
# Largest difference of two volumes of the same contrast, relative to both, over common samples: in general, and where
# the header counts them as repetitions or phases, between which contrast agent and heart may change.
DIFFERENCE, DIFFERENCE_OF_SERIES = 0.25, 0.5
SERIES = ("repetition", "phase", "occurrence")
Found = TypeVar("Found")


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

    @cached_property
    def region(self) -> tuple[slice, slice] | None:
        """Rows and columns of the fully sampled centre (`coverage.calibration_region`)."""
        return calibration_region(self.mask)

    @cached_property
    def width(self) -> int:
        """Shorter side of the fully sampled centre, in samples; that of the whole k-space for a `centre`, too."""
        return _width(self.region)

    def to(self, device: torch.device | str) -> Calibration:
        """The same data on another device."""
        return replace(self, kspace=self.kspace.to(device), mask=self.mask.to(device))

    def centre(self) -> Calibration:
        """A copy of the central `CENTRE` x `CENTRE` samples, with the fully sampled region as it is among them."""
        sizes = [min(CENTRE, n) for n in self.mask.shape]
        inside = self.region
        if inside is not None:
            starts = [n // 2 - m // 2 for n, m in zip(self.mask.shape, sizes, strict=True)]
            rows, columns = (
                slice(max(0, part.start - start), min(size, part.stop - start))
                for part, start, size in zip(inside, starts, sizes, strict=True)
            )
            inside = rows, columns
        height, width = sizes
        return self._with(
            kspace=center_crop(self.kspace, (height, width)).clone(),
            mask=center_crop(self.mask.int(), (height, width)).bool(),
            region=inside,
        )

    def mixed(self, mix: Callable[[Tensor], Tensor]) -> Calibration:
        """The data of other coils, which combine these."""
        return self._with(kspace=mix(self.kspace))

    def renamed(self, origin: str) -> Calibration:
        """The same data under another origin."""
        return self._with(origin=origin)

    def _with(self, **changes: Any) -> Calibration:
        """The data with changes, but the same width, and unless it is among them the same region."""
        region = changes.pop("region", self.region)
        other = replace(self, **changes)
        other.__dict__.update(region=region, width=self.width)  # where cached_property keeps them
        return other


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
    return _Slice(scan, index).calibration(size, volume)


def calibration_centre(scan: Scan, index: int, size: int = ENOUGH, volume: int = 0) -> Calibration:
    """The `centre` of `calibration_data`, kept with the scan, so that nothing is read when it is asked for again.

    Scans with other coils that combine those of this one (`scan.CoilMix`) find it, too. Kept are the first volume, and
    what serves several.

    Raises:
        ValueError: as `calibration_data`.
    """
    read = scan.read
    if isinstance(read, CoilMix):
        found = calibration_centre(read.before, index, size, volume)
        return found.mixed(lambda kspace: read.mix(kspace, index))
    return _KeptSlice(scan, index).calibration(size, volume).centre()


def better_calibration(
    scan: Scan, index: int, size: int, volume: int, mask: Bool[Tensor, "readout phase"]
) -> Calibration | None:
    """`calibration_data` where that is not the imaging k-space, whose sampled points are `mask`; else None."""
    if scan.calibration is None and scan.volumes == 1:
        return None
    return _Slice(scan, index).better(size, volume, width(mask))


class _Slice:
    """What a scan holds to calibrate one slice.

    Args:
        scan: scan to calibrate.
        index: slice.
    """

    def __init__(self, scan: Scan, index: int) -> None:
        self.scan, self.index = scan, index

    def calibration(self, size: int, volume: int) -> Calibration:
        """`calibration_data`."""
        scan = self.scan
        if scan.calibration is None and scan.volumes == 1:
            return self.own(volume)
        declared = None if scan.sampling is None else self.width(volume)
        if declared is not None:
            better = self.better(size, volume, declared)
            if better is not None:  # without reading the slice itself
                return better
        own = self.own(volume)
        return own if own.width == declared else self.better(size, volume, own.width) or own

    def better(self, size: int, volume: int, own: int) -> Calibration | None:
        """What is wider than the imaging k-space, whose centre is `own` wide, where that is below `size`."""
        if own >= size:
            return None
        if self.scan.calibration is not None:
            found: Calibration | None = _separate(self.scan, self.index, volume)
        else:
            found = self.from_volumes(size, own)
        return found if found is not None and found.width > own else None

    def from_volumes(self, size: int, own: int) -> Calibration | None:
        """The volume with the widest centre; where that is narrower than `size`, the average if it is wider."""
        widths = [self.width(volume) for volume in range(self.scan.volumes)]
        found = None
        for volume in sorted(range(self.scan.volumes), key=lambda volume: -widths[volume]):
            if widths[volume] <= own:
                break
            other = self.other(volume)
            if bool(other.mask.any()):  # a file may declare zeros as sampled
                found = other.renamed(f"volume {_name(self.scan, volume)}")
                break
        if found is not None and found.width >= size:
            return found
        average = self.average()
        if average is None or (found is not None and average.width <= found.width):
            return found
        return average

    def own(self, volume: int) -> Calibration:
        """The imaging k-space of a volume; of the first one, the centre is kept."""
        kspace, mask = self.scan.measured(self.index, volume)
        found = Calibration(kspace, mask if bool(kspace.any()) else torch.zeros_like(mask))
        if volume == 0:
            self.kept(f"volume {volume}", found.centre)
        return found

    def other(self, volume: int) -> Calibration:
        """The imaging k-space of a volume that serves others."""
        return self.own(volume)

    def width(self, volume: int) -> int:
        """How wide the centre of a volume is, as far as the file declares it."""
        return width(self.scan.mask(self.index, volume))

    def average(self) -> Calibration | None:
        """The average of all volumes, or None where their contrasts differ; the centre is kept."""
        found = _average(self.scan, self.index)
        self.kept("average", lambda: None if found is None else found.centre())
        return found

    def kept(self, what: str, find: Callable[[], Found]) -> Found:
        """What is kept of the slice, found unless it is there."""
        key = f"calibration of slice {self.index}: {what}"
        if key not in self.scan.kept:
            self.scan.kept[key] = find()
        return cast(Found, self.scan.kept[key])


class _KeptSlice(_Slice):
    """The centres of the same data, kept with the scan."""

    def own(self, volume: int) -> Calibration:
        if volume == 0:
            return self.other(volume)
        found = super().own(volume).centre()
        self.kept(f"width of {volume}", lambda: found.width)
        return found

    def other(self, volume: int) -> Calibration:
        return self.kept(f"volume {volume}", lambda: _Slice.own(self, volume).centre())

    def width(self, volume: int) -> int:
        def find() -> int:
            declared = self.scan.sampling is not None
            return _Slice.width(self, volume) if declared else self.own(volume).width

        return self.kept(f"width of {volume}", find)

    def average(self) -> Calibration | None:
        def find() -> Calibration | None:
            found = _average(self.scan, self.index)
            return None if found is None else found.centre()

        return self.kept("average", find)


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
    return _width(calibration_region(mask))


def _width(region: tuple[slice, slice] | None) -> int:
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
