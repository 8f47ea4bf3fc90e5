"""The Lightning module of every end-to-end network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mrirecon.metrics import Metrics, SliceScore, mean_metrics, score_slice, volume_metrics
from mrirecon.networks import Network, PredictsKspace, UnrolledNetwork
from mrirecon.networks.dirac import Dirac
from mrirecon.tensors import ifft2c
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.end_to_end.dataset import Batch
from mrirecon.training.end_to_end.degraded import degraded_loss
from mrirecon.training.end_to_end.left_out import Prediction, left_out_loss, predictions
from mrirecon.training.end_to_end.loss import Loss


class JudgedSlice(NamedTuple):
    """A slice of a validation.

    Attributes:
        volume: file name.
        number: of the slice in the volume.
        loss: of the slice.
        score: of its image; None where there is no target.
        left_out: weighted squared error and energy of samples that were left out; None where none were.
    """

    volume: str
    number: int
    loss: float
    score: SliceScore | None
    left_out: tuple[float, float] | None


class UnrolledModule(TrainingModule):
    """Trains a network on batches of slices; validates the averaged weights on whole volumes.

    Logs `train_loss` and `lr` every few steps, and after each validation `val_loss` (mean over slices), for files with
    a target `val_nmse`, `val_psnr` and `val_ssim` (means over volumes, fastMRI protocol), and with
    `Loss.self_supervised` `val_left_out`: ||predicted - measured|| / ||measured|| of a tenth of the samples that are
    left out and predicted from the others, weighted as in reconstructions (mean over volumes).

    Args:
        network: what to train.
        loss: what to minimise.
        optimizer: how.
        compile: train with torch.compile; validation runs the averaged weights as they are.
        seed: seed of dropout and stochastic depth.

    Attributes:
        metrics: volume -> metrics, of the latest validation.
        left_out: volume -> error of left-out samples, likewise.
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
        if self.loss.self_supervised and not isinstance(network, PredictsKspace):
            raise ValueError(
                f"loss.self_supervised is of predicted k-space, and {network.name} gives a magnitude image, which has "
                "no phase and no coils: train varnet, humus, unrolled_prior or neumann"
            )
        if bool(self.loss.incremental) != isinstance(network, Dirac):
            raise ValueError(
                f"loss.incremental is {self.loss.incremental:g} and the network {network.name}: that loss is the one "
                "of dirac, and of no other network"
            )
        self.metrics: dict[str, Metrics] = {}
        self.left_out: dict[str, float] = {}

    def batch_loss(self, batch: Batch) -> Tensor:
        terms = []
        if self._has_images(batch):
            image, coils = self._images(self.network, batch)
            terms.append(self.loss(image, _target(batch), batch.maximum, coils))
        if self.loss.self_supervised:
            found = left_out_loss(self._predictions(self.network, batch))
            terms.append(self.loss.self_supervised * found)
        if self.loss.incremental:
            assert isinstance(self.network, Dirac)
            key = self.seed, self.global_step, self.global_rank
            terms.append(self.loss.incremental * degraded_loss(self.network, batch, self.loss, key))
        return torch.stack(terms).sum()

    def _has_images(self, batch: Batch) -> bool:
        """Whether images are compared; without a target they are not, where left-out samples are learned from."""
        no_target = batch.target is None and self.loss.self_supervised > 0
        return bool(self.loss.of_images) and not no_target

    def _predictions(self, network: Network, batch: Batch) -> Iterator[Prediction]:
        assert isinstance(network, PredictsKspace)
        return predictions(network, batch)

    def _images(
        self, network: Network, batch: Batch
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The magnitude image, and for a complex loss the coil images with their truth."""
        if not self.loss.complex:
            return network(batch.kspace, batch.mask, batch.calibration, batch.crop), None
        assert isinstance(network, UnrolledNetwork) and batch.full is not None
        end = network.unroll(batch.kspace, batch.mask, batch.calibration)
        coils = torch.cat(list(end.coil_images()), dim=1), ifft2c(batch.full)
        return network.image(end, batch.crop), coils

    def synthetic(self, batch: Batch) -> Batch:
        stream = torch.Generator().manual_seed(0)
        target = None
        if self._has_images(batch):
            target = torch.rand(_target(batch).shape, generator=stream)
        noise = torch.randn(*batch.kspace.shape, dtype=batch.kspace.dtype, generator=stream)
        kspace = noise * batch.mask[:, None, None]
        full = None if batch.full is None else noise[:, noise.shape[1] // 2]
        maximum = torch.ones_like(batch.maximum)
        return batch._replace(kspace=kspace, target=target, maximum=maximum, full=full)

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        image, coils = self._images(self.final, batch)
        image, found = image.float(), None
        if self.loss.self_supervised:
            found = list(self._predictions(self.final, batch))
        for n, volume in enumerate(batch.volume):
            number, loss, score, left_out = int(batch.index[n]), 0.0, None, None
            if batch.target is not None or found is None:
                loss, score = self._score(batch, n, image, coils)
            if found is not None:
                loss += self.loss.self_supervised * float(found[n].loss())
                left_out = found[n].squared_error()
            self.scores.append(JudgedSlice(volume, number, loss, score, left_out))
        return image

    def _score(
        self, batch: Batch, n: int, image: Tensor, coils: tuple[Tensor, Tensor] | None
    ) -> tuple[float, SliceScore]:
        """Loss and score of the image of a slice."""
        one, target = slice(n, n + 1), _target(batch)
        of_one = None if coils is None else (coils[0][one], coils[1][one])
        loss = float(self.loss(image[one], target[one], batch.maximum[one], of_one))
        score = score_slice(
            image[n].cpu(),
            target[n].cpu(),
            float(batch.maximum[n]),
            volume=batch.volume[n],
            number=int(batch.index[n]),
            loss=loss,
        )
        return loss, score

    def judge(self, scores: list[JudgedSlice]) -> dict[str, float]:
        self.metrics = volume_metrics(one.score for one in scores if one.score is not None)
        self.left_out = _left_out_errors(scores)
        loss = math.fsum(score.loss for score in scores) / len(scores)
        return {"loss": loss, **self._means()}

    def _means(self) -> dict[str, float]:
        means = mean_metrics(self.metrics)
        if self.left_out:
            means["left_out"] = math.fsum(self.left_out.values()) / len(self.left_out)
        return means

    def validated(self) -> dict[str, Any]:
        return {"volumes": len({*self.metrics, *self.left_out}), **self._means()}


def _left_out_errors(scores: Iterable[JudgedSlice]) -> dict[str, float]:
    """Volume -> error of its left-out samples; volumes without signal there are left out."""
    sums: dict[str, list[tuple[float, float]]] = {}
    for one in scores:
        if one.left_out is not None:
            sums.setdefault(one.volume, []).append(one.left_out)
    totals = {
        volume: [math.fsum(x) for x in zip(*those, strict=True)] for volume, those in sums.items()
    }
    return {volume: math.sqrt(x[0] / x[1]) for volume, x in totals.items() if x[1] > 0}


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise ValueError(
            f"{batch.volume[0]} has no target: train and validate with fully sampled files or with files that hold "
            "one, or give loss.self_supervised a weight"
        )
    return batch.target
