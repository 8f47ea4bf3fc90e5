"""Where training stands, as one line of text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from mrirecon.training.core.trainer import clock, total_steps

SMOOTHING = 0.98  # of the loss shown


class Progress(Callback):
    """Reports epoch, step, loss, slices per second and the time left; each validation; notes on the data.

    Args:
        show: takes the line whenever it changes, at most every `seconds`.
        tell: takes what should stay readable, such as the result of a validation.
        seconds: between two lines.
    """

    def __init__(
        self, show: Callable[[str], None], tell: Callable[[str], None], seconds: float
    ) -> None:
        self.show, self.tell, self.seconds = show, tell, seconds
        self._shown = self._start = time.monotonic()
        self._first_step = self._slices = self._batches = 0
        self._loss: Tensor | float = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            for note in getattr(trainer.datamodule, "notes", ()):  # type: ignore[attr-defined]
                self.tell(f"note: {note}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = self._start = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._slices += len(batch.volume) * trainer.world_size
        self._batches += 1
        loss = torch.as_tensor(outputs["loss"]).detach()
        self._loss = SMOOTHING * self._loss + (1 - SMOOTHING) * loss
        now = time.monotonic()
        if trainer.is_global_zero and now - self._shown >= self.seconds:
            self._shown = now
            self.show(self._line(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        found = trainer.callback_metrics
        parts = [f"{self._line(trainer)}; validation"]
        shown = (("loss", 4), ("ssim", 4), ("psnr", 2), ("nmse", 5), ("left_out", 4))
        for name, digits in shown:
            if f"val_{name}" in found:
                parts.append(f"{name} {float(found[f'val_{name}']):.{digits}f}")
        self.tell(" ".join(parts))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batches or not trainer.is_global_zero:
            return
        timer = clock(trainer)
        if timer is not None and (timer.time_remaining() or 0.0) <= 0:
            limit = "trainer.max_time, which counts the time before a resume too"
        else:
            limit = f"trainer.{'max_steps' if trainer.global_step == trainer.max_steps else 'max_epochs'}"
        self.tell(
            f"note: nothing was left to train after step {trainer.global_step}: to go on raise {limit}"
        )

    def _line(self, trainer: Trainer) -> str:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        loss = float(self._loss) / max(1 - SMOOTHING**self._batches, 1e-9)
        parts = [f"epoch {trainer.current_epoch + 1}", f"step {trainer.global_step}"]
        steps = total_steps(trainer)
        if steps < math.inf:
            parts[-1] += f"/{int(steps)}"
        parts += [f"loss {loss:.4f}", f"{self._slices / elapsed:.1f} slices/s"]
        done, timer = trainer.global_step - self._first_step, clock(trainer)
        left = (steps - trainer.global_step) * elapsed / done if done else math.inf
        if timer is not None:
            left = min(left, max(timer.time_remaining() or 0.0, 0.0))
        if left < math.inf:
            parts.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(parts)
