"""Priors: trained on images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from mrirecon.networks import Prior
from mrirecon.training.core.checkpoints import PriorCheckpointSettings
from mrirecon.training.core.family import Config, Family, Seen
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.prior.data import GROWING, PriorDataModule
from mrirecon.training.prior.loss import PriorLoss
from mrirecon.training.prior.module import DenoiserModule
from mrirecon.training.prior.pictures import PriorSamples
from mrirecon.weights import TrainingRange


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


def _built(
    network: Prior, config: Config, optimizer: OptimizerSettings
) -> tuple[DenoiserModule, PriorDataModule]:
    module = DenoiserModule(
        network,
        PriorLoss(**config["loss"]),
        optimizer,
        compile=config["compile"],
        seed=config["seed"],
    )
    return module, PriorDataModule(**config["data"], seed=config["seed"])


def _training_range(network: Prior, data: Config, seen: Config) -> TrainingRange:
    pixel, sizes = seen["pixel_mm"], seen["sizes"]
    return TrainingRange(
        pixel_mm=None if pixel is None else (round(pixel[0], 3), round(pixel[1], 3)),
        sigma=network.sigma_range,
        patches=tuple(sizes),
    )


def _facts(config: Config) -> dict[str, str]:
    sizes = [
        f"{100 * share:.0f} % at {size} x {size}"
        for share, size in config["data"].get("patches") or GROWING
    ]
    return {"patches": ", ".join(sizes)}


PRIOR = Family(
    data=PriorDataModule,
    loss=PriorLoss,
    checkpoints=PriorCheckpointSettings,
    about_data="data: images to train on",
    about_loss="loss: noise levels",
    hidden=("seed",),
    where="sources",
    build=_built,
    seen=SeenImages,
    training_range=_training_range,
    pictures=PriorSamples,
    unit="images by plane and echo",
    facts=_facts,
)
