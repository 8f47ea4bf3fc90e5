"""Slices of fastMRI-layout files as a network sees them: undersampled k-space, mask, calibration region, target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float, Int64
from torch import Tensor
from torch.utils.data import Dataset

from mrirecon.coverage import coverage_of
from mrirecon.io.fastmri import SliceReader, read_fastmri
from mrirecon.masks import MaskSpec, fastmri_seed
from mrirecon.networks.base import calibration_of
from mrirecon.scan import Scan
from mrirecon.tensors import ifft2c, rss
from mrirecon.training.core.batches import SliceRequest
from mrirecon.training.end_to_end.index import FileEntry
from mrirecon.training.end_to_end.undersampling import Splits, fixed_mask, random_mask


class Batch(NamedTuple):
    """Slices of one size and coil count, with their neighbours.

    Attributes:
        kspace: zero where not sampled; volumes end with copies of their first and last slice.
        mask: sampled points; columns that the protocol does not cover are False.
        calibration: the fully sampled centre that the mask was made with.
        target: magnitude image of the window; None where files have none and are undersampled.
        maximum: of the target volume, in units of the k-space; NaN where there is none.
        volume: file name.
        index: of the slice in the volume.
        slices: in the volume.
        crop: rows and columns of the window.
        full: k-space of the slice before it was undersampled, where that is asked for.
        left_out: sets of samples to predict, where that is asked for.
        weight: how much each of them counts.
    """

    kspace: Complex[Tensor, "batch adjacent coil y x"]
    mask: Bool[Tensor, "batch y x"]
    calibration: Bool[Tensor, "batch y x"]
    target: Float[Tensor, "batch h w"] | None
    maximum: Float[Tensor, " batch"]
    volume: tuple[str, ...]
    index: Int64[Tensor, " batch"]  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    slices: Int64[Tensor, " batch"]
    crop: tuple[slice, slice]
    full: Complex[Tensor, "batch coil y x"] | None = None
    left_out: Bool[Tensor, "batch split y x"] | None = None
    weight: Float[Tensor, "batch y x"] | None = None

    def without(self, number: int) -> Batch:
        """The slices as if one set of their samples had not been measured: nothing that is left tells of them."""
        assert self.left_out is not None
        kept = self.mask & ~self.left_out[:, number]
        return self._replace(
            kspace=self.kspace * kept[:, None, None],
            mask=kept,
            calibration=self.calibration & calibration_of(kept),
            target=None,
            full=None,
        )


class SliceDataset(Dataset[Batch]):
    """Reads single slices when they are asked for; holds no data.

    Args:
        entries: the files.
        masks: kinds to draw from; files undersampled by themselves keep their own mask.
        adjacent_slices: odd; neighbours beyond the ends of a volume are its end slices again (HUMUS-Net).
        seed: of the masks of training, drawn anew in each epoch; None fixes them by file name as fastMRI does.
        full_kspace: give the fully sampled k-space too.
        targets: give targets, where there are any.
        splits: how samples are split into those that are seen and those to predict; None leaves none out.
    """

    def __init__(
        self,
        entries: Sequence[FileEntry],
        masks: Sequence[MaskSpec],
        adjacent_slices: int = 1,
        seed: int | None = None,
        full_kspace: bool = False,
        targets: bool = True,
        splits: Splits | None = None,
    ) -> None:
        if adjacent_slices < 1 or adjacent_slices % 2 == 0:
            raise ValueError(f"adjacent_slices is {adjacent_slices}: give an odd number, as 1 or 3")
        self.entries = tuple(entries)
        self.masks = tuple(masks)
        self.adjacent_slices = adjacent_slices
        self.seed = seed
        self.full_kspace, self.targets, self.splits = full_kspace, targets, splits
        self._reader = SliceReader()

    def __getitems__(self, requests: list[SliceRequest]) -> Batch:
        """A batch, its k-space read straight to where it will lie."""
        entries = [self.entries[request.entry] for request in requests]
        size = len(requests), self.adjacent_slices, *entries[0].shape[1:]
        kspace = torch.empty(size, dtype=torch.complex64)
        slices = [self._read(*pair) for pair in zip(requests, kspace, strict=True)]
        masks, calibrations, targets, full = zip(*slices, strict=True)
        left_out, weights = self._left_out(requests, masks)
        maxima = [math.nan if entry.maximum is None else entry.maximum for entry in entries]
        return Batch(
            kspace=kspace,
            mask=torch.stack(masks),
            calibration=torch.stack(calibrations),
            target=None if targets[0] is None else torch.stack(targets),
            maximum=torch.tensor(maxima),
            volume=tuple(entry.name for entry in entries),
            index=torch.tensor([request.index for request in requests]),
            slices=torch.tensor([entry.shape[0] for entry in entries]),
            crop=entries[0].window,
            full=torch.stack(full) if self.full_kspace else None,
            left_out=left_out,
            weight=weights,
        )

    def _read(
        self, request: SliceRequest, kspace: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Read k-space and undersample it; gives mask, calibration, target and the full k-space of the slice."""
        entry = self.entries[request.entry]
        path, index = Path(entry.path), request.index
        first = index - self.adjacent_slices // 2
        for offset, out in enumerate(kspace):
            near = min(max(first + offset, 0), entry.shape[0] - 1)
            self._reader.kspace(path, near, out)
        if not _finite(kspace):
            raise ValueError(
                f"{path}: k-space at slice {index} holds NaN or infinite samples: "
                "repair or remove the file"
            )
        target = self._target(entry, index, kspace[self.adjacent_slices // 2])
        mask, calibration = self._mask(request)
        full = kspace[self.adjacent_slices // 2].clone() if self.full_kspace else None
        if full is not None and entry.sampled:
            raise ValueError(
                f"{path} is undersampled by itself, so its full k-space is unknown: leave out loss.complex and "
                "loss.incremental"
            )
        kspace *= mask
        return mask, calibration, target, full

    def _left_out(
        self, requests: Sequence[SliceRequest], masks: Sequence[Tensor]
    ) -> tuple[Tensor | None, Tensor | None]:
        """The samples to predict, drawn anew in each epoch, fixed by file name in validation, and their weights."""
        if self.splits is None:
            return None, None
        found = []
        for request, mask in zip(requests, masks, strict=True):
            entry = self.entries[request.entry]
            key = request.index, *fastmri_seed(entry.name)
            if self.seed is not None:
                key = self.seed, request.epoch, *key
            try:
                found.append(self.splits.of(mask, _acquired(entry), key))
            except ValueError as error:
                raise ValueError(f"{entry.path}: {error}") from error
        left_out, weights = zip(*found, strict=True)
        return torch.stack(left_out), torch.stack(weights)

    def _target(self, entry: FileEntry, index: int, kspace: Tensor) -> Tensor | None:
        if not self.targets:
            return None
        rows, columns = entry.window
        if entry.has_target:
            size = rows.stop - rows.start, columns.stop - columns.start
            target = self._reader.target(Path(entry.path), index, size)
            if not _finite(target):
                raise ValueError(
                    f"{entry.path}: the target of slice {index} holds NaN or infinite values: "
                    "repair or remove the file"
                )
            return target
        return None if entry.sampled else rss(ifft2c(kspace))[rows, columns].contiguous()

    def _mask(self, request: SliceRequest) -> tuple[Tensor, Tensor]:
        entry = self.entries[request.entry]
        if entry.sampled:
            mask = _scan(entry.path).mask(request.index)
            return mask, calibration_of(mask[None])[0]
        if not self.masks:
            raise ValueError(
                f"{entry.path} is fully sampled: say with `masks` how to undersample it"
            )
        if self.seed is None:
            return _fixed(self.masks, entry)
        acquired, key = _acquired(entry), (self.seed, request.epoch, request.index)
        mask, calibration = random_mask(self.masks, acquired, key, entry.name)
        return mask & acquired, calibration


def _finite(x: Tensor) -> bool:
    """The sum shows NaN and infinity at a fraction of the cost of looking at each sample."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


@lru_cache(maxsize=8)
def _fixed(masks: tuple[MaskSpec, ...], entry: FileEntry) -> tuple[Tensor, Tensor]:
    """Mask and calibration of a validation volume; the tensors are shared: do not change them."""
    acquired = _acquired(entry)
    mask, calibration = fixed_mask(masks, acquired, entry.name)
    return mask & acquired, calibration


def _acquired(entry: FileEntry) -> Tensor:
    if entry.acquired is None:
        return _covered(entry.path)
    acquired = torch.zeros(entry.shape[2:], dtype=torch.bool)
    top, bottom, left, right = entry.acquired
    acquired[top:bottom, left:right] = True
    return acquired


@lru_cache(maxsize=16)
def _covered(path: str) -> Tensor:
    return coverage_of(_scan(path)).acquired


@lru_cache(maxsize=16)
def _scan(path: str) -> Scan:
    return read_fastmri(Path(path))
