"""Pictures of a fixed validation set for TensorBoard."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

ERROR_GAIN = 5.0


class ValidationImages(Callback):
    """The middle slice of the first volumes: reconstruction, target and five times their difference, side by side.

    Where there is no target it is the reconstruction alone.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self._chosen: list[str] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        boards = [x for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
        if trainer.sanity_checking or not boards:
            return
        middles = (batch.index == batch.slices // 2).tolist()
        for n, (volume, middle) in enumerate(zip(batch.volume, middles, strict=True)):
            if middle and volume not in self._chosen and len(self._chosen) < self.count:
                self._chosen.append(volume)
            if middle and volume in self._chosen:
                picture = alone(outputs[n])
                if batch.target is not None:
                    picture = side_by_side(outputs[n], batch.target[n], float(batch.maximum[n]))
                for board in boards:
                    board.experiment.add_image(
                        f"validation/{volume}", picture, trainer.global_step, dataformats="HW"
                    )


def alone(image: Tensor) -> Tensor:
    """A reconstruction (h, w) with values from 0 to 1."""
    return (image / image.max().clamp_min(1e-30)).float().cpu()


def side_by_side(image: Tensor, target: Tensor, maximum: float) -> Tensor:
    """Reconstruction, target and magnified error in one picture with values from 0 to 1."""
    error = ERROR_GAIN * (image - target).abs()
    picture = torch.cat([image, target, error], dim=-1) / (maximum or 1.0)
    return picture.clamp(0, 1).float().cpu()
