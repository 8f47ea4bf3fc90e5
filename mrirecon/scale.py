"""The bright level of the images of a scan, which weights of methods and inputs of networks refer to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.calibration import CENTRE, calibration_centre, calibration_data
from mrirecon.coverage import calibration_region
from mrirecon.prepare import has_full_readout, remove_oversampling
from mrirecon.scan import Scan
from mrirecon.tensors import center_crop, ifft2c, pad_to, rss


def intensity_scale(
    kspace: Complex[Tensor, "*slice coil readout phase"], mask: Bool[Tensor, "readout phase"]
) -> float:
    """The bright level of the image: 0.99 quantile of the RSS image of a small central block of measured k-space.

    The block is a square of about 4 % of the shorter axis (at least 7 x 7), which usual calibration regions cover, so
    that the scale of a scan does not depend on its acceleration and mask; a smaller calibration region lowers it by
    some percent. No window is applied: ringing of the truncated k-space compensates for its blur.

    Args:
        kspace: measured k-space, zero where not sampled; several slices give their common scale.
        mask: True at sampled points.

    Returns:
        The scale, in units of the image.

    Raises:
        ValueError: if the centre of k-space is not sampled, or all zero.
    """
    slices = kspace.reshape(-1, *kspace.shape[-3:])
    return _scale_of([_central_block(x, mask, mask.shape) for x in slices], mask.shape)


def volume_scale(scan: Scan, volume: int = 0) -> float:
    """One `intensity_scale` for all slices of a volume, so that it does not depend on how slices are distributed.

    It uses the `calibration_data` of each slice that has samples; only the central blocks are held in memory. Separate
    calibration lines and data of another volume are scaled to the units of the imaging k-space by their power at common
    points. Where the readout is fully sampled, only the reconstruction FOV counts.

    Raises:
        ValueError: as `intensity_scale`.

    Example:
        normalized = scan.kspace(0) / mr.volume_scale(scan)  # images of it have the bright level 1
    """
    scales = VolumeScales(scan)
    for index in range(scan.shape[0]):
        scales.look(volume, index)
    return scales.of(volume)


class VolumeScales:
    """Finds `volume_scale` of volumes, while their slices are read one after another for other things, too.

    Args:
        scan: what was measured.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self._scans: dict[int, Scan] = {}
        self._blocks: dict[int, list[tuple[Tensor, bool]]] = {}
        self._powers: dict[int, Tensor] = {}

    def look(self, volume: int, index: int) -> None:
        """Take from a slice what the scale of its volume depends on.

        Raises:
            ValueError: if the centre of k-space is not sampled.
        """
        scan = self._in_window(volume)
        side = min(_scale_square(scan.shape[2:]))
        blocks = self._blocks.setdefault(volume, [])
        enough = scan.calibration is None and side <= CENTRE
        find = calibration_centre if enough else calibration_data
        found = find(scan, index, side, volume)
        if not bool(found.mask.any()):
            return
        if found.has_own_units:
            found = calibration_data(scan, index, side, volume)  # its power counts, not its centre
            kspace, mask = scan.measured(index, volume)
            if not bool(mask.any()):
                return
            common = mask & found.mask
            powers = [x[:, common].abs().square().sum() for x in (found.kspace, kspace)]
            self._powers[volume] = self._powers.get(volume, 0) + torch.stack(powers).double()
        try:
            block = _central_block(found.kspace, found.mask, scan.shape[2:])
        except ValueError as error:
            raise ValueError(f"{scan.source}: slice {scan.first_slice + index}: {error}") from error
        blocks.append((block, found.has_own_units))

    def of(self, volume: int) -> float:
        """The scale of a volume whose slices were all looked at.

        Raises:
            ValueError: if the volume has no samples, or they are all zero.
        """
        scan, found = self._in_window(volume), self._blocks.pop(volume, [])
        if not found:
            raise ValueError(f"{scan.source}: volume {volume} has no samples")
        power, imaging = self._powers[volume].tolist() if volume in self._powers else (0, 0)
        gain = (imaging / power) ** 0.5 if power > 0 and imaging > 0 else 1.0
        blocks = [gain * x if other else x for x, other in found]
        try:
            return _scale_of([x for x in blocks if bool(x.any())] or blocks, scan.shape[2:])
        except ValueError as error:
            raise ValueError(f"{scan.source}: {error}") from error

    def _in_window(self, volume: int) -> Scan:
        """The scan without readout oversampling, where that can be removed."""
        if volume not in self._scans:
            scan = self.scan
            whole = not scan.is_3d and has_full_readout(scan.acquired)
            if whole and has_full_readout(scan.mask(0, volume)):
                cropped = (one for one in self._scans.values() if one is not scan)
                scan = next(cropped, None) or remove_oversampling(scan)
            self._scans[volume] = scan
        return self._scans[volume]


def _scale_square(shape: Sequence[int]) -> tuple[int, int]:
    side = 2 * max(3, round(0.02 * min(shape)) - 1) + 1
    return min(side, shape[0]), min(side, shape[1])


def _central_block(kspace: Tensor, mask: Tensor, shape: Sequence[int]) -> Tensor:
    """The largest fully sampled block inside the central square of `intensity_scale` on a grid of this shape."""
    square = _scale_square(shape)
    region = calibration_region(center_crop(mask.int(), square).bool())
    if region is None:
        raise ValueError(
            "the centre of k-space is not sampled: there is nothing to estimate the intensity scale from"
        )
    return center_crop(kspace, square)[(..., *region)]


def _scale_of(blocks: list[Tensor], shape: tuple[int, ...]) -> float:
    sides = [min(block.shape[axis] for block in blocks) for axis in (-2, -1)]
    common = torch.stack([center_crop(block, (sides[0], sides[1])) for block in blocks])
    grid = (max(64, 4 * sides[0]), max(64, 4 * sides[1]))
    image = rss(ifft2c(pad_to(common, grid))) * (grid[0] * grid[1] / (shape[0] * shape[1])) ** 0.5
    values = image.flatten()
    scale = float(values.kthvalue(max(1, round(0.99 * len(values)))).values)
    if scale == 0:
        raise ValueError("the centre of k-space is zero: the scan holds no signal")
    return scale
