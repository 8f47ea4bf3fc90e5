"""End-to-end networks: trained on undersampled slices."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from mrirecon.masks import MaskSpec
from mrirecon.networks import Network
from mrirecon.options import check
from mrirecon.scale import intensity_scale
from mrirecon.training.core.checkpoints import CheckpointSettings
from mrirecon.training.core.family import Config, Family, Seen
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.end_to_end.data import FastMRIDataModule
from mrirecon.training.end_to_end.loss import Loss
from mrirecon.training.end_to_end.module import UnrolledModule
from mrirecon.training.end_to_end.pictures import ValidationImages
from mrirecon.weights import TrainingRange


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
                # Nothing to estimate it from: a black slice, or a mask without centre.
                with suppress(ValueError):
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


def masks_of(given: object, name: str) -> list[MaskSpec]:
    """Masks from the plain values of a configuration.

    Raises:
        ValueError: if there are none, or one has an unknown key, a value of another type, or lacks one.
    """
    if not isinstance(given, list) or not given:
        raise ValueError(f"give {name}, such as [{{kind: uniform1d, acceleration: 4}}]")
    made = []
    for mask in given:
        values = check(MaskSpec, mask, name)
        if missing := [key for key in ("kind", "acceleration") if key not in values]:
            raise ValueError(f"{name}: {mask} has no {missing[0]}")
        made.append(MaskSpec(**values))
    return made


def _built(
    network: Network, config: Config, optimizer: OptimizerSettings
) -> tuple[UnrolledModule, FastMRIDataModule]:
    data, loss = dict(config["data"]), Loss(**config["loss"])
    monitor = config["checkpoints"].get("monitor", CheckpointSettings.monitor)
    if monitor == "val_left_out" and not loss.self_supervised:
        raise ValueError(
            "checkpoints.monitor is val_left_out, and no samples are left out: give loss.self_supervised a weight, or "
            "monitor val_ssim"
        )
    for name in MASKS:
        if data.get(name) is not None or (name == "masks" and not loss.self_supervised):
            data[name] = masks_of(data.get(name), f"data.{name}")
    data["masks"] = data.get("masks") or []  # files may all have masks of their own
    module = UnrolledModule(
        network, loss, optimizer, compile=config["compile"], seed=config["seed"]
    )
    return module, FastMRIDataModule(
        **data,
        seed=config["seed"],
        adjacent_slices=network.adjacent_slices,
        loss=loss,
        monitor=monitor,
    )


def _training_range(network: Network, data: Config, seen: Config) -> TrainingRange:
    specs = [MaskSpec(**mask) for mask in data.get("masks") or []]
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


def _facts(config: Config) -> dict[str, str]:
    data = config["data"]
    found = {"masks": data.get("masks"), "val_masks": data.get("val_masks")}
    return {name: _in_words(masks) for name, masks in found.items() if masks}


def _in_words(masks: list[Config]) -> str:
    """Kinds with their accelerations, such as `poisson x4 x8`."""
    kinds: dict[str, list[str]] = {}
    for mask in masks:
        kinds.setdefault(mask["kind"], []).append(f"x{mask['acceleration']:g}")
    return ", ".join(" ".join((kind, *dict.fromkeys(those))) for kind, those in kinds.items())


MASKS = {
    "masks": "kinds of undersampling such as {kind: uniform1d, acceleration: 4, center_fraction: 0.08}; one is drawn "
    "for each slice and epoch, in validation one for each volume (required, but for "
    "loss.self_supervised on files that are undersampled)",
    "val_masks": "kinds for validation, where other ones are wanted",
}
END_TO_END = Family(
    data=FastMRIDataModule,
    loss=Loss,
    checkpoints=CheckpointSettings,
    about_data="data: slices to train on",
    about_loss="loss: weights of its terms",
    hidden=("seed", "adjacent_slices", "loss", "monitor", *MASKS),
    masks=MASKS,
    where="root",
    build=_built,
    seen=SeenScans,
    training_range=_training_range,
    pictures=ValidationImages,
    unit="volumes",
    facts=_facts,
)
