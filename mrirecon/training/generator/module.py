"""The Lightning module of generators."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mrirecon.networks import Generator
from mrirecon.tensors import as_channels, complex_noise_like
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.generator.loss import GeneratorLoss
from mrirecon.training.prior.patches import PriorBatch


class GeneratorScore(NamedTuple):
    """How well one slice came back from its latent.

    Attributes:
        volume: of the slice.
        number: of the slice.
        squared_error: sum over pixels, of the complex image.
        energy: sum of the squared magnitudes of the image.
        pixels: their number.
        loss: its loss.
    """

    volume: str
    number: int
    squared_error: float
    energy: float
    pixels: int
    loss: float


class GeneratorModule(TrainingModule):
    """Trains generator and encoder on batches of images; validates the averaged weights on held-out slices.

    Logs `train_loss` and `lr` every few steps, and after each validation `val_loss`, and `val_nmse` and `val_psnr` of
    the images that come back from the mean of their latents, all slices together (the peak being the bright level 1).

    Args:
        network: what to train.
        loss: what to minimise.
        optimizer: how.
        compile: train with torch.compile.
        seed: of the run.

    Attributes:
        metrics: name -> value, of the latest validation.
    """

    network: Generator

    def __init__(
        self,
        network: Generator,
        loss: GeneratorLoss | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(network, optimizer, compile=compile, seed=seed)
        self.loss = loss or GeneratorLoss()
        self.metrics: dict[str, float] = {}

    def batch_loss(self, batch: PriorBatch) -> Tensor:
        return self.loss(self.network, as_channels(batch.image), as_channels(batch.noise)).mean()

    def synthetic(self, batch: PriorBatch) -> PriorBatch:
        stream = torch.Generator().manual_seed(0)
        return batch._replace(image=complex_noise_like(batch.image, stream))

    def validation_step(self, batch: PriorBatch, index: int) -> None:
        clean = as_channels(batch.image)
        losses = self.loss(self.final, clean, as_channels(batch.noise))
        found = self.final(self.final.encode(clean)[0], tuple(clean.shape[-2:]))
        error = (found - clean).cpu().double().square().sum(dim=(1, 2, 3))
        for n, volume in enumerate(batch.volume):
            score = GeneratorScore(
                volume=volume,
                number=int(batch.index[n]),
                squared_error=float(error[n]),
                energy=float(clean[n].cpu().double().square().sum()),
                pixels=clean.shape[-2] * clean.shape[-1],
                loss=float(losses[n]),
            )
            self.scores.append(score)

    def judge(self, scores: list[GeneratorScore]) -> dict[str, float]:
        self.metrics = {}
        if scores:
            error = math.fsum(score.squared_error for score in scores)
            energy = math.fsum(score.energy for score in scores)
            pixels = sum(score.pixels for score in scores)
            self.metrics = {
                "loss": math.fsum(score.loss for score in scores) / len(scores),
                "nmse": error / energy if energy else math.nan,
                "psnr": -10 * math.log10(error / pixels) if error else math.inf,
            }
        return self.metrics

    def validated(self) -> dict[str, Any]:
        return dict(self.metrics)
