"""Import of published weights into the networks of this project; every tensor must match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrirecon.io.files import PathLike
from mrirecon.networks import PRIORS, Model
from mrirecon.weights.build import build, with_averages
from mrirecon.weights.card import Card
from mrirecon.weights.checkpoint import read_checkpoint, sha256_of
from mrirecon.weights.recognise import PUBLISHED, configuration, recognise


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in an imported file.

    Attributes:
        path: path of the file.
        sha256: SHA-256 of the file.
        layout: layout of the file, in words.
        network: key of `mrirecon.networks.MODELS`.
        config: constructor arguments of the network.
        assumed: names of constructor arguments that cannot be derived from the file.
        tensors: number of tensors that were loaded.
        averaged: number of these that were replaced by averages, which have no names but the order of the parameters.
        parameters: number of trainable values.
        ignored: names left out because they belong to a loss or a metric.
        own: whether `mrirecon train` wrote the file.
    """

    path: str
    sha256: str
    layout: str
    network: str
    config: Mapping[str, Any]
    assumed: tuple[str, ...]
    tensors: int
    averaged: int
    parameters: int
    ignored: tuple[str, ...]
    own: bool

    def card(self, bright_level: float | None = None) -> Card:
        """The card to save the weights with, including what is known about a published file of this name.

        Args:
            bright_level: bright level of a prior's training images (`Card`), if it is known; replaces the known one.

        Raises:
            ValueError: if bright_level is not above 0, or is given for a network that is not a prior.
        """
        name = Path(self.path).name
        prior = self.network in PRIORS
        if bright_level is not None and not prior:
            raise ValueError(f"{self.network} is no prior: leave out bright_level")
        unknown = {"bright_level": None} if prior and not self.own else {}
        known = {**unknown, **PUBLISHED.get((self.network, name), {})}
        if bright_level is not None:
            known = {**known, "bright_level": bright_level, "notes": ()}
        source = f"{name} (SHA-256 {self.sha256})"
        return Card(
            network=self.network, config=self.config, source=source, sha256=self.sha256, **known
        )


def import_weights(path: PathLike) -> tuple[Model, Report]:
    """The network of a published file of weights, in evaluation mode, and a report.

    No code in the file is executed.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be opened.
        ValueError: if it is damaged, holds code, or some name or shape does not match a known network.

    Example:
        network, report = mr.import_weights("knee_leaderboard_state_dict.pt")
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.state
    assumed: tuple[str, ...] = ()
    try:
        if checkpoint.made is not None:
            network = build(*checkpoint.made, state)
        else:
            recogniser = recognise(state)
            config, assumed = configuration(recogniser, state, checkpoint.hyper_parameters)
            state = {recogniser.inside + name: tensor for name, tensor in state.items()}
            network = build(recogniser.network, config, state, recogniser.inside)
        if checkpoint.averages:
            with_averages(network, list(state), checkpoint.averages)
    except ValueError as error:
        raise ValueError(f"{path} ({checkpoint.layout}): {error}") from error
    return network, Report(
        path=str(path),
        sha256=sha256_of(path),
        layout=checkpoint.layout,
        network=network.name,
        config=network.config,
        assumed=assumed,
        tensors=len(state),
        averaged=len(checkpoint.averages),
        parameters=sum(p.numel() for p in network.parameters()),
        ignored=checkpoint.ignored,
        own=checkpoint.made is not None,
    )
