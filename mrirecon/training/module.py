"""The Lightning module of every end-to-end network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from mrirecon.metrics import Metrics
from mrirecon.networks import Network
from mrirecon.training.data import Batch
from mrirecon.training.ema import averaged
from mrirecon.training.losses import Loss
from mrirecon.training.optimizer import OptimizerSettings
from mrirecon.training.trainer import ends, steps_per_epoch, total_steps
from mrirecon.training.volumes import SliceScore, gather, mean_metrics, score_slice, volume_metrics


class UnrolledModule(LightningModule):
    """Trains a network on batches of slices; validates the averaged weights on whole volumes.

    Logs `train_loss` and `lr` every few steps, and after each validation `val_loss` (mean over slices) and `val_nmse`,
    `val_psnr` and `val_ssim` (means over volumes, fastMRI protocol).

    Attributes:
        network: what is trained.
        ema: its exponential moving average, or None.
        metrics: volume -> metrics, of the latest validation.
    """

    def __init__(
        self, network: Network, loss: Loss | None = None, optimizer: OptimizerSettings | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss or Loss()
        self.settings = optimizer or OptimizerSettings()
        self.ema = averaged(network, self.settings.ema_decay) if self.settings.ema_decay else None
        self.metrics: dict[str, Metrics] = {}
        self._scores: list[SliceScore] = []
        self._random_state: Tensor | None = None

    @property
    def final(self) -> Network:
        """The network to validate and to export: the averaged one where there is one."""
        network = self.network if self.ema is None else self.ema.module
        assert isinstance(network, Network)
        return network

    def training_step(self, batch: Batch, index: int) -> Tensor:
        image = self.network(batch.kspace, batch.mask, batch.calibration, batch.crop)
        loss = self.loss(image, _target(batch), batch.maximum)
        self.log("train_loss", loss.detach(), batch_size=len(image), sync_dist=True)
        self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        if self.ema is not None:
            self.ema.update_parameters(self.network)

    def validation_step(self, batch: Batch, index: int) -> Tensor:
        image = self.final(batch.kspace, batch.mask, batch.calibration, batch.crop).float()
        target = _target(batch)
        for n, volume in enumerate(batch.volume):
            one = slice(n, n + 1)
            loss = self.loss(image[one], target[one], batch.maximum[one])
            score = score_slice(
                image[n].cpu(),
                target[n].cpu(),
                float(batch.maximum[n]),
                volume=volume,
                number=int(batch.index[n]),
                loss=float(loss),
            )
            self._scores.append(score)
        return image

    def on_validation_epoch_end(self) -> None:
        scores = gather(self._scores)
        self._scores.clear()
        if self.trainer.sanity_checking:  # a few slices, of a network that knows nothing yet
            return
        self.metrics = volume_metrics(scores)
        means = {"loss": math.fsum(score.loss for score in scores) / len(scores)}
        means |= mean_metrics(self.metrics)
        # The processes hold the same numbers: synchronising changes nothing, but Lightning asks for it.
        self.log_dict({f"val_{key}": value for key, value in means.items()}, sync_dist=True)

    def configure_optimizers(self) -> tuple[Sequence[torch.optim.Optimizer], Sequence[Any]]:
        optimizer = self.settings.build(self.network.parameters())
        # A plain function: LambdaLR would write what hangs on a method into the checkpoint.
        schedule = LambdaLR(optimizer, lambda step: self._learning_rate_factor(step))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network"] = {"name": self.network.name, "config": self.network.config}
        checkpoint["validation"] = {"volumes": len(self.metrics), **mean_metrics(self.metrics)}
        checkpoint["random_state"] = torch.get_rng_state()  # dropout draws from it

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        made = checkpoint.get("network")
        mine = {"name": self.network.name, "config": self.network.config}
        if made != mine:
            raise ValueError(f"the checkpoint is of network {made}, this run trains {mine}")
        if ("ema.n_averaged" in checkpoint["state_dict"]) != (self.ema is not None):
            raise ValueError(
                "the checkpoint and this run differ in whether weights are averaged: "
                "keep optimizer.ema_decay as it was"
            )
        self._random_state = checkpoint["random_state"].cpu()

    def on_train_start(self) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
            self._random_state = None

    def on_fit_start(self) -> None:
        if self.settings.schedule == "cosine" and not ends(self.trainer):
            raise ValueError(
                "the cosine schedule must know when training ends: give trainer.max_epochs or "
                "trainer.max_steps, or choose optimizer.schedule constant"
            )

    def _learning_rate_factor(self, step: int) -> float:
        # Lightning's estimated_stepping_batches would load the data before a resumed run restores its place in it,
        # so the length is looked up when it is known. Until then, at step 0, any length gives the same factor.
        steps, per_epoch = total_steps(self.trainer), steps_per_epoch(self.trainer)
        return self.settings.factor(step, steps, per_epoch)


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise ValueError(
            f"{batch.volume[0]} has no target: train and validate with fully sampled files or with files that hold one"
        )
    return batch.target
