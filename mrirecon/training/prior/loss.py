"""Denoising score matching: how far a prior's clean image lies from the true one, weighted by the noise level."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mrirecon.diffusion import denoiser_of
from mrirecon.diffusion.schedules import ddpm_sigmas
from mrirecon.networks import Prior

Channels = Float[Tensor, "batch channel y x"]


@dataclass(frozen=True)
class PriorLoss:
    """Weighted squared error of the clean image, at random noise levels.

    The weights are those of the literature for what the network predicts. clean: (s^2 + s_d^2) / (s s_d)^2 with the
    network's sigma_data s_d (Karras et al. 2022, arXiv:2206.00364); noise and score: 1 / s^2, which is the squared
    error of the noise (Ho et al. 2020) and sigma^2-weighted score matching (Song & Ermon 2019).

    Attributes:
        levels: distribution of the noise levels: lognormal and loguniform within the network's sigma_range; ddpm takes
            the steps of the linear schedule alike; auto is lognormal for clean, loguniform for score, ddpm for noise.
        mean: mean of the logarithm of lognormal levels.
        std: standard deviation of it.
        val_levels: at which validation denoises.
        draws: of noise and level for each patch and step; several pay where reading patches is slower than training.

    Raises:
        ValueError: if a number makes no sense.
    """

    levels: Literal["auto", "lognormal", "loguniform", "ddpm"] = "auto"
    mean: float = -1.6
    std: float = 1.3
    val_levels: Sequence[float] = (0.03, 0.1, 0.3, 1.0)
    draws: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.std < math.inf or not math.isfinite(self.mean):
            raise ValueError(
                f"loss.mean is {self.mean} and loss.std {self.std}: give numbers, std above 0"
            )
        if not self.val_levels or not all(0 < s < math.inf for s in self.val_levels):
            raise ValueError(
                f"loss.val_levels is {list(self.val_levels)}: give one positive level or more"
            )
        if self.draws < 1:
            raise ValueError(f"loss.draws is {self.draws}: give at least 1")

    def drawn(
        self, clean: Channels, noise: Channels, uniform: Float[Tensor, " batch"]
    ) -> tuple[
        Float[Tensor, "drawn channel y x"],
        Float[Tensor, "drawn channel y x"],
        Float[Tensor, " drawn"],
    ]:
        """A batch `draws` times over, with new noise each time and levels spread evenly from the first ones.

        The further noise of a patch comes from a stream that its first noise seeds: as that is, it is a function of
        the run's seed, the epoch and the slice, whatever the process and the batch that the patch is in.
        """
        if self.draws == 1:
            return clean, noise, uniform
        shifts = torch.arange(self.draws, device=uniform.device)[:, None] / self.draws
        further = torch.stack([self._further(one, seed) for one, seed in _seeded(noise)], dim=1)
        noise = torch.cat([noise, further.flatten(0, 1)])
        return clean.repeat(self.draws, 1, 1, 1), noise, (uniform + shifts).remainder(1).flatten()

    def _further(self, noise: Tensor, seed: int) -> Tensor:
        """Noise for the other draws of one patch, drawn where it is."""
        stream = torch.Generator(noise.device).manual_seed(seed)
        shape = self.draws - 1, *noise.shape
        return torch.randn(shape, dtype=noise.dtype, device=noise.device, generator=stream)

    def sigmas(self, uniform: Float[Tensor, " batch"], prior: Prior) -> Float[Tensor, " batch"]:
        """Noise levels for uniform numbers in [0, 1): the quantiles of the distribution."""
        usual = {"clean": "lognormal", "score": "loguniform", "noise": "ddpm"}[prior.predicts]
        levels = usual if self.levels == "auto" else self.levels
        u = uniform.cpu().double()  # not every device has float64
        if levels == "ddpm":
            table = ddpm_sigmas()
            return table[(u * len(table)).long()].to(uniform)
        low, high = (math.log(s) for s in prior.sigma_range)
        if levels == "loguniform":
            return torch.exp(low + (high - low) * u).to(uniform)
        normal = torch.distributions.Normal(0.0, 1.0)
        ends = normal.cdf(torch.tensor([low, high]).sub(self.mean).div(self.std)).tolist()
        z = normal.icdf(ends[0] + (ends[1] - ends[0]) * u).clamp(-8, 8)
        return (self.mean + self.std * z).clamp(low, high).exp().to(uniform)

    def __call__(
        self, prior: Prior, clean: Channels, noise: Channels, sigma: Float[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The loss of each image."""
        noisy = clean + sigma.to(clean.dtype)[:, None, None, None] * noise
        found = denoiser_of(prior).clean(noisy, sigma)
        return self.weight(prior, sigma) * (found - clean).square().mean(dim=(1, 2, 3))

    def weight(self, prior: Prior, sigma: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Of the mean squared error at each level."""
        if prior.predicts != "clean":
            return sigma**-2
        data = float(prior.sigma_data)  # type: ignore[arg-type]
        return sigma**-2 + data**-2


def _seeded(noise: Channels) -> Iterator[tuple[Tensor, int]]:
    """The noise of each patch, and a seed that follows from its first row."""
    for one, row in zip(noise, noise[:, 0, 0].cpu(), strict=True):
        digest = hashlib.sha256(row.numpy().tobytes()).digest()
        yield one, int.from_bytes(digest[:8], "little")
