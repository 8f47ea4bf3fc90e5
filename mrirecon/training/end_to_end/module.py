"""The Lightning module of every end-to-end network."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mrirecon.metrics import Metrics, SliceScore, mean_metrics, score_slice, volume_metrics
from mrirecon.networks import Network, UnrolledNetwork
from mrirecon.tensors import ifft2c
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.loss import Loss


class UnrolledModule(TrainingModule):
    """Trains a network on batches of slices; validates the averaged weights on whole volumes.

    Logs `train_loss` and `lr` every few steps, and after each validation `val_loss` (mean over slices) and `val_nmse`,
    `val_psnr` and `val_ssim` (means over volumes, fastMRI protocol).

    Args:
        network: what to train.
        loss: what to minimise.
        optimizer: how.
        compile: train with torch.compile; validation runs the averaged weights as they are.
        seed: seed of dropout and stochastic depth.

    Attributes:
        metrics: volume -> metrics, of the latest validation.
    """

    network: Network

    def __init__(
        self,
        network: Network,
        loss: Loss | None = None,
        optimizer: OptimizerSettings | None = None,
        *,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(network, optimizer, compile=compile, seed=seed)
        self.loss = loss or Loss()
        if self.loss.complex and not isinstance(network, UnrolledNetwork):
            raise ValueError(
                f"loss.complex is of coil images, which {network.name} does not have: use loss.ssim and loss.l1"
            )
        self.metrics: dict[str, Metrics] = {}

    def batch_loss(self, batch: Batch) -> Tensor:
        image, coils = self._images(self.network, batch)
        return self.loss(image, _target(batch), batch.maximum, coils)

    def _images(
        self, network: Network, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The magnitude image, and for a complex loss the coil images with their truth."""
        if not self.loss.complex:
            return network(batch.kspace, batch.mask, batch.calibration, batch.crop), None
        assert isinstance(network, UnrolledNetwork) and batch.full is not None
        end = network.unroll(batch.kspace, batch.mask, batch.calibration)
        coils = torch.stack(list(end.coil_images()), dim=1), ifft2c(batch.full)
        return network.image(end, batch.crop), coils

    def synthetic(self, batch: Batch) -> Batch:
        stream = torch.Generator().manual_seed(0)
        target = torch.rand(_target(batch).shape, generator=stream)
        noise = torch.randn(*batch.kspace.shape, dtype=batch.kspace.dtype, generator=stream)
        kspace = noise * batch.mask[:, None, None]
        full = None if batch.full is None else noise[:, noise.shape[1] // 2]
        maximum = torch.ones_like(batch.maximum)
        return batch._replace(kspace=kspace, target=target, maximum=maximum, full=full)

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        image, coils = self._images(self.final, batch)
        image, target = image.float(), _target(batch)
        for n, volume in enumerate(batch.volume):
            one = slice(n, n + 1)
            of_one = None if coils is None else (coils[0][one], coils[1][one])
            loss = self.loss(image[one], target[one], batch.maximum[one], of_one)
            score = score_slice(
                image[n].cpu(),
                target[n].cpu(),
                float(batch.maximum[n]),
                volume=volume,
                number=int(batch.index[n]),
                loss=float(loss),
            )
            self.scores.append(score)
        return image

    def judge(self, scores: list[SliceScore]) -> dict[str, float]:
        self.metrics = volume_metrics(scores)
        loss = math.fsum(score.loss for score in scores) / len(scores)
        return {"loss": loss, **mean_metrics(self.metrics)}

    def validated(self) -> dict[str, Any]:
        return {"volumes": len(self.metrics), **mean_metrics(self.metrics)}


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise ValueError(
            f"{batch.volume[0]} has no target: train and validate with fully sampled files or with files that hold one"
        )
    return batch.target
