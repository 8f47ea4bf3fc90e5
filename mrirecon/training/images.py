"""Pictures for TensorBoard: of a fixed validation set, or drawn from a prior."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Complex
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from mrirecon.diffusion import denoiser_of, karras
from mrirecon.diffusion.samplers.steps import ddim_step, walk
from mrirecon.networks import Prior
from mrirecon.tensors import complex_noise_like

ERROR_GAIN = 5.0
SAMPLE_SIZE, SAMPLE_LEVELS = 64, 20


class ValidationImages(Callback):
    """The middle slice of the first volumes: reconstruction, target and five times their difference, side by side."""

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
                picture = side_by_side(outputs[n], batch.target[n], float(batch.maximum[n]))
                for board in boards:
                    board.experiment.add_image(
                        f"validation/{volume}", picture, trainer.global_step, dataformats="HW"
                    )


def side_by_side(image: Tensor, target: Tensor, maximum: float) -> Tensor:
    """Reconstruction, target and magnified error in one picture with values from 0 to 1."""
    error = ERROR_GAIN * (image - target).abs()
    picture = torch.cat([image, target, error], dim=-1) / (maximum or 1.0)
    return picture.clamp(0, 1).float().cpu()


class PriorSamples(Callback):
    """A row of images drawn from the averaged prior at each validation, always from the same noise."""

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        boards = [x for x in trainer.loggers if isinstance(x, TensorBoardLogger)]
        if trainer.sanity_checking or not boards or not self.count or not trainer.is_global_zero:
            return
        prior: Prior = pl_module.final  # type: ignore[assignment]
        drawn = unconditional_samples(prior, self.count, pl_module.device)
        parts = drawn.abs() if prior.channels == 2 else drawn.real
        row = torch.cat(list(parts), dim=-1).clamp(0, 1).float().cpu()
        for board in boards:
            board.experiment.add_image("samples", row, trainer.global_step, dataformats="HW")


@torch.no_grad()
def unconditional_samples(
    prior: Prior,
    count: int,
    device: torch.device,
    size: int = SAMPLE_SIZE,
    steps: int = SAMPLE_LEVELS,
    seed: int = 0,
) -> Complex[Tensor, "count y x"]:
    """Images of the prior, by DDIM without new noise, down the noise levels of Karras et al."""
    denoiser, generator = denoiser_of(prior), torch.Generator().manual_seed(seed)
    sigmas = karras(steps, *denoiser.sigma_range)
    like = torch.empty(count, size, size, dtype=torch.complex64, device=device)
    x = float(sigmas[0]) * complex_noise_like(like, generator)
    for _, sigma, lower in walk(sigmas):
        x0 = denoiser(x, sigma)
        x = ddim_step(x0, (x - x0) / sigma, lower, 0.0, generator)
    return x
