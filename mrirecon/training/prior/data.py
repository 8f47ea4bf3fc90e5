"""Images for priors as a Lightning data module."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pytorch_lightning import LightningDataModule

from mrirecon.training.core.batches import BucketSampler, SliceLoader, share_of
from mrirecon.training.core.trainer import steps_per_epoch, total_steps
from mrirecon.training.prior.echoes import with_echoes
from mrirecon.training.prior.images import (
    Prepared,
    Slices,
    find_sources,
    merge_copies,
    prepare,
    refuse_copies,
    stacks,
)
from mrirecon.training.prior.patches import Augmentation, PatchDataset, PatchRequest
from mrirecon.training.prior.patients import PATIENT, Image, split

Plane = Literal["axial", "coronal", "sagittal", "stored"]
GROWING = ((0.4, 64), (0.3, 96), (0.3, 128))


class PriorDataModule(LightningDataModule):
    """Patches of magnitude images and of fully sampled scans.

    Args:
        sources: NIfTI files, folders of DICOM slices, fastMRI-layout files, and folders of any of these.
        cache: folder for the prepared images; they are read, and scans combined by ESPIRiT maps, only once.
        validation: patients held out, as in patient19 or patient1?.
        val_sources: further images for validation; their patients are held out too.
        patient: regular expression for what in a path names the patient.
        exclude: leave out images with this in their path, as in mask.
        planes: planes to cut images in; stored are the slices of the file, and all that a scan has.
        share: a slice is left out if it shows less than this share of what the fullest one shows.
        patches: shares of the training and the side of the patches in each, in order (default: 0.4 at 64, 0.3 at 96,
            0.3 at 128 pixels).
        pixel_mm: range of the side of the square pixels of a patch.
        resampled: share of the patches whose pixels are of random size; others keep those of the image where possible.
        gain: range of the factor on an image of bright level 1.
        shading: bound of the logarithm of a smooth factor.
        phase_rad: range of the bound of a smooth phase over the whole image.
        echoes: of each magnitude image that says how it lies so many gradient echoes are used beside it, in which air,
            fat and tissue turn the phase (`GradientEcho`).
        echo_ms: range of their echo times.
        batch_size: patches per step and process.
        workers: threads that read ahead; 0 reads when a batch is asked for.
        val_slices: number of slices of each held-out image and plane.
        val_size: side of the patch from the middle of each, in pixels; 0 takes the largest of `patches`.
        seed: seed of order and patches.

    Attributes:
        notes: on the images, after `prepare_data`.
    """

    def __init__(
        self,
        sources: list[str],
        cache: str | os.PathLike[str],
        validation: list[str] | None = None,
        val_sources: list[str] | None = None,
        patient: str = PATIENT,
        exclude: list[str] | None = None,
        planes: list[Plane] | None = None,
        share: float = 0.3,
        patches: list[tuple[float, int]] | None = None,
        pixel_mm: tuple[float, float] = (0.5, 1.5),
        resampled: float = 0.5,
        gain: tuple[float, float] = (0.7, 1.4),
        shading: float = 0.3,
        phase_rad: tuple[float, float] = (0.0, 6.0),
        echoes: int = 0,
        echo_ms: tuple[float, float] = (1.0, 8.0),
        batch_size: int = 16,
        workers: int = 1,
        val_slices: int = 4,
        val_size: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sources, self.cache = sources, Path(cache)
        self.validation, self.val_sources = validation or [], val_sources or []
        self.patient, self.exclude = patient, exclude or []
        self.planes: Sequence[str] = planes or ["stored"]
        self.share, self.batch_size, self.workers, self.seed = share, batch_size, workers, seed
        self.patches = [(float(part), int(size)) for part, size in patches or GROWING]
        self.how = Augmentation(
            (pixel_mm[0], pixel_mm[1]),
            resampled,
            (gain[0], gain[1]),
            shading,
            (phase_rad[0], phase_rad[1]),
        )
        self.echoes, self.echo_ms = echoes, (echo_ms[0], echo_ms[1])
        self.val_slices = val_slices
        self.val_size = val_size or max(size for _, size in self.patches)
        self.notes: list[str] = []
        self._found: tuple[list[Image], list[Image]] | None = None
        self._check()

    def _check(self) -> None:
        if not self.sources:
            raise ValueError("data.sources is empty: give NIfTI files, DICOM folders or scans")
        if not 0 <= self.share <= 1:
            raise ValueError(f"data.share is {self.share}: give a share from 0 to 1")
        shares = [part for part, _ in self.patches]
        if min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            raise ValueError(
                f"data.patches has shares {', '.join(map(str, shares))}: they must be positive and sum to 1"
            )
        if min(size for _, size in self.patches) < 8 or self.val_size < 8:
            raise ValueError("data.patches or data.val_size is below 8 pixels: give at least 8")
        if self.echoes < 0:
            raise ValueError(f"data.echoes is {self.echoes}: give 0 or more")
        if not 0 <= self.echo_ms[0] <= self.echo_ms[1] < math.inf:
            first, last = self.echo_ms
            raise ValueError(f"data.echo_ms is {first} to {last}: give numbers from 0, lower first")
        if self.val_slices < 1:
            raise ValueError(f"data.val_slices is {self.val_slices}: give at least 1")
        if self.batch_size < 1:
            raise ValueError(f"data.batch_size is {self.batch_size}: give at least 1")
        if self.workers < 0:
            raise ValueError(f"data.workers is {self.workers}: give 0 or more")

    def prepare_data(self) -> None:
        """Fill the cache, in one process of each node; an image that is there twice is used once, and noted.

        Raises:
            ValueError, OSError: if an image cannot be used, or is one of a patient held out and of another one.
        """
        training, validation = (prepare(images, self.cache) for images in self._images())
        refuse_copies(training, validation)
        self.notes = [*merge_copies(training)[1], *merge_copies(validation)[1]]
        for images in self._images():
            self._volumes(images)

    def train_dataloader(self) -> SliceLoader:
        """Shuffled random patches.

        Raises:
            ValueError, OSError: if there is no image, or one cannot be used.
        """
        chosen = self._stacks(self._images()[0])
        if not chosen:
            raise ValueError(
                f"no image has pixels up to {self.how.pixel_mm[1]:g} mm in the planes "
                f"{', '.join(self.planes)}: change data.planes or data.pixel_mm"
            )
        return self._loader(chosen, self.seed, self._size)

    def val_dataloader(self) -> SliceLoader | list[Any]:
        """The middle of a few slices of each held-out image, always the same; empty where nobody is held out."""
        chosen = [
            replace(stack, numbers=_evenly(stack.numbers, self.val_slices))
            for stack in self._stacks(self._images()[1])
        ]
        return self._loader(chosen, None, lambda epoch, batch: self.val_size) if chosen else []

    def _images(self) -> tuple[list[Image], list[Image]]:
        """For training and for validation; no patient is in both."""
        if self._found is not None:
            return self._found
        images = find_sources(self.sources, self.exclude, self.patient)
        held_out = split(images, self.validation, "data.validation")
        further = (
            find_sources(self.val_sources, self.exclude, self.patient) if self.val_sources else []
        )
        held_out |= {image.patient for image in further}
        training = [image for image in images if image.patient not in held_out]
        validation = [image for image in images if image.patient in held_out] + further
        if not training:
            raise ValueError("data.val_sources holds every patient: nobody is left to train with")
        self._found = training, validation
        return self._found

    def _stacks(self, images: Sequence[Image]) -> list[Slices]:
        return stacks(self._volumes(images), self.planes, self.how.pixel_mm[1], self.share)

    def _volumes(self, images: Sequence[Image]) -> list[Prepared]:
        volumes, _ = merge_copies(prepare(images, self.cache))
        return with_echoes(volumes, self.echoes, self.echo_ms)

    def _loader(
        self, chosen: Sequence[Slices], seed: int | None, size: Callable[[int, int], int]
    ) -> SliceLoader:
        rank, processes, pin = share_of(self.trainer)
        batches = PatchSampler(chosen, self.batch_size, seed, rank, processes, size=size)
        return SliceLoader(PatchDataset(chosen, self.how, seed), batches, self.workers, pin)

    def _size(self, epoch: int, batch: int) -> int:
        """Side of the patches of a batch."""
        trainer = self.trainer
        if trainer is None or len(self.patches) == 1:
            return max(size for _, size in self.patches)
        steps = total_steps(trainer)
        if steps == math.inf:
            raise ValueError(
                "data.patches of several sizes need to know when training ends: give trainer.max_epochs or "
                "trainer.max_steps, or one size"
            )
        step = epoch * steps_per_epoch(trainer) + batch // trainer.accumulate_grad_batches
        ends = np.cumsum([part for part, _ in self.patches]) * steps
        return self.patches[min(int((ends <= step).sum()), len(self.patches) - 1)][1]


class PatchSampler(BucketSampler):
    """Batches of patches whose size may depend on epoch and batch."""

    def __init__(self, *args: Any, size: Callable[[int, int], int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._size = size

    def __iter__(self) -> Iterator[list[Any]]:
        for number, requests in enumerate(super().__iter__(), self.start):
            size = self._size(self.epoch, number)
            yield [PatchRequest(*request, size) for request in requests]


def _evenly(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Some of the numbers, evenly spread, without the ends."""
    places = (np.arange(count) + 0.5) * len(numbers) / count
    return tuple(sorted({numbers[int(place)] for place in places}))
