"""Position of the echo on the k-space grid, and shifting it to the centre."""

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

WINDOW = 5  # side in samples of the window over which magnitudes are averaged, so that a spike is not an echo
# Tolerated distance from the centre in samples, and as a fraction of the axis: half the block of the intensity scale.
SAMPLES, FRACTION = 4, 0.02
BEYOND = "more than a quarter of the axis away"
FARTHEST = 0.25  # fraction of the axis: beyond this, k-space is rather stored in another order
SIGNAL = 5.0  # smallest ratio of the echo to the median of k-space; for noise alone it is 1.5
# Smallest ratio of the echo to the grid's centre and to its mirror image: tagging gives pairs of echoes.
OUTSHINES = 2.0
AGREE = 2  # largest distance in samples between the echoes of slices that agree
SLICES = 5  # most slices that are examined
VOLUMES = 8  # most volumes that are examined where their echoes agree
AXES = {False: ("readout sample", "phase-encoding line"), True: ("first line", "second line")}


@dataclass(frozen=True)
class Echo:
    """The largest signal of a slice.

    Attributes:
        offset: from index N // 2 of both axes, in samples.
        alone: whether it is clearly larger than the grid's centre and than its own mirror image about that.
    """

    offset: tuple[int, int]
    alone: bool


def center_echo(scan: Scan) -> Scan:
    """The scan with k-space rolled so that its echo lies at index N // 2, where calibration and scale look for it.

    K-space is rolled where the slices of a volume agree on an echo that is off the centre by more than 4 samples and
    2 % of the axis, and by at most a quarter of it. This is a linear phase in the image, the same for all coils:
    magnitudes and coil maps do not change, and the phase of the image is restored later (`Scan.echo_phase`). K-space is
    not rolled along an axis where this would make the fully sampled centre too narrow for calibration. Separate
    calibration lines are rolled by their own echo. Notes say where echoes off the centre are, and which were rolled.

    One slice of a volume is read if its echo is at the centre, otherwise up to five.
    """
    found, lines = _volume_offsets(scan), _calibration_offset(scan)
    limits = [FARTHEST * n for n in scan.shape[2:]]
    far = [_along(o, [a for a in (0, 1) if abs(o[a]) > limits[a]]) for o in found]
    near = _minus(found, far)
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
        _note(scan, done, ": k-space is shifted to have it there, which images do not show"),
        _note(scan, apart, ": they are shifted to have it there", " of the separate lines"),
        _note(
            scan,
            _minus(near, done),
            ", but k-space is fully sampled about the centre only: left as it is",
        ),
        # A note on how the array is stored already names the remedy.
        ""
        if questioned
        else _note(scan, far, f", {BEYOND}: left as it is, roll k-space to have it at the centre"),
    )
    if not any(notes):
        return scan
    return replace(rolled, notes=(*rolled.notes, *filter(None, notes)))


def echo_offset(scan: Scan, volume: int = 0) -> Offset | None:
    """Offset in samples (readout, phase) of a volume's echo from N // 2; (0, 0) where slices do not agree.

    None where no slice shows an echo.
    """

    def read(index: int) -> tuple[Tensor, Tensor]:
        kspace = scan.read(volume, index)
        declared = None if scan.sampling is None else scan.sampling(volume, index)
        return kspace, measured_points(kspace, declared)

    return _agreed_offset(scan, read)


def find_echo(kspace: Complex[Tensor, "coil ky kx"], mask: Bool[Tensor, "ky kx"]) -> Echo | None:
    """The echo of one slice, from its measured samples.

    None where no peak stands out, the centre was not measured, or samples are not finite (an error is raised for these
    later).
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


def _agreed_offset(
    scan: Scan, read: Callable[[int], tuple[Tensor, Tensor]], inside: bool = False
) -> Offset | None:
    """The offset of the echo on which slices agree: (0, 0) if they do not, None if none shows an echo.

    Args:
        scan: gives the number and size of slices.
        read: slice index -> k-space and mask.
        inside: ignore echoes at the edge of the sampled region.
    """
    count, middle = scan.shape[0], scan.shape[0] // 2
    spread = [round((i + 0.5) * count / SLICES - 0.5) for i in range(SLICES)]
    found: list[Echo] = []
    for index in dict.fromkeys([middle, *spread]):
        kspace, mask = read(index)
        echo = find_echo(kspace, mask)
        if echo is None or (inside and not _surrounded(echo, mask)):
            continue
        if not found and not any(_beyond_tolerance(echo.offset, scan)):
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


def _volume_offsets(scan: Scan) -> list[Offset]:
    """The offset of the echo of each volume, (0, 0) where it is tolerated.

    A volume without a clear echo takes the offset of the first one that has it. Of many volumes only some are examined,
    and all where these differ.
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
    return [_beyond_tolerance(offset, scan) for offset in offsets]


def _calibration_offset(scan: Scan) -> Offset | None:
    """The offset of the echo of the separate calibration lines; None where there is none, or it is too far off."""
    if scan.calibration is None:
        return None
    lines = scan.calibration

    def read(index: int) -> tuple[Tensor, Tensor]:
        kspace = lines(0, index)
        return kspace, (kspace != 0).any(dim=0)

    offset = _agreed_offset(scan, read, inside=True)
    if offset is None or any(
        abs(o) > FARTHEST * n for o, n in zip(offset, scan.shape[2:], strict=True)
    ):
        return None
    return _beyond_tolerance(offset, scan)


def _surrounded(echo: Echo, mask: Bool[Tensor, "ky kx"]) -> bool:
    """Whether all samples around an echo were measured; where k-space ends there, the true echo lies beyond."""
    half = WINDOW // 2
    places = [n // 2 + o for n, o in zip(mask.shape, echo.offset, strict=True)]
    if any(p < half or p + half >= n for p, n in zip(places, mask.shape, strict=True)):
        return False
    rows, columns = (slice(p - half, p + half + 1) for p in places)
    return bool(mask[rows, columns].all())


def _beyond_tolerance(offset: Offset, scan: Scan) -> Offset:
    """The offset, with 0 along axes where it is tolerated."""
    sizes = scan.shape[2:]
    return _along(offset, [a for a in (0, 1) if abs(offset[a]) > max(SAMPLES, FRACTION * sizes[a])])


def _along(offset: Offset, axes: Sequence[int]) -> Offset:
    return offset[0] * (0 in axes), offset[1] * (1 in axes)


def _minus(offsets: Sequence[Offset], others: Sequence[Offset]) -> list[Offset]:
    return [(a[0] - b[0], a[1] - b[1]) for a, b in zip(offsets, others, strict=True)]


def _note(scan: Scan, offsets: Sequence[Offset], what: str, of: str = "") -> str:
    """A note on the volumes whose echo is off the centre; empty where there are none."""
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
    """Whether the fully sampled centre of the middle slice stays wide enough for calibration."""
    return all(_centre(rolled, v) >= min(_centre(scan, v), ENOUGH) for v in volumes)


def _centre(scan: Scan, volume: int) -> int:
    """Width of the fully sampled centre of the middle slice, of imaging or separate calibration lines."""
    middle = scan.shape[0] // 2
    masks = [scan.mask(middle, volume)]
    if scan.calibration is not None:
        masks.append((scan.calibration(volume, middle) != 0).any(dim=0))
    return max(map(width, masks))


def _rolled(scan: Scan, offsets: Sequence[Offset], lines: Offset | None) -> Scan:
    """The scan with the echoes of its volumes, and of its separate calibration lines, rolled to the centre."""

    def roll(x: Tensor, offset: Offset) -> Tensor:
        return torch.roll(x, (-offset[0], -offset[1]), (-2, -1)) if any(offset) else x

    def of(read: Callable[[int, int], Tensor]) -> Callable[[int, int], Tensor]:
        return lambda volume, index: roll(read(volume, index), offsets[volume])

    calibration = scan.calibration
    if calibration is not None:
        whole = calibration
        calibration = of(whole) if lines is None else lambda v, i: roll(whole(v, i), lines)
    # The coverage is determined before: rolling beyond the end of the grid leaves a gap that is not undersampling.
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
