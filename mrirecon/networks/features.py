"""Feature maps of U-Nets: allowed sizes, padding, memory layout, and normalisation."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Batches with fewer pixels are not made channels-last: rearranging the weights would take longer.
_FEW_PIXELS = 2048
# Sums over more pixels than this at once lose digits of float32.
_PIXELS_AT_ONCE = 2048


def check_size(x: Float[Tensor, "batch channel y x"], multiple: int, network: str) -> None:
    """Refuse an image that cannot be halved as often as a network requires.

    Raises:
        ValueError: if a side is no multiple of `multiple`.
    """
    height, width = x.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"image is {height} x {width}, this {network} takes sides that are multiples of {multiple}: "
            "give it such images or patches, or others through `denoiser_of`, which mirrors them"
        )


def laid_out(x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
    """The features in the memory layout for which convolutions are fastest."""
    many = channels_last_is_faster(x, x.shape[2] * x.shape[3])
    return x.contiguous(memory_format=torch.channels_last if many else torch.contiguous_format)


def channels_last_is_faster(x: Tensor, pixels: int) -> bool:
    """Whether channels-last is the faster layout for `pixels` per image: on the CPU, if the batch is large enough."""
    return x.device.type == "cpu" and len(x) * pixels >= _FEW_PIXELS


def reflected(
    x: Float[Tensor, "batch channel y x"], rows: tuple[int, int], columns: tuple[int, int]
) -> Float[Tensor, "batch channel _ _"]:
    """Pad by reflection about the first and the last sample, as often as it takes."""
    if max(rows) < x.shape[-2] and max(columns) < x.shape[-1]:
        return F.pad(x, (*columns, *rows), "reflect") if any((*rows, *columns)) else x
    for axis, (before, after) in ((-2, rows), (-1, columns)):
        last = x.shape[axis] - 1
        index = torch.arange(-before, last + 1 + after, device=x.device) % max(2 * last, 1)
        x = x.index_select(axis, torch.minimum(index, 2 * last - index))
    return x


class Standardized(NamedTuple):
    """Images of mean 0 and standard deviation 1, and what turns an output for them back.

    An image that is constant is 0, with a deviation of 0.
    """

    images: Float[Tensor, "batch channel y x"]
    mean: Float[Tensor, "batch channel 1 1"]
    deviation: Float[Tensor, "batch channel 1 1"]

    @classmethod
    def of(cls, x: Float[Tensor, "batch channel y x"]) -> Standardized:
        """Each channel of each image standardized."""
        variance, mean = torch.var_mean(x, dim=(-2, -1), keepdim=True)
        # Where the variance is 0, its square root must not be differentiated.
        deviation = (variance + (variance <= 0)).sqrt()
        return cls((x - mean) / deviation, mean, deviation * (variance > 0))

    def undone(self, y: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """An image like `images` in the units of what was standardized."""
        return torch.addcmul(self.mean, y.to(self.mean.dtype), self.deviation)


class GroupNorm(nn.GroupNorm):
    """Group normalisation of x + offset, times 1 + scale, plus shift; then SiLU, unless `silu` is false.

    For channels-last features PyTorch's implementation loses digits: its error is 2e-5 for mean 3 and deviation 1 at
    160 x 160. Here the mean and variance of each group are computed from those of its channels, and everything is
    applied as one factor and one summand per channel; only x is stored for the backward pass. Half precision is
    normalised in float32.
    """

    def __init__(self, groups: int, channels: int, eps: float = 1e-5, silu: bool = True) -> None:
        super().__init__(groups, channels, eps)
        self.silu = silu

    def forward(
        self,
        x: Float[Tensor, "batch channel y x"],
        offset: Float[Tensor, "batch channel"] | None = None,
        scale: Float[Tensor, "batch channel"] | None = None,
        shift: Float[Tensor, "batch channel"] | None = None,
    ) -> Float[Tensor, "batch channel y x"]:
        if x.device.type == "cpu" and not x.is_contiguous():
            with torch.autocast("cpu", enabled=False):
                x = x if x.dtype.itemsize > 2 else x.float()
                factor, summand = self._per_channel(x, offset, scale, shift)
                if self.silu:
                    return _AffineSiLU.apply(x, factor, summand)
                return torch.addcmul(_over_pixels(summand), x, _over_pixels(factor))
        x = x if offset is None else x + _over_pixels(offset)
        normalized = F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        if scale is not None:
            normalized = normalized * (1 + _over_pixels(scale))
        if shift is not None:
            normalized = normalized + _over_pixels(shift)
        return F.silu(normalized, inplace=True) if self.silu else normalized

    def _per_channel(
        self, x: Tensor, offset: Tensor | None, scale: Tensor | None, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The factor and the summand of x, both (batch, channel)."""
        mean, variance = _Moments.apply(x)
        moved = torch.zeros_like(mean) if offset is None else offset.to(x.dtype)
        mean_of_group = self._group_mean(mean + moved)
        spread = variance + (mean + moved - mean_of_group).square()
        factor = (self._group_mean(spread) + self.eps).rsqrt() * self.weight
        summand = self.bias + (moved - mean_of_group) * factor
        if scale is not None:
            factor, summand = factor * (1 + scale), summand * (1 + scale)
        return factor, summand if shift is None else summand + shift

    def _group_mean(self, values: Tensor) -> Tensor:
        grouped = values.unflatten(1, (self.num_groups, -1))
        return grouped.mean(-1, keepdim=True).expand_as(grouped).flatten(1)


class _Moments(torch.autograd.Function):
    """Mean and variance (divided by n) of each channel of each image."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = max(1, _PIXELS_AT_ONCE // x.shape[3])
        # For one channels-last image this is many times faster than `torch.var_mean`.
        parts = [
            torch.stack(torch.batch_norm_update_stats(part, None, None, 0.0))
            for image in x.split(1)
            for part in image.split(rows, dim=2)
        ]
        means, variances = torch.stack(parts, dim=1).unflatten(1, (len(x), -1)).unbind(0)
        heights = [part.shape[2] for part in x[:1].split(rows, dim=2)]
        share = x.new_tensor(heights)[:, None] / x.shape[2]
        mean = (means * share).sum(1)
        between = (means - mean[:, None]).square()
        variance = ((variances + between) * share).sum(1)
        ctx.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_variance: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        pixels = x.shape[2] * x.shape[3]
        factor = of_variance * (2 / pixels)
        return torch.addcmul(
            _over_pixels(of_mean / pixels - factor * mean), x, _over_pixels(factor)
        )


class _AffineSiLU(torch.autograd.Function):
    """SiLU(factor x + summand) with one factor and one summand per channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, summand: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor, summand)
        return F.silu(torch.addcmul(_over_pixels(summand), x, _over_pixels(factor)), inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, factor, summand = ctx.saved_tensors
        affine = torch.addcmul(_over_pixels(summand), x, _over_pixels(factor))
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        gradient = torch.ops.aten.silu_backward(gradient, affine)
        of_factor = _pixel_sum(torch.mul(gradient, x, out=affine))
        of_summand = _pixel_sum(gradient)
        return gradient.mul_(_over_pixels(factor)), of_factor, of_summand


def _over_pixels(values: Tensor) -> Tensor:
    return values[:, :, None, None]


def _pixel_sum(x: Tensor) -> Tensor:
    # Over columns, then rows, as they lie in memory: faster, and more exact, than over both at once.
    return x.movedim(1, -1).sum(2).sum(1)
