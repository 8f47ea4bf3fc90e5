"""ADM, the U-Net of guided diffusion that DDS and DPS use, with the names of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log, prod, sqrt
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from mrirecon.networks.base import Prior
from mrirecon.networks.features import GroupNorm, channels_last_is_faster, check_size, laid_out

# The linear schedule of DDPM (Ho et al. 2020), which all published weights were trained with.
BETAS = [1e-4 + (2e-2 - 1e-4) * t / 999 for t in range(1000)]
Resampling = Literal["up", "down"]
Convolution = TypeVar("Convolution", nn.Conv1d, nn.Conv2d)


class ADMUNet(Prior):
    """The ablated diffusion model (Dhariwal & Nichol 2021, arXiv:2105.05233), without classes.

    Published for MRI by DDS (Chung, Lee & Ye 2024, arXiv:2303.05754; real and imaginary channel) and for photographs by
    DPS (Chung et al. 2023, arXiv:2209.14687). Takes images whose sides are multiples of 2^(levels - 1).

    Args:
        channels: channels of an image.
        num_channels: features at full resolution, before `channel_mult`.
        channel_mult: their multiple at each level; each level halves the resolution.
        num_res_blocks: residual blocks per level on the way down; one more on the way up.
        attention_levels: levels with self-attention, 0 the finest; the middle always has it. DDS asks for it where the
            image is a sixteenth of 320 (20 times smaller), which halving never gives.
        learn_sigma: twice as many channels come out; the second half says where between its bounds the variance is.
        num_head_channels: width of an attention head; None: as many heads as `num_heads` says.
        num_heads: attention heads.
        num_heads_upsample: the same on the way up; None: as many.
        resblock_updown: residual blocks change the resolution; otherwise convolutions do.
        use_scale_shift_norm: the step scales and shifts normalised features; otherwise it is added to them before.
        use_new_attention_order: queries, keys and values are told apart before the heads are.
        dropout: probability with which training zeroes a feature.
    """

    name = "adm"
    predicts = "noise"

    def __init__(
        self,
        channels: int = 2,
        num_channels: int = 256,
        channel_mult: Sequence[int | float] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 1,
        attention_levels: Sequence[int] = (),
        learn_sigma: bool = True,
        num_head_channels: int | None = 64,
        num_heads: int = 4,
        num_heads_upsample: int | None = None,
        resblock_updown: bool = True,
        use_scale_shift_norm: bool = True,
        use_new_attention_order: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.config = {
            "channels": channels,
            "num_channels": num_channels,
            "channel_mult": list(channel_mult),
            "num_res_blocks": num_res_blocks,
            "attention_levels": list(attention_levels),
            "learn_sigma": learn_sigma,
            "num_head_channels": num_head_channels,
            "num_heads": num_heads,
            "num_heads_upsample": num_heads_upsample,
            "resblock_updown": resblock_updown,
            "use_scale_shift_norm": use_scale_shift_norm,
            "use_new_attention_order": use_new_attention_order,
            "dropout": dropout,
        }
        self.channels, self.num_channels, self.levels = channels, num_channels, len(channel_mult)
        self.multiple = 2 ** (self.levels - 1)
        kept = prod(1 - beta for beta in BETAS)
        self.sigma_range = sqrt(BETAS[0] / (1 - BETAS[0])), sqrt((1 - kept) / kept)
        features = 4 * num_channels
        self.time_embed = nn.Sequential(
            nn.Linear(num_channels, features), nn.SiLU(), nn.Linear(features, features)
        )
        widths = [int(multiple * num_channels) for multiple in channel_mult]
        inputs, skips = zip(*self._way_down(widths), strict=True)
        self.input_blocks = nn.ModuleList(inputs)
        width = skips[-1]
        middle = self._block(width, width), self._attention(width, num_heads)
        self.middle_block = ADMStage([*middle, self._block(width, width)])
        self.output_blocks = nn.ModuleList(self._way_up(widths, list(skips)))
        last = _zeroed(nn.Conv2d(widths[0], channels * (1 + learn_sigma), 3, padding=1))
        self.out = nn.ModuleDict({"0": GroupNorm(32, widths[0]), "2": last})

    def _way_down(self, widths: Sequence[int]) -> Iterator[tuple[ADMStage, int]]:
        """The stages before the middle, each with how many features come out."""
        width, config = widths[0], self.config
        yield ADMStage([nn.Conv2d(self.channels, width, 3, padding=1)]), width
        for level, after in enumerate(widths):
            for _ in range(config["num_res_blocks"]):
                yield self._stage(level, width, after, config["num_heads"]), after
                width = after
            if level < self.levels - 1:
                yield ADMStage([self._resample(width, "down")]), width

    def _way_up(self, widths: Sequence[int], skips: list[int]) -> Iterator[ADMStage]:
        """The stages after the middle; each also takes what one before it gave, the last of `skips` features first."""
        width, config = skips[-1], self.config
        heads = config["num_heads_upsample"] or config["num_heads"]
        for level, after in reversed(list(enumerate(widths))):
            for number in range(config["num_res_blocks"] + 1):
                stage = self._stage(level, width + skips.pop(), after, heads)
                width = after
                if level and number == config["num_res_blocks"]:
                    stage.append(self._resample(width, "up"))
                yield stage

    def _stage(self, level: int, before: int, after: int, heads: int) -> ADMStage:
        """A residual block, with attention where the level has it."""
        stage = ADMStage([self._block(before, after)])
        if level in self.config["attention_levels"]:
            stage.append(self._attention(after, heads))
        return stage

    def _resample(self, width: int, resampling: Resampling) -> nn.Module:
        if self.config["resblock_updown"]:
            return self._block(width, width, resampling)
        return Downsample(width) if resampling == "down" else Upsample(width)

    def _block(self, before: int, after: int, resampling: Resampling | None = None) -> ADMBlock:
        options = self.config["use_scale_shift_norm"], self.config["dropout"]
        return ADMBlock(before, after, 4 * self.num_channels, *options, resampling)

    def _attention(self, width: int, heads: int) -> ADMAttention:
        each = self.config["num_head_channels"]
        if each and width % each:
            raise ValueError(f"{width} features make no heads of {each}")
        heads = width // each if each else heads
        return ADMAttention(width, heads, self.config["use_new_attention_order"])

    def forward(
        self, x: Float[Tensor, "batch channel y x"], timesteps: Real[Tensor, " batch"]
    ) -> Float[Tensor, "batch out y x"]:
        """The noise in x / sqrt(1 + sigma^2); behind it, with `learn_sigma`, as many channels for the variance.

        Raises:
            ValueError: if a side of the image is no multiple of 2^(levels - 1).
        """
        check_size(x, self.multiple, "adm")
        embedding = F.silu(self.time_embed(self._embedded(timesteps, x.dtype)))
        h = laid_out(x)
        skips = []
        for layers in self.input_blocks:
            h = layers(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for layers in self.output_blocks:
            h = layers(torch.cat([h, skips.pop()], dim=1), embedding)
        return self.out["2"](self.out["0"](h)).to(x.dtype).contiguous()

    def _embedded(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        """Cosine and sine of the step times frequencies from 1 down to nearly 1e-4."""
        half = self.num_channels // 2
        # Rounded to float32 as in training: with steps up to 1000, the last digit of a frequency matters.
        steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
        angles = timesteps[:, None].to(dtype) * torch.exp(-log(10000) * steps / half)
        embedded = torch.cat([angles.cos(), angles.sin()], dim=1)
        return F.pad(embedded, (0, self.num_channels % 2))


class ADMStage(nn.ModuleList):
    """Layers one after another, of which the residual blocks are told the step."""

    def forward(
        self, h: Float[Tensor, "batch in y x"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch out _ _"]:
        for layer in self:
            h = layer(h, embedding) if isinstance(layer, ADMBlock) else layer(h)
        return h


class ADMBlock(nn.Module):
    """Twice: normalisation, SiLU, convolution; the step comes in with the second. Resampling comes before the first."""

    def __init__(
        self,
        before: int,
        after: int,
        features: int,
        scale_shift: bool,
        dropout: float,
        resampling: Resampling | None,
    ) -> None:
        super().__init__()
        self.scale_shift, self.dropout, self.resampling = scale_shift, dropout, resampling
        # Numbers as in the official names; what has no parameters has no place here.
        self.in_layers = nn.ModuleDict(
            {"0": GroupNorm(32, before), "2": nn.Conv2d(before, after, 3, padding=1)}
        )
        self.emb_layers = nn.ModuleDict({"1": nn.Linear(features, (1 + scale_shift) * after)})
        self.out_layers = nn.ModuleDict(
            {"0": GroupNorm(32, after), "3": _zeroed(nn.Conv2d(after, after, 3, padding=1))}
        )
        self.skip_connection = (
            nn.Identity() if before == after else nn.Conv2d(before, after, kernel_size=1)
        )

    def forward(
        self, x: Float[Tensor, "batch in y x"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch out _ _"]:
        h, convolution = self.in_layers["0"](x), self.in_layers["2"]
        assert isinstance(convolution, nn.Conv2d)
        if self.resampling == "up":
            h, x = _repeated_and_convolved(h, convolution), _repeated(x)
        elif self.resampling == "down":
            h, x = convolution(_halved(h)), _halved(x)
        else:
            h = convolution(h)
        step = self.emb_layers["1"](embedding)
        if self.scale_shift:
            scale, shift = step.chunk(2, dim=1)
            h = self.out_layers["0"](h, scale=scale, shift=shift)
        else:
            h = self.out_layers["0"](h, offset=step)
        h = self.out_layers["3"](F.dropout(h, self.dropout, self.training))
        # In place: nothing else holds the convolution's output.
        return h.add_(self.skip_connection(x))


class ADMAttention(nn.Module):
    """Self-attention between all pixels."""

    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"{channels} features cannot be shared out to {heads} attention heads")
        # Of the three times as many features, which come first: those of a head, or all queries?
        self.order = (3, heads, -1) if new_order else (heads, 3, -1)
        self.which = -3 if new_order else -2
        self.norm = GroupNorm(32, channels, silu=False)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        tokens = self.norm(x).flatten(2).mT
        qkv = _per_pixel(self.qkv, tokens).unflatten(-1, self.order)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(self.which))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + _per_pixel(self.proj_out, attended).mT.unflatten(2, x.shape[2:])


class Downsample(nn.Module):
    """Half the size by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel _ _"]:
        return laid_out(self.op(x))


class Upsample(nn.Module):
    """Twice the size by repeating pixels, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel _ _"]:
        return _repeated_and_convolved(x, self.conv)


def _halved(x: Tensor) -> Tensor:
    return laid_out(F.avg_pool2d(x, 2))


def _repeated(x: Tensor) -> Tensor:
    return laid_out(F.interpolate(x, scale_factor=2, mode="nearest"))


def _repeated_and_convolved(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """The 3 x 3 convolution of x at twice the size, where each pixel stands four times.

    On the CPU, if pixels are many, as the transposed convolution it amounts to, with 4 products where there were 9: its
    kernel is that of `layer`, turned round, in four places one pixel apart.
    """
    if not channels_last_is_faster(x, 4 * x.shape[2] * x.shape[3]):
        return layer(_repeated(x))
    kernel = F.pad(layer.weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
    kernel = kernel[:, :, 1:] + kernel[:, :, :-1]
    kernel = kernel[..., 1:] + kernel[..., :-1]
    return laid_out(F.conv_transpose2d(laid_out(x), kernel, layer.bias, stride=2, padding=1))


def _per_pixel(layer: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A convolution of one pixel as the matrix product it is."""
    return F.linear(tokens, layer.weight.squeeze(-1), layer.bias)


def _zeroed(layer: Convolution) -> Convolution:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
