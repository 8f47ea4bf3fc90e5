"""Checkpoints that are whole at any moment: the last one to resume from, and the best ones.

A folder of checkpoints holds `last.ckpt` and `best-MONITOR-SCORE-stepN.ckpt`; the names say all, so a run that was
killed between two files is understood by the next one.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from mrirecon.io.files import clear_partial, existing_file, replacing

LAST = "last.ckpt"
BEST = re.compile(r"best-(?P<monitor>\w+)-(?P<score>[-+.\de]+)-step(?P<step>\d+)\.ckpt")


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written, and which are kept.

    Attributes:
        every_steps: gradient steps between writings of the last checkpoint; 0 is never (but after every epoch).
        every_minutes: minutes between them.
        keep_best: number of best checkpoints kept.
        monitor: what best means.
        patience: validations without a better value after which training stops early; 0 never stops.

    Raises:
        ValueError: if a number is negative.
    """

    every_steps: int = 0
    every_minutes: float = 10.0
    keep_best: int = 1
    monitor: Literal["val_ssim", "val_psnr", "val_nmse", "val_loss", "val_left_out"] = "val_ssim"
    patience: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str) and not 0 <= value < math.inf:
                raise ValueError(f"checkpoints.{name} is {value}: give 0 or a positive number")

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether more is better, or less."""
        return "max" if self.monitor in ("val_ssim", "val_psnr") else "min"


@dataclass(frozen=True)
class PriorCheckpointSettings(CheckpointSettings):
    """As `CheckpointSettings`, of a prior.

    Attributes:
        every_steps: gradient steps between writings of the last checkpoint; 0 is never (but after every epoch).
        every_minutes: minutes between them.
        keep_best: number of best checkpoints kept.
        monitor: what best means.
        patience: validations without a better value after which training stops early; 0 never stops.
    """

    monitor: Literal["val_loss", "val_psnr", "val_nmse"] = "val_loss"


class Best(NamedTuple):
    """A best checkpoint, as its name tells."""

    path: Path
    score: float
    step: int


def best_checkpoints(folder: Path, settings: CheckpointSettings) -> list[Best]:
    """The best checkpoints in a folder by what is monitored, best first; of equals the newer one first."""
    found = [(path, BEST.fullmatch(path.name)) for path in folder.glob("best-*.ckpt")]
    best = [
        Best(path, float(name["score"]), int(name["step"]))
        for path, name in found
        if name and name["monitor"] == settings.monitor
    ]
    sign = -1 if settings.mode == "max" else 1
    return sorted(best, key=lambda b: (sign * b.score, -b.step))


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """What a checkpoint holds; executes no code from it.

    Raises:
        OSError: if it cannot be opened.
        ValueError: if it is damaged or no checkpoint.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of a kind of file that is refused below
            return torch.load(existing_file(path), map_location=map_location, weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, KeyError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"{path} is damaged or no checkpoint: remove it, or go on from another ({reason})"
        ) from error


class WholeFiles(TorchCheckpointIO):
    """Writes to a temporary name, onto the disk, and renames: a killed process leaves the old file or the new one."""

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with replacing(Path(path)) as (part,), part.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch hides why it could not write
                causes = (error, error.__context__, getattr(error.__context__, "__context__", None))
                raise next((c for c in causes if isinstance(c, OSError)), error) from error
            file.flush()
            os.fsync(file.fileno())


class Checkpoints(Checkpoint):
    """Writes the last checkpoint every so often and after each epoch, and the best ones after validation.

    Only ever between two gradient steps, so that a resumed run goes on exactly where the killed one was. Ctrl-C ends
    the run after such a writing, so that nothing is lost; a second one ends it at once.

    Args:
        folder: of the checkpoints.
        settings: when they are written, and which are kept.
        start: what the run goes on from; None begins anew.
    """

    def __init__(self, folder: Path, settings: CheckpointSettings, start: Path | None) -> None:
        super().__init__()
        self.folder, self.settings, self.start = folder, settings, start
        self._saved_step, self._saved_time = 0, time.monotonic()
        self._asked = self._ending = False  # whether this process, and all together, are to end

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make sure that all processes begin alike.

        Raises:
            OSError: on all of them if they do not, where another machine sees another folder.
        """
        first = trainer.strategy.broadcast(self.start)
        if not trainer.strategy.reduce_boolean_decision(first == self.start, all=True):
            raise OSError(
                f"{self.folder}: not all processes see the checkpoint that the first one goes on from ({first}): "
                "give an --output that all machines share"
            )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            clear_partial(self.folder)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # After the last batch of an epoch come validation and on_train_epoch_end, which saves.
        stepped = (
            trainer.global_step > self._saved_step and not trainer.fit_loop._should_accumulate()
        )
        if stepped and not trainer.is_last_batch and self._is_due(trainer):
            self.save(trainer, self.folder / LAST)
            if self._ending:
                raise KeyboardInterrupt

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        settings = self.settings
        score = trainer.callback_metrics.get(settings.monitor)
        if trainer.sanity_checking or settings.keep_best == 0 or score is None:
            return
        if not math.isfinite(score):
            return
        name = f"best-{settings.monitor}-{float(score):.6g}-step{trainer.global_step}.ckpt"
        kept = best_checkpoints(self.folder, settings)[: settings.keep_best]
        sign = 1 if settings.mode == "max" else -1
        better = len(kept) < settings.keep_best or sign * float(score) >= sign * kept[-1].score
        # Only the first process writes, so others may see an older folder, but all must save together.
        if trainer.strategy.broadcast(better):
            trainer.save_checkpoint(self.folder / name)
        if trainer.is_global_zero:
            for best in best_checkpoints(self.folder, settings)[settings.keep_best :]:
                best.path.unlink(missing_ok=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A run that stops in the middle of an epoch has saved before; what is saved here counts as a complete epoch.
        if trainer.is_last_batch:
            self.save(trainer, self.folder / LAST)
            if trainer.strategy.broadcast(self._asked):
                raise KeyboardInterrupt

    def save(self, trainer: Trainer, path: Path) -> None:
        """Write a checkpoint, on all processes together.

        Raises:
            ValueError: if the weights are not finite: the older checkpoint stays.
            OSError: if the disk is full, say.
        """
        module = trainer.lightning_module
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise ValueError(
                f"training diverged before step {trainer.global_step}, {path} stays as it was: lower optimizer.lr, "
                "add optimizer.warmup_steps or trainer.gradient_clip_val, and resume with --ckpt_path last"
            )
        trainer.save_checkpoint(path)
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()

    def _is_due(self, trainer: Trainer) -> bool:
        settings = self.settings
        stopping = trainer.should_stop or trainer.global_step == trainer.max_steps
        steps = trainer.global_step - self._saved_step
        late = time.monotonic() - self._saved_time >= 60 * (settings.every_minutes or math.inf)
        # Clocks differ between processes, and so does when Ctrl-C comes, but all must save, and end, together.
        late, self._ending = trainer.strategy.broadcast((late, self._asked))
        enough = bool(settings.every_steps) and steps >= settings.every_steps
        return stopping or enough or late or self._ending
