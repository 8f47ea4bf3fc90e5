"""What a run says of itself before its first step, and what that step took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from mrirecon.device import PeakMemory, describe_device
from mrirecon.training.core.base import COMPILED_FROM, TrainingModule
from mrirecon.training.core.batches import SliceLoader
from mrirecon.training.core.trainer import TENSORBOARD, clock, steps_per_epoch, total_steps

WIDTH = 13  # of the names of the lines


class Introduction(Callback):
    """Tells of device, network, data, memory and folders before the first step, and of time and memory after it.

    Args:
        tell: takes each line.
        output: folder of the run.
        unit: what slices are counted in, such as volumes.
        facts: further lines, such as masks, by their name.
    """

    def __init__(
        self, tell: Callable[[str], None], output: Path, unit: str, facts: Mapping[str, str]
    ) -> None:
        self.tell, self.output, self.unit, self.facts = tell, output, unit, facts
        self._memory: PeakMemory | None = None
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TrainingModule)
        for name, text in self._lines(trainer, pl_module):
            self.tell(f"{name:<{WIDTH}}{text}")
        if pl_module.worth_compiling:
            self.tell("compiling the network: the first step of each image size takes minutes")
        self._memory = PeakMemory(str(trainer.strategy.root_device))
        self._start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._memory is None:
            return
        took, peak = time.monotonic() - self._start, self._memory.peak()
        memory = "" if peak is None else f", at most {peak / 1e6:.0f} MB of memory up to here"
        self.tell(f"{'first step':<{WIDTH}}{took:.1f} s{memory}")
        self._memory = None

    def _lines(self, trainer: Trainer, module: TrainingModule) -> Iterator[tuple[str, str]]:
        yield from network_lines(trainer, module)
        loaders = trainer.train_dataloader, trainer.val_dataloaders
        training, *rest = data_lines(*loaders, self.unit, self.facts)
        yield training[0], f"{training[1]}; {_length(trainer)}"
        yield from rest
        yield (
            "memory",
            f"{_held(module) / 1e6:.1f} MB of weights, gradients, averages and optimizer",
        )
        if module.compiles and not module.worth_compiling:
            yield "compile", f"left out, it pays from about {COMPILED_FROM} steps on"
        yield "checkpoints", f"{self.output / 'checkpoints'}, to go on from with --ckpt_path last"
        logs = next((one.log_dir for one in trainer.loggers if one.log_dir), None)
        yield "logs", f"{logs}/metrics.csv; {_tensorboard(self.output)}"


def network_lines(trainer: Trainer, module: TrainingModule) -> Iterator[tuple[str, str]]:
    """What is trained, and where."""
    yield "network", f"{module.network.name}, {module.network.size:,} parameters"
    processes = f"{trainer.world_size} processes, " if trainer.world_size > 1 else ""
    device = describe_device(trainer.strategy.root_device)
    yield "device", f"{processes}{device}, precision {trainer.precision}"


def data_lines(
    training: Any, validation: Any, unit: str, facts: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What it is trained on."""
    yield "training", _counts(training, unit)
    yield "validation", _counts(validation, unit)
    yield from facts.items()


def _counts(loader: Any, unit: str) -> str:
    if not isinstance(loader, SliceLoader):
        return "none"
    batches = loader.batch_sampler
    sizes = f", in {batches.sizes} sizes" if batches.sizes > 1 else ""
    return f"{batches.slices} slices, {unit}: {batches.volumes}{sizes}"


def _length(trainer: Trainer) -> str:
    """How many steps there are, or how long it takes."""
    steps, epoch = total_steps(trainer), steps_per_epoch(trainer)
    parts = [f"{epoch:.0f} steps an epoch"]
    if steps < math.inf:
        parts.append(f"{steps:.0f} steps in all")
    if clock(trainer) is not None:
        parts.append("until trainer.max_time at most")
    return ", ".join(parts)


def _held(module: TrainingModule) -> int:
    """Bytes that are held from step to step, without what a pass needs."""
    weights = sum(one.numel() * one.element_size() for one in module.network.parameters())
    return weights * (4 + (module.ema is not None))  # Adam keeps two averages of each gradient


def _tensorboard(output: Path) -> str:
    if find_spec(TENSORBOARD) is None:
        return "tensorboard, which would draw them, is not installed: pip install tensorboard"
    return f"tensorboard --logdir {output / TENSORBOARD}"
