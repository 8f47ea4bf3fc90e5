"""Attention within windows, with relative positions and the masks of a shifted grid (Liu et al. 2021).

Names and shapes of parameters and buffers are those of the published weights of HUMUS-Net.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

MASKED = -100.0  # added to the logits of pairs that must not attend, as in the published networks


class PreparedAttention(NamedTuple):
    """What window attention makes of its weights.

    Attributes:
        bias: added to the logits, (kind, head, token, token): without a mask and, on a shifted grid, with each of its.
        qkv: weight and bias of the first linear layer.
        proj: weight of the last one.
    """

    bias: Tensor
    qkv: tuple[Tensor, Tensor]
    proj: Tensor


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of each window, with a learned bias per relative position.

    Without gradients what it makes of its weights is kept until they change. The fused kernels of GPUs take heads of
    whole 16 bytes only; there heads are widened with zeros, which changes nothing.

    Args:
        channels: number of features.
        window: side of the windows.
        heads: attention heads.
        masks: added to the logits, one for each kind of window of a shifted grid.
    """

    relative_position_index: Tensor
    masks: Tensor

    def __init__(
        self, channels: int, window: int, heads: int, masks: Float[Tensor, "kind token token"]
    ) -> None:
        super().__init__()
        self.heads = heads
        table = torch.empty((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", _relative_positions(window))
        self.register_buffer("masks", masks, persistent=False)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self._kept: tuple[tuple[Any, ...], PreparedAttention] | None = None

    def forward(
        self,
        x: Float[Tensor, "window token channel"],
        kinds: Int[Tensor, " window"] | int = 0,
    ) -> Float[Tensor, "window token channel"]:
        """Attend within each window; `kinds` says which mask is added to the logits, of each or of all."""
        made = self._prepared(x)
        q, k, v = (
            functional.linear(x, *made.qkv)
            .unflatten(-1, (3, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        # The fast kernels require a contiguous bias.
        bias = made.bias[kinds, None] if isinstance(kinds, int) else made.bias[kinds]
        scale = (x.shape[-1] // self.heads) ** -0.5
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.to(q.dtype), scale=scale
        )
        return functional.linear(out.transpose(1, 2).flatten(2), made.proj, self.proj.bias)

    def _prepared(self, x: Tensor) -> PreparedAttention:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._prepare(x)
        # Weights that change in place have another version, those that move another place.
        weights = (self.relative_position_bias_table, *self.qkv.parameters(), self.proj.weight)
        state = (_precision(x), x.device, *((id(w), w._version) for w in weights))
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._prepare(x)
        return self._kept[1]

    def _prepare(self, x: Tensor) -> PreparedAttention:
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        bias = (bias + self.masks.unsqueeze(1)).to(_precision(x)).contiguous()
        width = x.shape[-1] // self.heads
        missing = _missing(width, x)
        if not missing:
            return PreparedAttention(bias, (self.qkv.weight, self.qkv.bias), self.proj.weight)
        layers = (self.qkv.weight, self.qkv.bias, self.proj.weight)
        weight, summand, proj = (layer.to(_precision(x)) for layer in layers)
        weight = functional.pad(weight.unflatten(0, (-1, width)), (0, 0, 0, missing)).flatten(0, 1)
        summand = functional.pad(summand.unflatten(0, (-1, width)), (0, missing)).flatten()
        proj = functional.pad(proj.unflatten(1, (-1, width)), (0, missing)).flatten(1)
        return PreparedAttention(bias, (weight, summand), proj)


def _missing(width: int, x: Tensor) -> int:
    """What a head lacks of the next width that fused kernels take."""
    return 0 if x.device.type == "cpu" else -width % (16 // _precision(x).itemsize)


def _precision(x: Tensor) -> torch.dtype:
    """In which a linear layer computes."""
    low = torch.is_autocast_enabled(x.device.type)
    return torch.get_autocast_dtype(x.device.type) if low else x.dtype


def _relative_positions(window: int) -> Int[Tensor, "token token"]:
    """Row of the bias table for each pair of tokens in a window."""
    y, x = torch.arange(window**2) // window, torch.arange(window**2) % window
    dy, dx = y[:, None] - y + window - 1, x[:, None] - x + window - 1
    return dy * (2 * window - 1) + dx


def kinds_of_windows(rows: int, columns: int) -> Int[Tensor, " window"]:
    """Which of the four `corner_masks` each window of a grid has."""
    kinds = torch.zeros(rows, columns, dtype=torch.long)
    kinds[:, -1] += 1
    kinds[-1] += 2
    return kinds.flatten()


def corner_masks(window: int, shift: int) -> Float[Tensor, "4 token token"]:
    """Attention masks for a shifted grid: windows inside, in the last column, in the last row, and in both.

    In the last row and column of windows the trailing `shift` rows or columns are wrapped around from the other edge of
    the image, and must not attend to the others.
    """
    wrapped = torch.arange(window) >= window - shift
    never = torch.zeros(window, dtype=torch.bool)
    masks = []
    for rows, columns in ((never, never), (never, wrapped), (wrapped, never), (wrapped, wrapped)):
        part = (2 * rows[:, None] + 1 * columns).flatten()
        masks.append(torch.where(part[:, None] == part, 0.0, MASKED))
    return torch.stack(masks)
