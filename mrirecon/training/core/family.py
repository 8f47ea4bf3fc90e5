"""What is special about training one family of networks, and what their training saw."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer

from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.checkpoints import CheckpointSettings
from mrirecon.training.core.gather import of_all_processes
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.weights import TrainingRange

Config = Mapping[str, Any]


class Seen(Callback):
    """Notes what training saw. Each process sees its share; checkpoints, which all write together, hold that of all."""

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for state in of_all_processes(self.state_dict()):
            self.add(state)
        checkpoint["callbacks"][self.state_key] = self.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.add(state_dict)

    @abstractmethod
    def add(self, state: Mapping[str, Any]) -> None:
        """Note also what another one has noted."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that are trained alike.

    Attributes:
        data: data module, whose constructor arguments are options.
        loss: what is minimised.
        checkpoints: when checkpoints are written.
        about_data: title of the data's options.
        about_loss: title of the loss's options.
        hidden: options of the data that the run itself decides.
        masks: options of the data that are lists of masks, and what they are.
        where: option of the data that says where they are.
        build: (network, configuration, optimizer) -> module and data.
        seen: notes what the training data are like.
        training_range: (network, options of the data, what was seen) -> what the card says of it.
        pictures: (count) -> pictures for TensorBoard.
        unit: what the slices are counted in.
        facts: (configuration) -> what a run says of its data before it begins, by name.
    """

    data: type[LightningDataModule]
    loss: type
    checkpoints: type[CheckpointSettings]
    about_data: str
    about_loss: str
    hidden: tuple[str, ...]
    masks: Mapping[str, str] = field(default_factory=dict)
    where: str
    build: Callable[[Any, Config, OptimizerSettings], tuple[TrainingModule, LightningDataModule]]
    seen: type[Seen]
    training_range: Callable[[Any, Config, Config], TrainingRange]
    pictures: Callable[[int], Callback]
    unit: str
    facts: Callable[[Config], dict[str, str]]
