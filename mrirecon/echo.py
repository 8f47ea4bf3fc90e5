"""Where the echo lies on the k-space grid, and the scan with it at the centre."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Bool, Complex, Shaped
from torch import Tensor

from mrirecon.calibration import ENOUGH, width
from mrirecon.scan import Scan
from mrirecon.tensors import measured_points, rss

WINDOW = 5  # samples per side over which magnitudes are averaged: a spike is no echo
# Off the centre by so many samples, or this share of the axis, is tolerated: half the intensity scale's block.
SAMPLES, SHARE = 4, 0.02
FARTHEST = 0.25  # of the axis: beyond it is no echo off the centre, but k-space in another order
SIGNAL = 5.0  # of an echo over the median of k-space; of noise alone it is 1.5
# Of an echo over the grid's centre and over its mirror image there: tags come in pairs.
OUTSHINES = 2.0
AGREE = 2  # samples between the echoes of several slices
SLICES = 5  # at most so many are looked at
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

    It is where slices of the first volume agree on an echo that is off the centre by more than 4 samples and 2 % of the
    axis, and by no more than a quarter of it. Rolling is a linear phase of the image, the same for all coils:
    magnitudes and coil maps stay as they are, and the phase of the image is put back (`Scan.echo_phase`). Where the
    fully sampled centre would become too narrow to calibrate from, nothing is rolled; a note says where the echo is.

    One slice is read where its echo is at the centre, else up to five.
    """
    offset = echo_offset(scan)
    shape = scan.shape[2:]
    axes = list(zip(offset, shape, strict=True))
    off = [moved if abs(moved) > _tolerated(n) else 0 for moved, n in axes]
    if not any(off) or any(abs(moved) > FARTHEST * n for moved, n in axes):
        return scan
    where = " and ".join(
        f"{name} {n // 2 + moved} of {n} (the centre is {n // 2})"
        for name, moved, n in zip(AXES[scan.is_3d], off, shape, strict=True)
        if moved
    )
    rolled = _rolled(scan, (-off[0], -off[1]))
    if _centre(rolled) < min(_centre(scan), ENOUGH):
        note = f"the echo is at {where}, but k-space is fully sampled about the centre only: left as it is"
        return replace(scan, notes=(*scan.notes, note))
    note = f"the echo is at {where}: k-space is shifted to have it there, which images do not show"
    return replace(rolled, notes=(*scan.notes, note))


def echo_offset(scan: Scan) -> tuple[int, int]:
    """By how many samples (readout, phase) the echo lies behind N // 2; 0 where slices do not tell or agree."""
    count, middle = scan.shape[0], scan.shape[0] // 2
    spread = [round((i + 0.5) * count / SLICES - 0.5) for i in range(SLICES)]
    found: list[Echo] = []
    for index in dict.fromkeys([middle, *spread]):
        kspace = scan.read(0, index)
        declared = None if scan.sampling is None else scan.sampling(0, index)
        echo = find_echo(kspace, measured_points(kspace, declared))
        if echo is None:
            continue
        if not found and not _is_off(echo, scan):
            return 0, 0
        found.append(echo)
    if not found:
        return 0, 0
    offset = tuple(round(median(echo.offset[axis] for echo in found)) for axis in (0, 1))
    agree = [
        echo.alone and max(abs(a - b) for a, b in zip(echo.offset, offset, strict=True)) <= AGREE
        for echo in found
    ]
    return (offset[0], offset[1]) if 3 * sum(agree) >= 2 * len(found) else (0, 0)


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


def _is_off(echo: Echo, scan: Scan) -> bool:
    return any(abs(o) > _tolerated(n) for o, n in zip(echo.offset, scan.shape[2:], strict=True))


def _centre(scan: Scan) -> int:
    """How wide the centre of the middle slice is sampled, by imaging or separate calibration lines."""
    middle = scan.shape[0] // 2
    masks = [scan.mask(middle)]
    if scan.calibration is not None:
        masks.append((scan.calibration(0, middle) != 0).any(dim=0))
    return max(map(width, masks))


def _tolerated(size: int) -> float:
    return float(max(SAMPLES, SHARE * size))


def _rolled(scan: Scan, shift: tuple[int, int]) -> Scan:
    def roll(x: Shaped[Tensor, "*coil ky kx"]) -> Tensor:
        return torch.roll(x, shift, (-2, -1))

    def of(read: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
        return lambda volume, index: roll(read(volume, index))

    return replace(
        scan,
        read=of(scan.read),
        sampling=None if scan.sampling is None else of(scan.sampling),
        calibration=None if scan.calibration is None else of(scan.calibration),
        acquired=roll(scan.acquired),
        echo_shift=(scan.echo_shift[0] + shift[0], scan.echo_shift[1] + shift[1]),
    )
