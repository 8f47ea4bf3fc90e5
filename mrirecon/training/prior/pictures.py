"""Pictures drawn from a prior for TensorBoard."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from mrirecon.diffusion import denoiser_of, draw_images
from mrirecon.networks import Prior

SAMPLE_SIZE, SAMPLE_LEVELS = 64, 20


class PriorSamples(Callback):
    """A row of images drawn from the averaged prior at each validation, always from the same noise."""

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        boards = [x for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
        if trainer.sanity_checking or not boards or not self.count or not trainer.is_global_zero:
            return
        drawn = self.drawn(pl_module.final, pl_module.device)  # type: ignore[arg-type]
        row = torch.cat(list(drawn), dim=-1).clamp(0, 1).float().cpu()
        for board in boards:
            board.experiment.add_image("samples", row, trainer.global_step, dataformats="HW")

    def drawn(self, prior: Prior, device: torch.device) -> Float[Tensor, "count y x"]:
        """The images to show."""
        size, levels = (SAMPLE_SIZE, SAMPLE_SIZE), SAMPLE_LEVELS
        drawn = draw_images(denoiser_of(prior), self.count, size, levels=levels, device=device)
        return drawn.abs() if prior.channels == 2 else drawn.real
