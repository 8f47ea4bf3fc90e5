"""Generators: trained on the images of priors."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.networks import Generator
from mrirecon.tensors import as_complex
from mrirecon.training.core.family import Config
from mrirecon.training.core.optimizer import OptimizerSettings
from mrirecon.training.generator.loss import GeneratorLoss
from mrirecon.training.generator.module import GeneratorModule
from mrirecon.training.prior.data import PriorDataModule
from mrirecon.training.prior.family import PRIOR
from mrirecon.training.prior.pictures import SAMPLE_SIZE, PriorSamples
from mrirecon.weights import TrainingRange


class GeneratorSamples(PriorSamples):
    """A row of images of the averaged generator at each validation, always of the same latents."""

    @torch.no_grad()
    def drawn(  # type: ignore[override]
        self, generator: Generator, device: torch.device
    ) -> Float[Tensor, "count y x"]:
        shape = (SAMPLE_SIZE, SAMPLE_SIZE)
        stream = torch.Generator().manual_seed(0)
        z = torch.randn(self.count, *generator.latent_shape(shape), generator=stream)
        return as_complex(generator(z.to(device), shape)).abs()


def _built(
    network: Generator, config: Config, optimizer: OptimizerSettings
) -> tuple[GeneratorModule, PriorDataModule]:
    loss, seed = GeneratorLoss(**config["loss"]), config["seed"]
    module = GeneratorModule(network, loss, optimizer, compile=config["compile"], seed=seed)
    return module, PriorDataModule(**config["data"], seed=seed)


def _training_range(network: Generator, data: Config, seen: Config) -> TrainingRange:
    pixel = seen["pixel_mm"]
    return TrainingRange(
        pixel_mm=None if pixel is None else (round(pixel[0], 3), round(pixel[1], 3)),
        patches=tuple(seen["sizes"]),
    )


GENERATOR = replace(
    PRIOR,
    loss=GeneratorLoss,
    about_loss="loss: evidence lower bound",
    build=_built,
    training_range=_training_range,
    pictures=GeneratorSamples,
)
