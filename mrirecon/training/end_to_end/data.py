"""fastMRI folders as a Lightning data module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pytorch_lightning import LightningDataModule

from mrirecon.masks import MaskSpec
from mrirecon.training.core.batches import BucketSampler, SliceLoader, share_of
from mrirecon.training.end_to_end.dataset import SliceDataset
from mrirecon.training.end_to_end.index import FileEntry, index_folder
from mrirecon.training.end_to_end.loss import Loss
from mrirecon.training.end_to_end.undersampling import Splits


class FastMRIDataModule(LightningDataModule):
    """Training, validation and test slices of a fastMRI download, or of files laid out like it.

    Args:
        root: folder that holds `multicoil_train` and `multicoil_val`, or singlecoil likewise.
        masks: kinds of undersampling; one is drawn for each slice and epoch, in validation one for each volume.
        challenge: multicoil or singlecoil.
        val_masks: kinds for validation, where other ones are wanted.
        adjacent_slices: that the network sees: 1, 3, 5, ...
        batch_size: slices per step and process, of one size and coil count.
        workers: threads that read ahead; 0 reads when a batch is asked for.
        volume_fraction: share of the training volumes to use, drawn by `seed`.
        val_volume_fraction: share of the validation volumes to use.
        seed: seed of order, masks and choice of volumes.
        index: JSON file to keep the index of the files in; by default one beside the folders, where that is writable.
        train_folder: name below `root`, where it is not CHALLENGE_train.
        val_folder: likewise.
        loss: what is minimised, which says what of each slice is read.
        monitor: by what the best weights are chosen.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        masks: list[MaskSpec],
        challenge: Literal["multicoil", "singlecoil"] = "multicoil",
        val_masks: list[MaskSpec] | None = None,
        adjacent_slices: int = 1,
        batch_size: int = 1,
        workers: int = 2,
        volume_fraction: float = 1.0,
        val_volume_fraction: float = 1.0,
        seed: int = 0,
        index: str | os.PathLike[str] | None = None,
        train_folder: str | None = None,
        val_folder: str | None = None,
        loss: Loss | None = None,
        monitor: str = "val_loss",
    ) -> None:
        super().__init__()
        for name, share in (
            ("volume_fraction", volume_fraction),
            ("val_volume_fraction", val_volume_fraction),
        ):
            if not 0 < share <= 1:
                raise ValueError(f"{name} is {share}: give more than 0 and at most 1")
        self.root = Path(root)
        self.masks, self.val_masks = masks, masks if val_masks is None else val_masks
        self.challenge = challenge
        self.adjacent_slices, self.batch_size, self.workers = adjacent_slices, batch_size, workers
        self.volume_fraction, self.val_volume_fraction = volume_fraction, val_volume_fraction
        self.seed, self.loss, self.monitor = seed, loss or Loss(), monitor
        self.index = None if index is None else Path(index)
        self.train_folder = self.root / (train_folder or f"{challenge}_train")
        self.val_folder = self.root / (val_folder or f"{challenge}_val")

    def prepare_data(self) -> None:
        """Bring the index up to date, in one process of each node."""
        for folder in (self.train_folder, self.val_folder):
            if folder.exists():
                self._entries(folder)

    def train_dataloader(self) -> SliceLoader:
        """Shuffled slices with random masks.

        Raises:
            ValueError, OSError: if the folder is missing or empty, a file cannot be used, or the loss needs targets and
                there are none.
        """
        entries = _choose(self._entries(self.train_folder), self.volume_fraction, self.seed)
        terms = " and ".join(f"loss.{name}" for name in self.loss.of_images)
        if terms and not any(entry.gives_target for entry in entries):
            raise ValueError(
                f"{self.train_folder}: all files are undersampled and none has a target, which {terms} needs: "
                "give 0 there, and loss.self_supervised a weight"
            )
        return self._loader(entries, self.masks, self.seed)

    def val_dataloader(self) -> SliceLoader:
        """Whole volumes, slice by slice, with masks fixed by file name; files with a mask of their own keep it.

        Raises:
            ValueError, OSError: as `train_dataloader`, or if the best weights cannot be chosen by these files.
        """
        entries = _choose(self._entries(self.val_folder), self.val_volume_fraction, self.seed)
        judged = self.monitor in ("val_loss", "val_left_out") or any(
            e.gives_target for e in entries
        )
        if self.loss.self_supervised and not judged:
            raise ValueError(
                f"{self.val_folder}: no file has a target, which checkpoints.monitor {self.monitor} needs: "
                "monitor val_left_out"
            )
        return self._loader(entries, self.val_masks, None)

    def _loader(
        self, entries: list[FileEntry], masks: Sequence[MaskSpec], seed: int | None
    ) -> SliceLoader:
        rank, processes, pin = share_of(self.trainer)
        loss, splits = self.loss, None
        if loss.self_supervised:
            training = Splits(loss.splits, loss.share, loss.weighting)
            splits = Splits() if seed is None else training
        dataset = SliceDataset(
            entries,
            masks,
            self.adjacent_slices,
            seed,
            full_kspace=loss.of_full,
            targets=seed is None or bool(loss.of_images) or loss.incremental > 0,
            splits=splits,
        )
        batches = BucketSampler(entries, self.batch_size, seed, rank, processes)
        return SliceLoader(dataset, batches, self.workers, pin)

    def _entries(self, folder: Path) -> list[FileEntry]:
        if not folder.exists():
            raise FileNotFoundError(
                f"{folder}: no such folder: data.root is the folder that holds {self.train_folder.name} and "
                f"{self.val_folder.name} (or name these with data.train_folder and data.val_folder)"
            )
        entries = index_folder(folder, self.index)
        for entry in entries:
            coils = entry.shape[1]
            if self.challenge == "singlecoil" and coils > 1:
                raise ValueError(
                    f"challenge is singlecoil, {entry.path} has {coils} coils: set it to multicoil"
                )
        return entries


def _choose(entries: list[FileEntry], fraction: float, seed: int) -> list[FileEntry]:
    """A random share of the volumes, at least one, in the order they had."""
    count = max(1, round(fraction * len(entries)))
    chosen = np.random.default_rng(seed).permutation(len(entries))[:count]
    return [entries[i] for i in sorted(chosen)]
