"""Swin transformer layers (Liu et al. 2021) as in HUMUS-Net, for feature maps of any size that the windows divide.

Features are (batch, y, x, channel) throughout, which convolutions take as channels-last images without a copy. Names
and shapes of parameters and buffers are those of the published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mrirecon.networks.attention import WindowAttention, corner_masks, kinds_of_windows


class SwinStage(nn.Module):
    """Swin blocks, every second one on a shifted grid, and a convolution; residual (SwinIR, Liang et al. 2021).

    Where a window covers the shorter side of `size`, windows shrink to that side and no grid is shifted, as published.

    Args:
        channels: number of features.
        size: feature map size (y, x) of the published weights.
        heads: attention heads.
        window: side of the windows.
        mlp_ratio: hidden units per channel.
        drop_path: one probability per block, see `SwinBlock`.
        convolution: kind of convolution, see `residual_convolution`.
        reshape: change of scale before or after this stage; applied by the network that contains the stage.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        heads: int,
        window: int,
        mlp_ratio: float,
        drop_path: Sequence[float],
        convolution: str,
        reshape: nn.Module,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(
                f"{heads} attention heads do not divide {channels} channels: change embed_dim or the heads"
            )
        self.window = min(window, *size)
        shifts = (0, window // 2 if self.window < min(size) else 0)
        blocks = [
            SwinBlock(channels, size, heads, self.window, shifts[i % 2], mlp_ratio, p)
            for i, p in enumerate(drop_path)
        ]
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.conv = residual_convolution(convolution, channels)
        self.reshape = reshape

    def forward(self, x: Float[Tensor, "batch y x channel"]) -> Float[Tensor, "batch y x channel"]:
        features = x
        for block in self.residual_group["blocks"].children():
            features = block(features)
        return x + self.conv(features.movedim(-1, 1)).movedim(1, -1)


def residual_convolution(kind: str, channels: int) -> nn.Module:
    """One 3 x 3 convolution ("1conv"), or 3 x 3, 1 x 1, 3 x 3 through a quarter of the channels ("3conv").

    Raises:
        ValueError: for another kind.
    """
    if kind == "1conv":
        return nn.Conv2d(channels, channels, 3, padding=1)
    if kind != "3conv":
        raise ValueError(f"resi_connection is {kind!r}: give '1conv' or '3conv'")
    quarter = channels // 4
    return nn.Sequential(
        nn.Conv2d(channels, quarter, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(quarter, quarter, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(quarter, channels, 3, padding=1),
    )


class SwinBlock(nn.Module):
    """Window attention, on a grid shifted by `shift`, then a two-layer perceptron; both residual.

    Args:
        channels: number of features.
        size: feature map size (y, x) of the published weights; it only sets the shape of the buffer `attn_mask`.
        heads: attention heads.
        window: side of the windows.
        shift: shift of the window grid, 0 for none.
        mlp_ratio: hidden units per channel.
        drop_path: probability that a sample skips the block in training (stochastic depth, Huang et al. 2016).
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        heads: int,
        window: int,
        shift: int,
        mlp_ratio: float,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.norm1 = nn.LayerNorm(channels)
        masks = corner_masks(window, shift)
        self.attn = WindowAttention(channels, window, heads, masks if shift else masks[:1])
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Perceptron(channels, int(mlp_ratio * channels))
        self._kinds: tuple[tuple[Any, ...], Tensor] | None = None
        if shift:
            # Published files hold the mask of every window; at any size there are only four.
            self.register_buffer(
                "attn_mask", masks[kinds_of_windows(size[0] // window, size[1] // window)]
            )

    def forward(self, x: Float[Tensor, "batch y x channel"]) -> Float[Tensor, "batch y x channel"]:
        x = x + self._skip(self.attend(self.norm1(x)))
        return x + self._skip(self.mlp(self.norm2(x)))

    def attend(self, x: Float[Tensor, "batch y x channel"]) -> Float[Tensor, "batch y x channel"]:
        """Window attention on the shifted grid; the output has the order of the input."""
        if not self.shift:
            windows = self._windows(x)
            return self._attend(windows).transpose(2, 3).reshape(x.shape)
        windows = self._windows(x.roll((-self.shift, -self.shift), (1, 2)))
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            out = self._attend(windows, self._kinds_of(windows))
        else:
            out = torch.empty_like(windows)
            # On a CPU masks are better not repeated in memory: windows with the same one are computed together.
            inside, last = slice(-1), slice(-1, None)
            places = ((inside, inside), (inside, last), (last, inside), (last, last))
            for kind, (rows, columns) in enumerate(places):
                out[:, rows, columns] = self._attend(windows[:, rows, columns], kind)
        return out.transpose(2, 3).reshape(x.shape).roll((self.shift, self.shift), (1, 2))

    def _windows(
        self, x: Float[Tensor, "batch y x channel"]
    ) -> Float[Tensor, "batch rows columns window window channel"]:
        grid = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return grid.transpose(2, 3)

    def _attend(self, windows: Tensor, kinds: Tensor | int = 0) -> Tensor:
        tokens = windows.flatten(3, 4).flatten(0, 2)
        return self.attn(tokens, kinds).view(windows.shape)

    def _kinds_of(self, windows: Tensor) -> Tensor:
        """The kind of each window of a batch, kept for the next of that size."""
        size = (*windows.shape[:3], windows.device)
        if self._kinds is None or self._kinds[0] != size:
            batch, rows, columns, device = size
            self._kinds = size, kinds_of_windows(rows, columns).repeat(batch).to(device)
        return self._kinds[1]

    def _skip(self, update: Tensor) -> Tensor:
        if not (self.training and self.drop_path):
            return update
        kept = update.new_ones(len(update), 1, 1, 1)
        return update * functional.dropout(kept, self.drop_path)


class Perceptron(nn.Module):
    """Two linear layers with a GELU between, per token."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class PatchMerging(nn.Module):
    """Halves the size and doubles the channels: each 2 x 2 tokens become one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(
        self, x: Float[Tensor, "batch y x channel"]
    ) -> Float[Tensor, "batch y//2 x//2 2*channel"]:
        pairs = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # batch, y, row, x, column, channel
        return self.reduction(self.norm(pairs.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class PatchExpand(nn.Module):
    """Doubles the size and halves the channels, then mixes in the skip connection of that size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * channels, bias=False)
        self.channel_mix = nn.Linear(channels, channels // 2, bias=False)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(
        self, x: Float[Tensor, "batch y x channel"], skip: Float[Tensor, "batch 2*y 2*x channel//2"]
    ) -> Float[Tensor, "batch 2*y 2*x channel//2"]:
        quads = self.expand(x).unflatten(3, (2, 2, -1))  # batch, y, x, row, column, channel
        fine = quads.permute(0, 1, 3, 2, 4, 5).reshape(skip.shape)
        return self.norm(self.channel_mix(torch.cat([fine, skip], dim=-1)))


class PatchEmbed(nn.Module):
    """Image features to normalised tokens; patches larger than 1 pixel are projected linearly."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(patch**2 * channels, channels) if patch > 1 else nn.Identity()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch _ _ channel"]:
        pixels = x.movedim(1, -1).unflatten(2, (-1, self.patch)).unflatten(1, (-1, self.patch))
        return self.norm(self.proj(pixels.transpose(2, 3).flatten(3)))


class PatchUnembed(nn.Module):
    """Tokens to image features; for patches larger than 1 pixel after a learned projection.

    As in the published code, the projections of a row of patches are written to the pixel rows one after the other
    without reordering, to which weights with such patches have adapted for the width they were trained with.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj_up = nn.Linear(channels, patch**2 * channels) if patch > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "batch y x channel"]) -> Float[Tensor, "batch channel _ _"]:
        batch, height, width, channels = x.shape
        shape = batch, height * self.patch, width * self.patch, channels
        return self.proj_up(x).reshape(shape).movedim(-1, 1)
