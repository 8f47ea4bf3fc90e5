"""What the training of every network has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from mrirecon.networks import Model
from mrirecon.training.core.ema import averaged
from mrirecon.training.core.gather import gather
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.core.trainer import clock, ends, steps_by_clock, steps_per_epoch, total_steps

# Shorter trainings are over before compiling has paid: of small networks on a CPU core it took 65 to 121 s for the
# first image size, and saved 0.02 to 0.03 s a step.
COMPILED_FROM = 4000


class TrainingModule(LightningModule):
    """Trains a network; validates the average of its weights.

    Logs `train_loss` and `lr` every few steps.

    Args:
        network: what to train.
        optimizer: how.
        compile: train with torch.compile, where there are steps enough; validation runs the averaged weights as they
            are.
        seed: seed of dropout and stochastic depth.

    Attributes:
        network: what is trained.
        ema: its exponential moving average, or None.
        scores: of the slices of the validation under way, on this process.
    """

    network: Model

    def __init__(
        self,
        network: Model,
        optimizer: OptimizerSettings | None = None,
        *,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.seed = network, seed
        self.settings = optimizer or OptimizerSettings()
        self.ema = averaged(network, self.settings.ema_decay) if self.settings.ema_decay else None
        self.scores: list[Any] = []
        self.compiles = compile

    @property
    def final(self) -> Any:
        """The network to validate and to export: the averaged one where there is one."""
        return self.network if self.ema is None else self.ema.module

    @property
    def worth_compiling(self) -> bool:
        """Whether the network is to be compiled, and the training is long enough for it."""
        return self.compiles and total_steps(self.trainer) >= COMPILED_FROM

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:
        """What a step minimises."""

    @abstractmethod
    def judge(self, scores: list[Any]) -> dict[str, float]:
        """What a validation logs as `val_NAME`, from the scores of its slices on all processes."""

    @abstractmethod
    def validated(self) -> dict[str, Any]:
        """Results of the latest validation, for checkpoints and cards."""

    @abstractmethod
    def synthetic(self, batch: Any) -> Any:
        """A batch of the same sizes, of noise: nothing of the data is needed but its shape."""

    def on_train_start(self) -> None:
        if self.worth_compiling:
            self.network.compile_parts()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout and stochastic depth know no generators. Their stream starts anew with each batch, so that it differs
        # between processes, and a resumed run needs no state of it.
        key = self.seed, self.current_epoch, batch_idx, self.global_rank
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = self.batch_loss(batch)
        self.log("train_loss", loss.detach(), batch_size=len(batch.volume), sync_dist=True)
        self.log("lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    def on_validation_epoch_end(self) -> None:
        scores = gather(self.scores)
        self.scores.clear()
        if self.trainer.sanity_checking:  # a few slices, of a network that knows nothing yet
            return
        found = {f"val_{name}": value for name, value in self.judge(scores).items()}
        # The processes hold the same numbers: synchronising changes nothing, but Lightning asks for it.
        self.log_dict(found, sync_dist=True)

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        if self.ema is not None:
            self.ema.update_parameters(self.network)

    def configure_optimizers(self) -> tuple[Sequence[torch.optim.Optimizer], Sequence[Any]]:
        optimizer = self.settings.build(self.network.parameters())
        # A plain function: LambdaLR would write what hangs on a method into the checkpoint.
        schedule = LambdaLR(optimizer, lambda step: self._learning_rate_factor(step))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["network"] = {"name": self.network.name, "config": self.network.config}
        checkpoint["validation"] = self.validated()

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

    def on_fit_start(self) -> None:
        if self.settings.schedule != "cosine" or ends(self.trainer):
            return
        if clock(self.trainer) is None or self.trainer.world_size > 1:  # clocks of processes differ
            raise ValueError(
                "the cosine schedule must know when training ends: give trainer.max_epochs or trainer.max_steps "
                "(one process alone can go by trainer.max_time), or choose optimizer.schedule constant"
            )

    def _learning_rate_factor(self, step: int) -> float:
        # Lightning's estimated_stepping_batches would load the data before a resumed run restores its place in it,
        # so the length is looked up when it is known. Until then, at step 0, any length gives the same factor.
        steps, per_epoch = total_steps(self.trainer), steps_per_epoch(self.trainer)
        if not ends(self.trainer):
            steps = steps_by_clock(self.trainer)
        return self.settings.factor(step, steps, per_epoch)
