"""Published weights into the networks of this project, to the last key."""

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
    """What an imported file was found to be.

    Attributes:
        path: the file.
        sha256: of its bytes.
        layout: how it is arranged, in words.
        network: key of `mrirecon.networks.MODELS`.
        config: constructor arguments.
        assumed: those of them that nothing in the file tells.
        tensors: loaded, every one of them under its own name.
        averaged: those of them that averages replaced, which come without names in the order of the trained tensors.
        parameters: values that training changes.
        ignored: names left out because they belong to a loss or a metric.
        own: whether `mrirecon train` wrote it.
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
        """The card to save the weights with; what is known of a published file comes with its name.

        Args:
            bright_level: of a prior's images in training (`Card`), where it is known better.

        Raises:
            ValueError: if it is not above 0, or of a network that is no prior.
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
    """The network of a file that somebody else published, in evaluation mode, and what was found.

    Nothing in the file is executed.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if it cannot be opened.
        ValueError: if it is damaged, holds code, or does not match a known network to the last key and shape.

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
