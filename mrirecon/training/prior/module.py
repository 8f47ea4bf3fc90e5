"""The Lightning module of every prior."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mrirecon.diffusion import denoiser_of
from mrirecon.networks import Prior
from mrirecon.tensors import as_channels, complex_noise_like
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.prior.loss import PriorLoss
from mrirecon.training.prior.patches import PriorBatch


class LevelScore(NamedTuple):
    """How well one slice was denoised at one level.

    Attributes:
        volume: of the slice, with the level.
        number: of the slice.
        sigma: noise level.
        squared_error: sum over pixels, of the complex image.
        energy: sum of the squared magnitudes of the clean image.
        pixels: their number.
        loss: weighted error.
    """

    volume: str
    number: int
    sigma: float
    squared_error: float
    energy: float
    pixels: int
    loss: float


class DenoiserModule(TrainingModule):
    """Trains a prior on batches of images; validates the averaged weights by denoising held-out slices.

    Logs `train_loss` and `lr` every few steps, and after each validation, for slices with fixed noise, `val_loss` (mean
    over slices and levels), and `val_nmse_S` and `val_psnr_S` for each level S (of all slices together, the peak being
    the bright level 1), and their means over levels, `val_nmse` and `val_psnr`.

    Args:
        network: what to train.
        loss: what to minimise.
        optimizer: how.
        compile: train with torch.compile; validation runs the averaged weights as they are.
        seed: seed of dropout and stochastic depth.

    Attributes:
        metrics: name -> value, of the latest validation.

    Raises:
        ValueError: if a level of validation lies outside of what the network is for, or it is one of colour images.
    """

    network: Prior

    def __init__(
        self,
        network: Prior,
        loss: PriorLoss | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(network, optimizer, compile=compile, seed=seed)
        self.loss = loss or PriorLoss()
        low, high = network.sigma_range
        for sigma in self.loss.val_levels:
            if not low <= sigma <= high:
                raise ValueError(
                    f"loss.val_levels has {sigma:g}: {network.name} is trained from {low:g} to {high:g}"
                )
        if network.channels not in (1, 2):
            raise ValueError(
                f"network.channels is {network.channels}: give 2 for complex images, 1 for magnitudes"
            )
        self.metrics: dict[str, float] = {}

    def batch_loss(self, batch: PriorBatch) -> Tensor:
        clean, noise, level = self.loss.drawn(*self._channels(batch), batch.level)
        return self.loss(self.network, clean, noise, self.loss.sigmas(level, self.network)).mean()

    def synthetic(self, batch: PriorBatch) -> PriorBatch:
        stream = torch.Generator().manual_seed(0)
        return batch._replace(image=complex_noise_like(batch.image, stream))

    def validation_step(self, batch: PriorBatch, index: int) -> None:
        clean, noise = self._channels(batch)
        for sigma in self.loss.val_levels:
            levels = torch.full_like(batch.level, sigma)
            found = denoiser_of(self.final).clean(clean + sigma * noise, levels)
            # Double precision on the CPU: not every device has it.
            error = (found - clean).cpu().double().square().sum(dim=(1, 2, 3))
            weights = self.loss.weight(self.final, levels) / clean[0].numel()
            for n, volume in enumerate(batch.volume):
                score = LevelScore(
                    volume=f"{volume}@{sigma:g}",
                    number=int(batch.index[n]),
                    sigma=sigma,
                    squared_error=float(error[n]),
                    energy=float(clean[n].cpu().double().square().sum()),
                    pixels=clean.shape[-2] * clean.shape[-1],
                    loss=float(weights[n]) * float(error[n]),
                )
                self.scores.append(score)

    def judge(self, scores: list[LevelScore]) -> dict[str, float]:
        self.metrics = level_metrics(scores)
        return self.metrics

    def validated(self) -> dict[str, Any]:
        return dict(self.metrics)

    def _channels(self, batch: PriorBatch) -> tuple[Tensor, Tensor]:
        """Image and noise as the network takes them."""
        if self.network.channels == 2:
            return as_channels(batch.image), as_channels(batch.noise)
        return batch.image.abs().unsqueeze(1), batch.noise.real.unsqueeze(1)


def level_metrics(scores: list[LevelScore]) -> dict[str, float]:
    """`loss`, and `nmse` and `psnr` at each level and averaged over levels; nothing where there are no scores."""
    if not scores:
        return {}
    levels: dict[float, list[LevelScore]] = defaultdict(list)
    for score in scores:
        levels[score.sigma].append(score)
    single = {}
    for sigma, those in sorted(levels.items()):
        error = math.fsum(score.squared_error for score in those)
        energy = math.fsum(score.energy for score in those)
        single[f"nmse_{sigma:g}"] = error / energy if energy else math.nan
        pixels = sum(score.pixels for score in those)
        single[f"psnr_{sigma:g}"] = -10 * math.log10(error / pixels) if error else math.inf
    means = {
        kind: math.fsum(v for key, v in single.items() if key.startswith(f"{kind}_")) / len(levels)
        for kind in ("nmse", "psnr")
    }
    loss = math.fsum(score.loss for score in scores) / len(scores)
    return {"loss": loss, **means, **single}
