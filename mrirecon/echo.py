"""Where the echo lies on the k-space grid, and the scan with it at the centre."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.calibration import ENOUGH, width
from mrirecon.coverage import coverage_of
from mrirecon.scan import Scan
from mrirecon.tensors import measured_points, rss

Offset = tuple[int, int]  # in samples (readout, phase)

WINDOW = 5  # samples per side over which magnitudes are averaged: a spike is no echo
# Off the centre by so many samples, or this share of the axis, is tolerated: half the intensity scale's block.
SAMPLES, SHARE = 4, 0.02
BEYOND = "more than a quarter of the axis away"
FARTHEST = 0.25  # of the axis: beyond it is no echo off the centre, but k-space in another order
SIGNAL = 5.0  # of an echo over the median of k-space; of noise alone it is 1.5
# Of an echo over the grid's centre and over its mirror image there: tags come in pairs.
OUTSHINES = 2.0
AGREE = 2  # samples between the echoes of several slices
SLICES = 5  # at most so many are looked at
VOLUMES = 8  # likewise, where they have their echo at one place
AXES = {False: ("readout sample", "phase-encoding line"), True: ("first line", "second line")}


@dataclass(frozen=True)
class Echo:
    """The largest signal of a slice.

    Attributes:
        offset: from index N // 2 of both axes, in samples.
        alone: whether it outshines the grid's centre and its own mirror image there.
    """

    offset: tuple[int, int]
    alone: bool


def center_echo(scan: Scan) -> Scan:
    """The scan with k-space rolled so that its echo lies at index N // 2, where calibration and scale look for it.

    It is where slices of a volume agree on an echo that is off the centre by more than 4 samples and 2 % of the axis,
    and by no more than a quarter of it. Rolling is a linear phase of the image, the same for all coils: magnitudes and
    coil maps stay as they are, and the phase of the image is put back (`Scan.echo_phase`). Nothing is rolled along an
    axis where the fully sampled centre would become too narrow to calibrate from. Separate calibration lines go by the
    echo that they show themselves. Notes say where an echo off the centre is, whether it is rolled or not.

    One slice of a volume is read where its echo is at the centre, else up to five.
    """
    found, lines = _of_volumes(scan), _of_calibration(scan)
    limits = [FARTHEST * n for n in scan.shape[2:]]
    far = [_along(o, [a for a in (0, 1) if abs(o[a]) > limits[a]]) for o in found]
    near = _less(found, far)
    rolled, done = scan, [(0, 0)] * scan.volumes
    if lines is not None and any(lines):
        rolled = _rolled(scan, done, lines)
    for axes in ((0, 1), (0,), (1,)):
        chosen = [_along(offset, axes) for offset in near]
        volumes = [volume for volume, offset in enumerate(chosen) if any(offset)]
        if volumes and _keeps_centre(scan, moved := _rolled(scan, chosen, lines), volumes):
            rolled, done = moved, chosen
            break
    questioned = any("give --" in note for note in scan.notes)
    apart = [lines if lines and lines != offset else (0, 0) for offset in done]
    notes = (
        _said(scan, done, ": k-space is shifted to have it there, which images do not show"),
        _said(scan, apart, ": they are shifted to have it there", " of the separate lines"),
        _said(
            scan,
            _less(near, done),
            ", but k-space is fully sampled about the centre only: left as it is",
        ),
        # Who was told how the array is stored already knows what to do.
        ""
        if questioned
        else _said(scan, far, f", {BEYOND}: left as it is, roll k-space to have it at the centre"),
    )
    if not any(notes):
        return scan
    return replace(rolled, notes=(*rolled.notes, *filter(None, notes)))


def echo_offset(scan: Scan, volume: int = 0) -> Offset | None:
    """By how many samples (readout, phase) a volume's echo lies behind N // 2; (0, 0) where slices do not agree.

    None where none of them tells.
    """

    def read(index: int) -> tuple[Tensor, Tensor]:
        kspace = scan.read(volume, index)
        declared = None if scan.sampling is None else scan.sampling(volume, index)
        return kspace, measured_points(kspace, declared)

    return _agreed(scan, read)


def find_echo(kspace: Complex[Tensor, "coil ky kx"], mask: Bool[Tensor, "ky kx"]) -> Echo | None:
    """The echo of one slice from what was measured.

    None where nothing stands out, or the centre was not measured, or samples are not finite, which others refuse.
    """
    level = rss(kspace) * mask
    if not bool(torch.isfinite(level.sum())):
        return None
    sums = [
        torch.nn.functional.avg_pool2d(x[None].float(), WINDOW, 1, WINDOW // 2)[0]
        for x in (level, mask)
    ]
    smooth = torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1e-6), 0)
    center = tuple(n // 2 for n in mask.shape)
    if not bool(sums[1][center] > 0):
        return None
    y, x = divmod(int(smooth.argmax()), mask.shape[1])
    top = float(smooth[y, x])
    if top < SIGNAL * float(smooth[sums[1] > 0].median()) or top == 0:
        return None
    mirror = tuple(
        max(0, min(2 * c - p, n - 1)) for c, p, n in zip(center, (y, x), mask.shape, strict=True)
    )
    alone = top >= OUTSHINES * max(float(smooth[center]), float(smooth[mirror]))
    half = WINDOW // 2
    rows, columns = (slice(max(0, p - half), p + half + 1) for p in (y, x))
    near = level[rows, columns]
    dy, dx = divmod(int(near.argmax()), near.shape[1])
    return Echo((rows.start + dy - center[0], columns.start + dx - center[1]), alone)


def _agreed(
    scan: Scan, read: Callable[[int], tuple[Tensor, Tensor]], inside: bool = False
) -> Offset | None:
    """Where slices agree that their echo is, of data that are read with their mask.

    Args:
        scan: for its size.
        read: slice -> k-space and mask.
        inside: whether an echo at the edge of what was sampled is none.
    """
    count, middle = scan.shape[0], scan.shape[0] // 2
    spread = [round((i + 0.5) * count / SLICES - 0.5) for i in range(SLICES)]
    found: list[Echo] = []
    for index in dict.fromkeys([middle, *spread]):
        kspace, mask = read(index)
        echo = find_echo(kspace, mask)
        if echo is None or (inside and not _surrounded(echo, mask)):
            continue
        if not found and not any(_off(echo.offset, scan)):
            return 0, 0
        found.append(echo)
    if not found:
        return None
    offset = tuple(round(median(echo.offset[axis] for echo in found)) for axis in (0, 1))
    agree = [
        echo.alone and max(abs(a - b) for a, b in zip(echo.offset, offset, strict=True)) <= AGREE
        for echo in found
    ]
    return (offset[0], offset[1]) if 3 * sum(agree) >= 2 * len(found) else (0, 0)


def _of_volumes(scan: Scan) -> list[Offset]:
    """By how much the echo of each volume is off the centre.

    A volume that does not tell goes with the first that does. Of many volumes some are looked at, all where these
    differ.
    """
    last = scan.volumes - 1
    spread = sorted({round(i * last / (VOLUMES - 1)) for i in range(VOLUMES)})
    found = {volume: echo_offset(scan, volume) for volume in spread}
    told = [offset for offset in found.values() if offset is not None]
    first = told[0] if told else (0, 0)
    offsets = [first] * scan.volumes
    if any(abs(a - b) > AGREE for o in told for a, b in zip(o, first, strict=True)):
        for volume in range(scan.volumes):
            own = found[volume] if volume in found else echo_offset(scan, volume)
            offsets[volume] = first if own is None else own
    return [_off(offset, scan) for offset in offsets]


def _of_calibration(scan: Scan) -> Offset | None:
    """By how much the echo of the separate calibration lines is off the centre; None where they do not tell."""
    if scan.calibration is None:
        return None
    lines = scan.calibration

    def read(index: int) -> tuple[Tensor, Tensor]:
        kspace = lines(0, index)
        return kspace, (kspace != 0).any(dim=0)

    offset = _agreed(scan, read, inside=True)
    if offset is None or any(
        abs(o) > FARTHEST * n for o, n in zip(offset, scan.shape[2:], strict=True)
    ):
        return None
    return _off(offset, scan)


def _surrounded(echo: Echo, mask: Bool[Tensor, "ky kx"]) -> bool:
    """Whether the samples around an echo were measured: k-space that ends there has its echo beyond."""
    half = WINDOW // 2
    places = [n // 2 + o for n, o in zip(mask.shape, echo.offset, strict=True)]
    if any(p < half or p + half >= n for p, n in zip(places, mask.shape, strict=True)):
        return False
    rows, columns = (slice(p - half, p + half + 1) for p in places)
    return bool(mask[rows, columns].all())


def _off(offset: Offset, scan: Scan) -> Offset:
    """Of an offset what is more than is tolerated."""
    sizes = scan.shape[2:]
    return _along(offset, [a for a in (0, 1) if abs(offset[a]) > max(SAMPLES, SHARE * sizes[a])])


def _along(offset: Offset, axes: Sequence[int]) -> Offset:
    return offset[0] * (0 in axes), offset[1] * (1 in axes)


def _less(offsets: Sequence[Offset], others: Sequence[Offset]) -> list[Offset]:
    return [(a[0] - b[0], a[1] - b[1]) for a, b in zip(offsets, others, strict=True)]


def _said(scan: Scan, offsets: Sequence[Offset], what: str, of: str = "") -> str:
    """A note on volumes that have their echo off the centre; empty where none has."""
    groups: dict[Offset, list[int]] = {}
    for volume, offset in enumerate(offsets):
        groups.setdefault(offset, []).append(volume)
    off = [offset for offset in groups if any(offset)]
    if not off:
        return ""
    farthest = max(off, key=lambda offset: max(map(abs, offset)))
    where = " and ".join(
        f"{name} {n // 2 + moved} of {n} (the centre is {n // 2})"
        for name, moved, n in zip(AXES[scan.is_3d], farthest, scan.shape[2:], strict=True)
        if moved
    )
    count = sum(len(groups[offset]) for offset in off)
    names = scan.volume_names or [f"volume {volume}" for volume in range(scan.volumes)]
    among = "" if count == scan.volumes else f" in {count} of {scan.volumes} volumes"
    if count < scan.volumes and len(groups[farthest]) == 1:
        among = f" in {names[groups[farthest][0]]}"
    if len(off) > 1:
        more = count - len(groups[farthest])
        among = f" in {names[groups[farthest][0]]} (and off the centre in {more} more)"
    return f"the echo{of} is at {where}{among}{what}"


def _keeps_centre(scan: Scan, rolled: Scan, volumes: Sequence[int]) -> bool:
    """Whether the fully sampled centre stays wide enough to calibrate from, in the middle slice."""
    return all(_centre(rolled, v) >= min(_centre(scan, v), ENOUGH) for v in volumes)


def _centre(scan: Scan, volume: int) -> int:
    """How wide the centre of the middle slice is sampled, by imaging or separate calibration lines."""
    middle = scan.shape[0] // 2
    masks = [scan.mask(middle, volume)]
    if scan.calibration is not None:
        masks.append((scan.calibration(volume, middle) != 0).any(dim=0))
    return max(map(width, masks))


def _rolled(scan: Scan, offsets: Sequence[Offset], lines: Offset | None) -> Scan:
    """The scan with these offsets of its volumes, and of its separate calibration lines, at the centre."""

    def roll(x: Tensor, offset: Offset) -> Tensor:
        return torch.roll(x, (-offset[0], -offset[1]), (-2, -1)) if any(offset) else x

    def of(read: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
        return lambda volume, index: roll(read(volume, index), offsets[volume])

    calibration = scan.calibration
    if calibration is not None:
        whole = calibration
        calibration = of(whole) if lines is None else lambda v, i: roll(whole(v, i), lines)
    # What it covers is seen before: what is rolled beyond an end of the grid leaves a gap behind that is no pattern.
    covered = scan.acquired
    if any(map(any, offsets)) and scan.mask_kind is None:
        covered = coverage_of(scan).acquired
    return replace(
        scan,
        read=of(scan.read),
        sampling=None if scan.sampling is None else of(scan.sampling),
        calibration=calibration,
        acquired=torch.stack([roll(covered, offset) for offset in set(offsets)]).all(dim=0),
        echo_shifts=tuple((-float(o[0]), -float(o[1])) for o in offsets),
    )
