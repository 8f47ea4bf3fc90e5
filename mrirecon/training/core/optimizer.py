"""The optimizer and how its learning rate changes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam or AdamW, gradient steps counted from 1.

    Attributes:
        kind: adam (weight decay is an L2 penalty) or adamw (decoupled weight decay).
        lr: learning rate after the warm-up.
        weight_decay: decay of the weights.
        schedule: constant; cosine falls to lr_end at the last step; step multiplies by gamma.
        warmup_steps: the learning rate rises linearly over this many steps.
        lr_end: last learning rate of the cosine.
        step_epochs: epochs between the drops of step.
        gamma: factor of each drop of step.
        ema_decay: decay of the exponential moving average of the weights; 0 keeps none.

    Raises:
        ValueError: if a number makes no sense.
    """

    kind: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_steps: int = 0
    lr_end: float = 0.0
    step_epochs: int = 40
    gamma: float = 0.1
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "lr": (0 < self.lr < math.inf, "a positive number"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or a positive number"),
            "warmup_steps": (self.warmup_steps >= 0, "0 or a positive number of steps"),
            "lr_end": (0 <= self.lr_end <= self.lr, "a number from 0 to lr"),
            "step_epochs": (self.step_epochs >= 1, "at least 1 epoch"),
            "gamma": (0 < self.gamma <= 1, "a number above 0, up to 1"),
            "ema_decay": (0 <= self.ema_decay < 1, "a number from 0 to below 1"),
        }
        for key, (valid, wanted) in checks.items():
            if not valid:
                raise ValueError(f"optimizer.{key} is {getattr(self, key)}: give {wanted}")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.kind]
        return optimizer(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def factor(self, step: int, steps: float, steps_per_epoch: float) -> float:
        """Learning rate over `lr` after `step` of `steps` gradient steps."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "step":
            return self.gamma ** math.floor(step / steps_per_epoch / self.step_epochs)
        if self.schedule == "cosine":
            done = min((step - self.warmup_steps) / max(steps - self.warmup_steps, 1), 1.0)
            end = self.lr_end / self.lr
            return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2
        return 1.0
