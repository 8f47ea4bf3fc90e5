"""The final weights of a training run, with a card that says what they were trained on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrirecon.networks import Model
from mrirecon.training.core.base import TrainingModule
from mrirecon.training.core.family import Family
from mrirecon.weights import card_of, save_weights

PATHS = ("root", "index", "sources", "val_sources", "cache")  # of one machine only


@dataclass(frozen=True)
class About:
    """What the card of the weights says that no program can know.

    Attributes:
        data: what the network is trained on, in words; by default the folder.
        licence: licence of the weights.
        attribution: whom to cite for the data.
    """

    data: str = ""
    licence: str = ""
    attribution: str = ""


def export(
    module: TrainingModule,
    checkpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    family: Family,
    path: Path,
) -> None:
    """Write the averaged weights of a checkpoint as safetensors, with a card beside them.

    Raises:
        OSError: if they cannot be written.
    """
    network = averaged_network(module, checkpoint)
    data, callbacks = config["data"], checkpoint["callbacks"]
    where = data[family.where]
    named = ", ".join(map(str, where)) if isinstance(where, list) else str(where)
    about = {**config["about"], "data": config["about"]["data"] or named}
    card = card_of(
        network,
        **about,
        training=family.training_range(network, data, callbacks[family.seen.__name__]),
        settings={
            "step": checkpoint["global_step"],
            "data": {k: v for k, v in data.items() if k not in PATHS},
            **{name: config[name] for name in ("loss", "optimizer", "trainer")},
        },
        seeds={"training": config["seed"]},
        metrics=checkpoint["validation"],
        commit=commit(),
    )
    save_weights(network, path, card, overwrite=True)


def averaged_network(module: TrainingModule, checkpoint: Mapping[str, Any]) -> Model:
    """A new network with the averaged weights of a checkpoint, or the plain ones where none were averaged."""
    network = type(module.network)(**module.network.config)
    prefix = "network." if module.ema is None else "ema.module."
    state = {
        name.removeprefix(prefix): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    network.load_state_dict(state)
    return network.eval()


def commit() -> str:
    """The git commit of the package's source, with `+` if it was changed since; empty outside a repository."""
    folder = Path(__file__).parents[1]

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
