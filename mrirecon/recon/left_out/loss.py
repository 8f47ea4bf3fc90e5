"""The loss between predicted and measured samples that were left out."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.tensors import as_channels


def prediction_loss(
    predicted: Complex[Tensor, "coil sample"],
    measured: Complex[Tensor, "coil sample"],
    weight: Float[Tensor, " sample"] | None = None,
) -> Float[Tensor, ""]:
    """Relative L2 plus relative L1 error: ||p - m||_2 / ||m||_2 + ||p - m||_1 / ||m||_1 (Yaman et al. 2020, section 2).

    The second term counts the weak samples far from the origin, the first one mostly the strong ones near it.

    Args:
        predicted: p.
        measured: m; where all of it is 0 there is nothing to predict, and the loss is 0.
        weight: how often the squares and the moduli of each sample count in the sums, such as `LeftOut.k_weight`; 1 if
            None.
    """
    misfit, measured = as_channels(predicted - measured), as_channels(measured)
    lit = measured.any()
    weight = torch.ones_like(measured[0, 0]) if weight is None else weight
    root = weight.sqrt()
    norm, size = torch.linalg.vector_norm(root * measured), (weight * measured.abs()).sum()
    misfit = misfit * lit
    squared = torch.linalg.vector_norm(root * misfit) / torch.where(lit, norm, 1)
    return squared + (weight * misfit.abs()).sum() / torch.where(lit, size, 1)
