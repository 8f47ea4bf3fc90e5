"""The project's own weights: NAME.safetensors with its card NAME.json, and those that are shipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrirecon.io.files import (
    PathLike,
    check_target,
    existing_file,
    replacing,
    suffix_of,
    write_json,
)
from mrirecon.nearest import suggest
from mrirecon.networks import Model
from mrirecon.weights.build import build
from mrirecon.weights.card import Card
from mrirecon.weights.checkpoint import read_tensors, sha256_of
from mrirecon.weights.importer import import_weights

SUFFIX = ".safetensors"
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def card_of(network: Model, **details: Any) -> Card:
    """The card of a network; `details` are further entries of `Card`."""
    return Card(network=network.name, config=network.config, **details)


def save_weights(network: Model, path: PathLike, card: Card, *, overwrite: bool = False) -> Card:
    """Write NAME.safetensors and NAME.json, both or neither; returns the card with the SHA-256 of the file.

    Raises:
        ValueError: if the suffix is not .safetensors, or the card describes another network.
        FileExistsError: if one of the two files exists and `overwrite` is false.
        OSError: if they cannot be written.

    Example:
        network, report = mr.import_weights("knee_leaderboard_state_dict.pt")
        card = mr.save_weights(network, "knee_varnet.safetensors", report.card())
    """
    from safetensors.torch import save

    suffix_of(path, (SUFFIX,))
    path, beside = check_target(path, overwrite), check_target(_card_path(path), overwrite)
    if (card.network, dict(card.config)) != (network.name, network.config):
        raise ValueError(
            f"the card describes {card.network} {dict(card.config)}, the network is {network.name} {network.config}: "
            "make it with card_of(network)"
        )
    state = {name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}
    with replacing(path, beside) as (weights, description):
        try:
            weights.write_bytes(save(state))  # save_file would make it readable to its owner alone
        except OSError as error:
            raise OSError(f"cannot write {path}: {error.strerror}") from error
        card = replace(card, sha256=sha256_of(weights))
        write_json(description, card.as_json())
    return card


def load_weights(name_or_path: PathLike) -> tuple[Model, Card]:
    """A network, shipped (by name) or from a file, in evaluation mode, and its card.

    A file other than .safetensors is imported by `import_weights`.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if the file or its card cannot be opened.
        ValueError: if no shipped weights have this name, or file or card are damaged or do not belong together.

    Example:
        >>> network, card = mr.load_weights("varnet_tiny")
        >>> card.training.coils
        (4, 12)
    """
    path = locate(name_or_path)
    if path.suffix.lower() != SUFFIX:
        network, report = import_weights(path)
        return network, report.card()
    card = read_card(path)
    if card.sha256 != sha256_of(path):
        raise ValueError(
            f"{path} is not the file that {_card_path(path).name} describes (another SHA-256): get both again"
        )
    try:
        return build(card.network, card.config, read_tensors(path)), card
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_card(path: PathLike) -> Card:
    """The card beside NAME.safetensors.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: if one of the two cannot be opened.
        ValueError: if the card is damaged.
    """
    beside = _card_path(existing_file(path))
    if not beside.exists():
        raise FileNotFoundError(
            f"{path} has no card {beside.name} beside it: make both with `mrirecon weights import`"
        )
    try:
        return Card.from_json(json.loads(existing_file(beside).read_text(encoding="utf-8")))
    except ValueError as error:  # damaged JSON raises it too
        raise ValueError(f"{beside}: {error}") from error


def shipped_weights() -> tuple[str, ...]:
    """The names of the weights shipped with the package, for `load_weights` and `load_prior`.

    Example:
        assert "prior_tiny" in mr.shipped_weights()
    """
    cards = sorted(PRETRAINED.glob("*.json"))
    return tuple(card.stem for card in cards if card.with_suffix(SUFFIX).exists())


def locate(name_or_path: PathLike) -> Path:
    """The path of shipped weights given by name, or the given path itself, which need not exist.

    Raises:
        ValueError: if it is neither a shipped name nor looks like a path; the message suggests the nearest name.
    """
    path, names = Path(name_or_path), shipped_weights()
    if str(name_or_path) in names:
        return PRETRAINED / f"{name_or_path}{SUFFIX}"
    if path.suffix or path.exists() or len(path.parts) > 1:
        return path
    hint = suggest(str(name_or_path), names)
    raise ValueError(
        f"no shipped weights are called {str(name_or_path)!r}: {hint} (or give a file)"
    )


def _card_path(path: PathLike) -> Path:
    return Path(path).with_suffix(".json")
