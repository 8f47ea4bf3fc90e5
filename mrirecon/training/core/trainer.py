"""The Lightning trainer as this package sets it up."""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from mrirecon.training.core.checkpoints import WholeFiles

TENSORBOARD = "tensorboard"  # the package, and the folder of its logs
# Hints that do not apply here, or that would repeat at every start; whatever else Lightning says is shown.
CHATTER = (
    r".*does not have many workers.*",
    r".*is smaller than the logging interval.*",
    r".*in eval mode at the start of training.*",
    r"Checkpoint directory .* exists and is not empty.*",
    r".*GPU available but not used.*",
    r".*LeafSpec.*deprecated.*",
    r"Total length of `list` across ranks is zero.*",  # nobody is held out
)


@dataclass(frozen=True)
class TrainerSettings:
    """How long, where and at what precision; the names are those of Lightning's Trainer.

    Attributes:
        max_epochs: passes through the training slices; -1 has no limit.
        max_steps: gradient steps; -1 has no limit.
        max_time: DD:HH:MM:SS; counts what was trained before a resume too. Alone, it is the end of the cosine.
        accelerator: auto, cpu, gpu or mps.
        devices: auto, a number of devices, or which, as in 0,2.
        num_nodes: number of machines.
        strategy: auto, ddp, fsdp, ... as Lightning names them.
        precision: precision of the convolutions; Fourier transforms and data consistency stay in float32.
        accumulate_grad_batches: batches per gradient step.
        gradient_clip_val: bound of the gradient's norm; 0 is none.
        limit_train_batches: batches per epoch, or their share; 1.0 is all.
        limit_val_batches: batches per validation, or their share; 1.0 is all.
        val_check_interval: validate after this share of an epoch, or number of batches.
        check_val_every_n_epoch: epochs between validations.
        num_sanity_val_steps: validation batches tried before training.
        log_every_n_steps: gradient steps between log entries.
        deterministic: the same result on every run, on a GPU too, at a cost in speed.
        benchmark: let cuDNN choose the fastest convolutions; for data of one size.
    """

    max_epochs: int = 50
    max_steps: int = -1
    max_time: str | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    gradient_clip_val: float = 0.0
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    val_check_interval: int | float = 1.0
    check_val_every_n_epoch: int = 1
    num_sanity_val_steps: int = 2
    log_every_n_steps: int = 20
    deterministic: bool = False
    benchmark: bool = False

    def __post_init__(self) -> None:
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"trainer.{name} is {value}: give at least 1")
        if self.max_time is not None and not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", self.max_time):
            raise ValueError(
                f"trainer.max_time is {self.max_time}: write DD:HH:MM:SS, as in 00:12:00:00 for 12 hours"
            )


def build_trainer(settings: TrainerSettings, output: Path, callbacks: list[Callback]) -> Trainer:
    """A trainer that logs to `output`: CSV always, TensorBoard when it is installed.

    Raises:
        ValueError: if a setting is impossible on this machine.
    """
    loggers: list[Logger] = [CSVLogger(output, name="logs")]
    if find_spec(TENSORBOARD) is not None:
        loggers.append(TensorBoardLogger(output, name=TENSORBOARD, version=""))
    options = asdict(settings)
    options["gradient_clip_val"] = settings.gradient_clip_val or None
    trainer = Trainer(
        **options,
        callbacks=callbacks,
        logger=loggers,
        plugins=[WholeFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,  # the data module shares the slices out, by volume and size
        default_root_dir=output,
    )
    _check_processes(trainer.world_size)
    return trainer


def _check_processes(expected: int) -> None:
    """Refuse processes of `torchrun` that would each train for themselves, into the same files.

    Raises:
        ValueError: naming both numbers.
    """
    started = int(os.environ.get("WORLD_SIZE", 1)) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if started != expected and started > 1:
        raise ValueError(
            f"torchrun started {started} processes, and trainer.devices x trainer.num_nodes is {expected}: make them "
            "equal, with --trainer.strategy ddp"
        )


def steps_per_epoch(trainer: Trainer) -> float:
    """Gradient steps in an epoch; infinity before the data is loaded."""
    if trainer.num_training_batches == math.inf:
        return math.inf
    return float(math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))


def ends(trainer: Trainer) -> bool:
    """Whether epochs or steps, not only the clock, end the training."""
    return trainer.max_steps != -1 or trainer.max_epochs not in (None, -1)


def total_steps(trainer: Trainer) -> float:
    """Gradient steps until training ends; infinity when only the clock ends it, or before the data is loaded."""
    limits = [math.inf]
    if trainer.max_epochs not in (None, -1):
        limits.append(trainer.max_epochs * steps_per_epoch(trainer))
    if trainer.max_steps != -1:
        limits.append(float(trainer.max_steps))
    return min(limits)


def clock(trainer: Trainer) -> Timer | None:
    """What ends the training after `max_time`."""
    timers = (c for c in trainer.callbacks if isinstance(c, Timer))  # type: ignore[attr-defined]
    return next(timers, None)


def steps_by_clock(trainer: Trainer) -> float:
    """Gradient steps until `max_time`, at the speed so far; infinity at the start and without that limit."""
    timer = clock(trainer)
    if timer is None or not trainer.global_step or not timer.time_elapsed():
        return math.inf
    elapsed = timer.time_elapsed()
    return trainer.global_step * (elapsed + (timer.time_remaining() or 0.0)) / elapsed


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning without its announcements, tips and hints; its real warnings remain.

    Raises:
        ValueError: for what Lightning calls a misconfiguration.
    """
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in CHATTER:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except MisconfigurationException as error:
            reason = str(error).rstrip(".!")
            remedy = f"{reason}: look at the options trainer.*, whose accelerator and devices may be auto"
            raise ValueError(remedy) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
