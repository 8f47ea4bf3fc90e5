"""One training run: put together from its configuration, trained, resumed, exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping

from mrirecon.io.files import existing_file, replacing
from mrirecon.networks import NETWORKS
from mrirecon.training.checkpoints import (
    LAST,
    Checkpoints,
    CheckpointSettings,
    best_checkpoints,
    read_checkpoint,
)
from mrirecon.training.data import FastMRIDataModule, MaskSpec
from mrirecon.training.export import About, SeenScans, export
from mrirecon.training.images import ValidationImages
from mrirecon.training.losses import Loss
from mrirecon.training.module import UnrolledModule
from mrirecon.training.optimizer import OptimizerSettings
from mrirecon.training.trainer import TrainerSettings, build_trainer

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A folder, and everything that is trained, logged and kept in it.

    Attributes:
        output: the folder.
        config: what all of this was made from, as plain values.
        module: network, loss and optimizer.
        data: training and validation slices.
        checkpoints: when they are written.
        trainer: how long, where and at what precision.
    """

    output: Path
    config: Config
    module: UnrolledModule
    data: FastMRIDataModule
    checkpoints: CheckpointSettings
    trainer: TrainerSettings

    @classmethod
    def of(cls, config: Config) -> Run:
        """Build a run; the seed decides the initial weights, the order of the slices and their masks.

        Raises:
            ValueError: if a setting is impossible.
        """
        seed_everything(config["seed"], workers=True, verbose=False)
        options = dict(config["network"])
        network = NETWORKS[options.pop("name")](**options)
        data = dict(config["data"])
        for masks in ("masks", "val_masks"):
            if data.get(masks) is not None:
                data[masks] = [MaskSpec(**mask) for mask in data[masks]]
        return cls(
            Path(config["output"]),
            config,
            UnrolledModule(
                network, Loss(**config["loss"]), OptimizerSettings(**config["optimizer"])
            ),
            FastMRIDataModule(**data, seed=config["seed"], adjacent_slices=network.adjacent_slices),
            CheckpointSettings(**config["checkpoints"]),
            TrainerSettings(**config["trainer"]),
        )

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.output / "checkpoints"

    def start(self, ckpt_path: str | None) -> Path | None:
        """The checkpoint to go on from: `last` is this run's latest, or None when there is none yet.

        Raises:
            FileExistsError: if the run exists already and is not to be resumed.
            OSError: if the checkpoint is not there.
        """
        last = self.folder / LAST
        if ckpt_path == "last":
            return last if last.exists() else None
        if any(self.folder.glob("*.ckpt")):
            raise FileExistsError(
                f"{self.output} holds a training run already: go on with --ckpt_path last, or choose another --output"
            )
        return None if ckpt_path is None else existing_file(ckpt_path)

    def fit(self, start: Path | None, *reporters: Callback) -> Trainer:
        """Train, from a checkpoint where one is given.

        Raises:
            ValueError: if data, checkpoint and configuration do not go together, or training diverges.
            OSError: if a file cannot be read or written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        chosen = self.checkpoints
        callbacks = [
            SeenScans(),
            ValidationImages(self.config["images"]),
            *reporters,
            Checkpoints(self.folder, chosen),
        ]
        if chosen.patience:
            stop = EarlyStopping(chosen.monitor, patience=chosen.patience, mode=chosen.mode)
            callbacks.append(stop)
        trainer = build_trainer(self.trainer, self.output, callbacks)
        if trainer.is_global_zero:
            with replacing(self.output / "config.yaml") as (part,):
                part.write_text(yaml.safe_dump(dict(self.config), sort_keys=False))
        try:
            trainer.fit(self.module, self.data, ckpt_path=start, weights_only=True)
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None
        return trainer

    def export(self) -> Path | None:
        """Write the best checkpoint's weights beside the checkpoints' folder; the last one's without validation.

        Returns:
            The file; None if there is no checkpoint.
        """
        best = [found.path for found in best_checkpoints(self.folder, self.checkpoints.mode)]
        paths = [path for path in (*best, self.folder / LAST) if path.exists()]
        if not paths:
            return None
        checkpoint = read_checkpoint(paths[0])
        target = self.output / "weights.safetensors"
        config = {**self.config, "about": vars(About(**self.config["about"]))}
        export(self.module, checkpoint, config, target)
        return target
