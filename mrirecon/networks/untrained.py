"""Convolutional networks that nobody trains: fitted to one scan from random weights, their architecture is the prior.

They map a fixed random input to an image, and fit anatomy in fewer steps than noise or aliasing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mrirecon.networks.base import at_least_one

Upsampling = Literal["nearest", "bilinear"]
Size = tuple[int, int]
SLOPE = 0.2  # of leaky ReLUs
SKIPPED = 4  # channels of the skip connections


class UntrainedNetwork(nn.Module, ABC):
    """A network with an input of its own; batch norm always takes the statistics of the one image there is."""

    @abstractmethod
    def draw_input(self, generator: torch.Generator) -> Float[Tensor, "1 channel y x"]:
        """The fixed random input u."""

    def draw_weights(self, generator: torch.Generator) -> None:
        """Begin anew: PyTorch's usual initial weights, from a stream of its own."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for parameter in layer.parameters():
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()


class ConvDecoder(UntrainedNetwork):
    """ConvDecoder (Darestani & Heckel 2021, arXiv:2007.02471): upsampling and convolutions from a small random input.

    A layer is: upsample, convolve, ReLU, batch norm. Sides grow by the same factor in each, and need be no powers of
    two. The deep decoder (Heckel & Hand 2019) is the same with `kernel` 1.

    Args:
        size: sides of the image.
        outputs: real channels of the image.
        start: sides of the input.
        layers: number of layers, one more than of times that the image is enlarged.
        channels: of each layer and of the input.
        kernel: width of the convolutions.
        upsampling: how images are enlarged.
        growth: "steady" enlarges by equal factors, "linear" by equal numbers of pixels.
        last: whether one more layer follows at full size.
        mix: whether each layer mixes its channels once more.
        skips: whether the end sees all layers.
        bias: of the convolutions.
        sigmoid: whether outputs lie between 0 and 1.

    Raises:
        ValueError: if there are fewer than three layers.
    """

    def __init__(
        self,
        size: Size,
        outputs: int,
        *,
        start: Size = (8, 8),
        layers: int = 7,
        channels: int = 64,
        kernel: int = 3,
        upsampling: Upsampling = "bilinear",
        growth: Literal["steady", "linear"] = "steady",
        last: bool = True,
        mix: bool = False,
        skips: bool = False,
        bias: bool = False,
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(outputs=outputs, channels=channels, kernel=kernel)
        if layers < 3:
            raise ValueError(f"layers is {layers}: give at least 3")
        self.start, self.channels, self.upsampling, self.skips = start, channels, upsampling, skips
        pairs = zip(start, size, strict=True)
        self.sizes = list(zip(*(_sides(*pair, layers - 1, growth) for pair in pairs), strict=True))

        def layer(width: int, inputs: int = channels) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, channels, width, padding=width // 2, bias=bias)
            return [conv, nn.ReLU(), nn.BatchNorm2d(channels)]

        self.layers = nn.ModuleList(
            nn.Sequential(*layer(kernel), *(layer(1) if mix else [])) for _ in self.sizes
        )
        width = channels * (len(self.sizes) if skips else 1)
        end = layer(kernel, width) if last else []
        end.append(nn.Conv2d(channels if last else width, outputs, 1, bias=bias))
        self.end = nn.Sequential(*end, *([nn.Sigmoid()] if sigmoid else []))

    def draw_input(self, generator: torch.Generator) -> Float[Tensor, "1 channel y x"]:
        return torch.rand(1, self.channels, *self.start, generator=generator)

    def forward(self, u: Float[Tensor, "1 channel y x"]) -> Float[Tensor, "1 output h w"]:
        x, seen = u, []
        for size, layer in zip(self.sizes, self.layers, strict=True):
            x = layer(F.interpolate(x, size, mode=self.upsampling))
            seen.append(x)
        if self.skips:
            x = torch.cat([F.interpolate(x, self.sizes[-1], mode=self.upsampling) for x in seen], 1)
        return self.end(x)


class EncoderDecoder(UntrainedNetwork):
    """The hourglass of the deep image prior (Ulyanov, Vedaldi & Lempitsky 2018, arXiv:1711.10925).

    Down by strided convolutions from a random input as large as the image, and up again, with narrow skip connections.

    Args:
        size: sides of the image.
        outputs: real channels of the image.
        levels: how often the image is halved; levels of fewer than 4 pixels a side are left out.
        channels: of each level.
        inputs: channels of the input.
    """

    def __init__(
        self,
        size: Size,
        outputs: int,
        *,
        levels: int = 5,
        channels: int = 64,
        inputs: int = 8,
    ) -> None:
        super().__init__()
        at_least_one(outputs=outputs, levels=levels, channels=channels, inputs=inputs)
        self.size, self.inputs = size, inputs
        levels = max(1, min(levels, int(math.log2(min(size) / 4))))
        self.down, self.skip, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(levels):
            width = inputs if level == 0 else channels
            down = [*_normed(width, channels, 3, stride=2), *_normed(channels, channels, 3)]
            up = [*_normed(channels + SKIPPED, channels, 3), *_normed(channels, channels, 1)]
            self.down.append(nn.Sequential(*down))
            self.skip.append(nn.Sequential(*_normed(width, SKIPPED, 1)))
            self.up.append(nn.Sequential(nn.BatchNorm2d(channels + SKIPPED), *up))
        self.end = nn.Conv2d(channels, outputs, 1)

    def draw_input(self, generator: torch.Generator) -> Float[Tensor, "1 channel y x"]:
        return 0.1 * torch.rand(1, self.inputs, *self.size, generator=generator)

    def forward(self, u: Float[Tensor, "1 channel y x"]) -> Float[Tensor, "1 output h w"]:
        x, levels = u, []
        for down in self.down:
            levels.append(x)
            x = down(x)
        for before, skip, up in reversed([*zip(levels, self.skip, self.up, strict=True)]):
            x = F.interpolate(x, before.shape[-2:], mode="bilinear")
            x = up(torch.cat([skip(before), x], 1))
        return self.end(x)


def _sides(first: int, last: int, steps: int, growth: str) -> list[int]:
    """Sizes of one side, from layer to layer."""
    factor = (last / first) ** (1 / steps)
    if growth == "steady":
        return [*(math.ceil(factor**n * first) for n in range(1, steps)), last]
    begin = factor * first
    return [math.ceil(begin + (last - begin) * n / (steps - 1)) for n in range(steps)]


def _normed(inputs: int, outputs: int, width: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, width, stride, width // 2, padding_mode="reflect")
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)]
