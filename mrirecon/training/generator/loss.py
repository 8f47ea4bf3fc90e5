"""The evidence lower bound of a variational autoencoder, per real number of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.networks import Generator


@dataclass(frozen=True)
class GeneratorLoss:
    """E ||x - G(z)||^2 / (2 noise^2) + KL(q(z | x) || N(0, I)), over the real numbers of x (Kingma & Welling 2014).

    Attributes:
        noise: what the generator may leave of an image, as standard deviation per real component in units of the bright
            level: smaller ones give sharper images and a latent that is further from normal.

    Raises:
        ValueError: if it is not a positive number.
    """

    noise: float = 0.04

    def __post_init__(self) -> None:
        if not 0 < self.noise < math.inf:
            raise ValueError(f"loss.noise is {self.noise}: give a positive number")

    def __call__(
        self,
        generator: Generator,
        clean: Float[Tensor, "batch 2 y x"],
        noise: Float[Tensor, "batch 2 y x"],
    ) -> Float[Tensor, " batch"]:
        """The loss of each image; the latent is drawn with the first of the noise."""
        mean, log_variance = generator.encode(clean)
        drawn = noise.flatten(1)[:, : mean[0].numel()].view_as(mean)
        found = generator(mean + torch.exp(log_variance / 2) * drawn, tuple(clean.shape[-2:]))
        misfit = (found - clean).square().sum(dim=(1, 2, 3)) / (2 * self.noise**2)
        divergence = mean.square() + log_variance.exp() - log_variance - 1
        return (misfit + divergence.sum(dim=(1, 2, 3)) / 2) / clean[0].numel()
