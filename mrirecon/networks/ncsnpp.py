"""NCSN++, the score network of Score-MRI, with the names of its parameters; in PyTorch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log, pi, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mrirecon.networks.base import Prior
from mrirecon.networks.features import GroupNorm, check_size, laid_out

Resampling = Literal["up", "down"]


class NCSNpp(Prior):
    """NCSN++ (Song et al. 2021, arXiv:2011.13456) as Score-MRI has it (Chung & Ye 2022, arXiv:2110.05243).

    BigGAN residual blocks, FIR resampling, a residual input pyramid and Fourier features of log sigma, trained on
    x + sigma n with x in [0, 1] (variance exploding). Takes images whose sides are multiples of 2^(levels - 1).

    Args:
        channels: channels of an image.
        nf: features at full resolution.
        ch_mult: their multiple at each level; each level halves the resolution.
        num_res_blocks: residual blocks per level on the way down; one more on the way up.
        attention_levels: levels with self-attention, 0 the finest; the middle always has it. Score-MRI asks for it
            where features are 16 wide, and those of an image 320 wide never are.
        fourier_scale: standard deviation of the random frequencies, which are not trained.
        sigma_min: lowest noise level.
        sigma_max: highest noise level.
        num_scales: length of the list of noise levels that travels with the weights and is used by nothing.
        dropout: probability with which training zeroes a feature.
    """

    name = "ncsnpp"
    predicts = "score"

    def __init__(
        self,
        channels: int = 1,
        nf: int = 128,
        ch_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 4,
        attention_levels: Sequence[int] = (),
        fourier_scale: float = 16.0,
        sigma_min: float = 0.01,
        sigma_max: float = 378.0,
        num_scales: int = 2000,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels,
            "nf": nf,
            "ch_mult": list(ch_mult),
            "num_res_blocks": num_res_blocks,
            "attention_levels": list(attention_levels),
            "fourier_scale": fourier_scale,
            "sigma_min": sigma_min,
            "sigma_max": sigma_max,
            "num_scales": num_scales,
            "dropout": dropout,
        }
        if not 0 < sigma_min < sigma_max:
            raise ValueError(
                f"sigma_min {sigma_min} and sigma_max {sigma_max}: 0 < sigma_min < sigma_max"
            )
        self.channels = channels
        self.sigma_range = sigma_min, sigma_max
        self.levels, self.num_res_blocks = len(ch_mult), num_res_blocks
        self.multiple = 2 ** (self.levels - 1)
        self.attention_levels = frozenset(attention_levels)
        # float64 in the official code, which not every device has.
        powers = torch.linspace(log(sigma_max), log(sigma_min), num_scales)
        self.register_buffer("sigmas", powers.exp())
        self.all_modules = nn.ModuleList(self._layers(nf, fourier_scale, dropout))

    def _layers(self, nf: int, fourier_scale: float, dropout: float) -> Iterator[nn.Module]:
        """All layers in the order in which `network` goes through them."""

        def block(before: int, after: int, resampling: Resampling | None = None) -> NCSNBlock:
            return NCSNBlock(before, after, 4 * nf, dropout, resampling)

        yield FourierFeatures(nf, fourier_scale)
        yield from (_linear(2 * nf, 4 * nf), _linear(4 * nf, 4 * nf), _conv(self.channels, nf, 3))
        skips, width, pyramid = [nf], nf, self.channels
        widths = [nf * multiple for multiple in self.config["ch_mult"]]
        for level, after in enumerate(widths):
            for _ in range(self.num_res_blocks):
                yield block(width, after)
                width = after
                if level in self.attention_levels:
                    yield NCSNAttention(width)
                skips.append(width)
            if level < self.levels - 1:
                yield from (block(width, width, "down"), PyramidDownsample(pyramid, width))
                pyramid = width
                skips.append(width)
        yield from (block(width, width), NCSNAttention(width), block(width, width))
        for level, after in reversed(list(enumerate(widths))):
            for _ in range(self.num_res_blocks + 1):
                yield block(width + skips.pop(), after)
                width = after
            if level in self.attention_levels:
                yield NCSNAttention(width)
            if level:
                yield block(width, width, "up")
        yield from (_norm(width), _conv(width, self.channels, 3, gain=0.0))

    def forward(
        self, x: Float[Tensor, "batch channel y x"], sigma: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        """The score, the gradient of the log density of x at noise level sigma: the network's output over sigma."""
        return self.network(x, sigma) / sigma.to(x.dtype)[:, None, None, None]

    def network(
        self, x: Float[Tensor, "batch channel y x"], sigma: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch channel y x"]:
        """The network's output, the score times sigma: minus the noise n of x + sigma n.

        Raises:
            ValueError: if a side of the image is no multiple of 2^(levels - 1).
        """
        check_size(x, self.multiple, "ncsnpp")
        layers = iter(self.all_modules)
        embedding = next(layers)(sigma.to(x.dtype).log())
        embedding = next(layers)(embedding)
        embedding = F.silu(next(layers)(F.silu(embedding)))
        pyramid = laid_out(2 * x - 1)
        h = next(layers)(pyramid)
        skips = [h]
        for level in range(self.levels):
            for _ in range(self.num_res_blocks):
                h = next(layers)(h, embedding)
                if level in self.attention_levels:
                    h = next(layers)(h)
                skips.append(h)
            if level < self.levels - 1:
                h = next(layers)(h, embedding)
                pyramid = h = _rescaled_sum(next(layers)(pyramid), h)
                skips.append(h)
        h = next(layers)(h, embedding)
        h = next(layers)(h)
        h = next(layers)(h, embedding)
        for level in reversed(range(self.levels)):
            for _ in range(self.num_res_blocks + 1):
                h = next(layers)(torch.cat([h, skips.pop()], dim=1), embedding)
            if level in self.attention_levels:
                h = next(layers)(h)
            if level:
                h = next(layers)(h, embedding)
        h = next(layers)(h)
        return next(layers)(h).to(x.dtype).contiguous()


class FourierFeatures(nn.Module):
    """Sine and cosine of 2 pi W log sigma with random frequencies W."""

    def __init__(self, count: int, scale: float) -> None:
        super().__init__()
        self.W = nn.Parameter(scale * torch.randn(count), requires_grad=False)

    def forward(self, log_sigma: Float[Tensor, " batch"]) -> Float[Tensor, "batch features"]:
        # Angles reach thousands, so float32 rounds them by 1e-4: in another order they would not be those of training.
        angles = log_sigma[:, None] * self.W * (2 * pi)
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class NCSNBlock(nn.Module):
    """Twice: normalisation, SiLU, convolution; the noise level is added between. BigGAN's resampling comes before."""

    def __init__(
        self, before: int, after: int, embedding: int, dropout: float, resampling: Resampling | None
    ) -> None:
        super().__init__()
        self.GroupNorm_0 = _norm(before)
        self.resample = FIR(resampling) if resampling else None
        self.Conv_0 = _conv(before, after, 3)
        self.Dense_0 = _linear(embedding, after)
        self.GroupNorm_1 = _norm(after)
        self.dropout = dropout
        self.Conv_1 = _conv(after, after, 3, gain=0.0)
        if before != after or resampling:
            self.Conv_2 = _conv(before, after, 1)

    def forward(
        self, x: Float[Tensor, "batch in y x"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch out _ _"]:
        h = self.GroupNorm_0(x)
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.GroupNorm_1(self.Conv_0(h), offset=self.Dense_0(embedding))
        h = self.Conv_1(F.dropout(h, self.dropout, self.training))
        return _rescaled_sum(h, self.Conv_2(x) if hasattr(self, "Conv_2") else x)


class FIR(nn.Module):
    """Half or twice the size with the filter (1, 3, 3, 1) along each axis; 0 beyond the border."""

    kernel: Tensor

    def __init__(self, resampling: Resampling | None) -> None:
        super().__init__()
        self.resampling = resampling
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if resampling == "up" else 8)
        self.register_buffer("kernel", torch.outer(line, line), persistent=False)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel _ _"]:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        if self.resampling == "up":
            x = F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)
        elif self.resampling == "down":
            x = F.conv2d(x, kernel, stride=2, padding=1, groups=channels)
        else:
            return F.conv2d(x, kernel, padding=2, groups=channels)
        return laid_out(x)


class PyramidDownsample(nn.Module):
    """Half the size by the same filter and a 3 x 3 convolution of stride 2."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.smooth = FIR(None)
        self.Conv2d_0 = _conv(before, after, 3, stride=2)

    def forward(self, x: Float[Tensor, "batch in y x"]) -> Float[Tensor, "batch out _ _"]:
        return laid_out(self.Conv2d_0(self.smooth(x)))


class NCSNAttention(nn.Module):
    """Self-attention between all pixels, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = _norm(channels, silu=False)
        self.NIN_0, self.NIN_1, self.NIN_2 = (NIN(channels, gain=0.1) for _ in range(3))
        self.NIN_3 = NIN(channels, gain=0.0)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        tokens = self.GroupNorm_0(x).flatten(2).mT.unsqueeze(1)
        attended = F.scaled_dot_product_attention(
            self.NIN_0(tokens), self.NIN_1(tokens), self.NIN_2(tokens)
        )
        h = self.NIN_3(attended).squeeze(1).mT.unflatten(2, x.shape[2:])
        return _rescaled_sum(laid_out(h), x)


class NIN(nn.Module):
    """A linear layer on the channels of each pixel."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.W = nn.Parameter(_xavier(torch.empty(channels, channels), gain))
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "... channel"]) -> Float[Tensor, "... channel"]:
        return F.linear(x, self.W.mT, self.b)


def _rescaled_sum(h: Tensor, x: Tensor) -> Tensor:
    # In place: h is the output of a convolution, which nothing else holds.
    return h.add_(x).mul_(sqrt(0.5))


def _norm(channels: int, silu: bool = True) -> GroupNorm:
    return GroupNorm(min(channels // 4, 32), channels, eps=1e-6, silu=silu)


def _linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    _xavier(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _conv(before: int, after: int, size: int, stride: int = 1, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, size, stride, padding=size // 2 if stride == 1 else 0)
    _xavier(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _xavier(weight: Tensor, gain: float = 1.0) -> Tensor:
    """Initial values of variance gain / mean of fan in and fan out."""
    return nn.init.xavier_uniform_(weight, sqrt(gain))
