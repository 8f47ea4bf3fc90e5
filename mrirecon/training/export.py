"""The final weights of a training run, with a card that says what they were trained on."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from mrirecon.masks import MaskSpec
from mrirecon.networks import Model, Prior
from mrirecon.prepare import intensity_scale
from mrirecon.training.base import TrainingModule
from mrirecon.training.volumes import of_all_processes
from mrirecon.weights import TrainingRange, card_of, save_weights

PATHS = ("root", "index", "sources", "val_sources", "cache")  # of one machine only


@dataclass(frozen=True)
class About:
    """What the card of the weights says that no program can know.

    Attributes:
        data: what the network is trained on, in words; by default the folder.
        licence: of the weights.
        attribution: whom to cite for the data.
    """

    data: str = ""
    licence: str = ""
    attribution: str = ""


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


class SeenScans(Seen):
    """Notes what the training slices are like, so that `recon` can warn of scans that are unlike them."""

    def __init__(self) -> None:
        self.coils: set[int] = set()
        self.matrices: set[tuple[int, int]] = set()
        self.intensities: dict[str, float] = {}  # bright level of each volume's middle slice

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.coils.add(batch.kspace.shape[2])
        self.matrices.add((batch.kspace.shape[3], batch.kspace.shape[4]))
        for n, volume in enumerate(batch.volume):
            if volume not in self.intensities and batch.index[n] == batch.slices[n] // 2:
                middle = batch.kspace[n, batch.kspace.shape[1] // 2].cpu()
                with suppress(
                    ValueError
                ):  # nothing to estimate it from: a black slice, or a mask without centre
                    self.intensities[volume] = intensity_scale(middle, batch.mask[n].cpu())

    def state_dict(self) -> dict[str, Any]:
        matrices = [list(matrix) for matrix in sorted(self.matrices)]
        return {
            "coils": sorted(self.coils),
            "matrices": matrices,
            "intensities": dict(self.intensities),
        }

    def add(self, state: Mapping[str, Any]) -> None:
        self.coils.update(state["coils"])
        self.matrices.update((y, x) for y, x in state["matrices"])
        self.intensities = {**state["intensities"], **self.intensities}


class SeenImages(Seen):
    """Notes what the patches are like that a prior is trained on."""

    def __init__(self) -> None:
        self.pixel_mm: tuple[float, float] | None = None
        self.sizes: set[int] = set()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        known = batch.pixel_mm[batch.pixel_mm.isfinite()].tolist()
        self.add({"sizes": [batch.image.shape[-1]], "pixel_mm": known})

    def state_dict(self) -> dict[str, Any]:
        pixel = None if self.pixel_mm is None else list(self.pixel_mm)
        return {"pixel_mm": pixel, "sizes": sorted(self.sizes)}

    def add(self, state: Mapping[str, Any]) -> None:
        self.sizes.update(state["sizes"])
        if known := [*(state["pixel_mm"] or ()), *(self.pixel_mm or ())]:
            self.pixel_mm = min(known), max(known)


def export(
    module: TrainingModule, checkpoint: Mapping[str, Any], config: Mapping[str, Any], path: Path
) -> None:
    """Write the averaged weights of a checkpoint as safetensors, with a card beside them.

    Raises:
        OSError: if they cannot be written.
    """
    network = averaged_network(module, checkpoint)
    data, callbacks = config["data"], checkpoint["callbacks"]
    where = data["sources"] if isinstance(network, Prior) else [data["root"]]
    about = {**config["about"], "data": config["about"]["data"] or ", ".join(map(str, where))}
    card = card_of(
        network,
        **about,
        training=(
            _prior_range(network, callbacks["SeenImages"])
            if isinstance(network, Prior)
            else _training_range(data["masks"], callbacks["SeenScans"])
        ),
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


def _training_range(masks: list[dict[str, Any]], seen: Mapping[str, Any]) -> TrainingRange:
    specs = [MaskSpec(**mask) for mask in masks]
    rows, columns = zip(*seen["matrices"], strict=True)
    levels = seen["intensities"].values()
    return TrainingRange(
        masks=tuple(sorted({spec.kind for spec in specs})),
        accelerations=tuple(sorted({float(spec.acceleration) for spec in specs})),
        center_fractions=tuple(sorted({float(spec.fraction()) for spec in specs})),
        coils=(min(seen["coils"]), max(seen["coils"])),
        matrix=((min(rows), min(columns)), (max(rows), max(columns))),
        intensity=(min(levels), max(levels)) if levels else None,
    )


def _prior_range(network: Prior, seen: Mapping[str, Any]) -> TrainingRange:
    pixel, sizes = seen["pixel_mm"], seen["sizes"]
    return TrainingRange(
        pixel_mm=None if pixel is None else (round(pixel[0], 3), round(pixel[1], 3)),
        sigma=network.sigma_range,
        patches=tuple(sizes),
    )
