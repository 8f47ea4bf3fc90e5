"""The small denoiser: a residual U-Net without normalisation, preconditioned as in EDM, for images of any size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mrirecon.networks.base import Prior
from mrirecon.tensors import mirrored_to

_FREQUENCIES = 16
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class DenoiserUNet(Prior):
    """D(x, s) = c_skip x + c_out U(c_in x, log(s) / 4), as in EDM (Karras et al. 2022, arXiv:2206.00364, table 1).

    Images may have any size: they are mirrored at the lower and right edge up to the next size that can be halved.
    Noise levels outside `sigma_range` are given to the U-Net as the nearest end of that range.

    Args:
        channels: channels of an image: 2 for real and imaginary part, 1 for a magnitude.
        widths: features at each level; each level halves the resolution.
        blocks: residual blocks per level on the way down; one more on the way up.
        sigma_data: standard deviation of the images, per channel, in units of their bright level.
        sigma_min: lowest noise level, in the same units.
        sigma_max: highest noise level.

    Raises:
        ValueError: if a width, the number of blocks or a level is not positive, or sigma_min is not below sigma_max.
    """

    name = "denoiser"
    predicts = "clean"

    def __init__(
        self,
        channels: int = 2,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: int = 1,
        sigma_data: float = 0.25,
        sigma_min: float = 0.005,
        sigma_max: float = 5.0,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or blocks < 1:
            raise ValueError(
                f"widths {list(widths)} with {blocks} blocks: give positive widths and at least 1 block"
            )
        if not (0 < sigma_min < sigma_max and sigma_data > 0):
            raise ValueError(
                f"sigma_min {sigma_min}, sigma_max {sigma_max}, sigma_data {sigma_data}: "
                "they must be positive, sigma_min below sigma_max"
            )
        self.config = {
            "channels": channels,
            "widths": list(widths),
            "blocks": blocks,
            "sigma_data": sigma_data,
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
        }
        self.channels, self.sigma_data = channels, sigma_data
        self.sigma_range = sigma_min, sigma_max
        self.unet = ResidualUNet(channels, widths, blocks)

    def forward(
        self, x: Float[Tensor, "batch channel y x"], sigma: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        s = sigma.to(x.dtype)[:, None, None, None]
        total = torch.sqrt(s**2 + self.sigma_data**2)
        height, width = x.shape[-2:]
        features = mirrored_to(x / total, self.unet.multiple)
        level = sigma.to(x.dtype).clamp(*self.sigma_range).log() / 4
        # Under autocast the U-Net alone computes in low precision.
        y = self.unet(features, level)[..., :height, :width].to(x.dtype)
        return (self.sigma_data / total) ** 2 * x + s * self.sigma_data / total * y

    def parts_to_compile(self) -> list[nn.Module]:
        return [self.unet]


class ResidualUNet(nn.Module):
    """Residual blocks with strided convolutions between the levels, as in DRUNet (Zhang et al. 2021, arXiv:2008.13751).

    Skip connections are added. The output and every residual are zero before training.

    Args:
        channels: channels of input and output.
        widths: features at each level.
        blocks: residual blocks per level on the way down; one more on the way up, and in the middle.
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        embedded = 2 * widths[0]
        octaves = torch.linspace(-1, 3, _FREQUENCIES)
        self.register_buffer("frequencies", 2 * math.pi * 2**octaves, persistent=False)
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, embedded), nn.SiLU(), nn.Linear(embedded, embedded)
        )

        def level(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(width, embedded) for _ in range(count))

        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(level(width, blocks) for width in widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.middle = level(widths[-1], blocks + 1)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(level(width, blocks + 1) for width in widths[:-1])
        self.last = _zeroed(nn.Conv2d(widths[0], channels, 3, padding=1))

    def forward(
        self, x: Float[Tensor, "batch channel y x"], level: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        """The estimate from a scaled image, whose sides are multiples of `multiple`, and its noise level."""
        angles = level[:, None] * self.frequencies.to(level.dtype)  # type: ignore[operator]
        embedded = F.silu(self.embed(torch.cat([angles.cos(), angles.sin()], dim=1)))
        # Channels-last makes convolutions up to four times faster on CPUs, and in half precision on GPUs.
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedded)
            skips.append(h)
            h = down(h)
        for block in self.middle:
            h = block(h, embedded)
        for level_up in reversed(range(len(self.up))):
            h = self.up[level_up](h) + skips.pop()
            for block in self.decoder[level_up]:  # type: ignore[attr-defined]
                h = block(h, embedded)
        return self.last(h)


class ResidualBlock(nn.Module):
    """h + W2 relu((1 + scale) W1 relu(h) + shift), with scale and shift computed from the noise level (FiLM)."""

    def __init__(self, width: int, embedded: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.film = _zeroed(nn.Linear(embedded, 2 * width))
        self.conv2 = _zeroed(nn.Conv2d(width, width, 3, padding=1))

    def forward(
        self, h: Float[Tensor, "batch width y x"], embedded: Float[Tensor, "batch embedded"]
    ) -> Float[Tensor, "batch width y x"]:
        scale, shift = self.film(embedded)[:, :, None, None].chunk(2, dim=1)
        inner = torch.addcmul(shift, self.conv1(F.relu(h)), 1 + scale)
        return h + self.conv2(F.relu(inner))


def _zeroed(layer: Layer) -> Layer:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
