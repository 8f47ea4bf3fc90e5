"""Losses between predicted and measured samples that were left out."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from mrirecon.tensors import as_channels


def prediction_loss(
    predicted: Complex[Tensor, "coil sample"], measured: Complex[Tensor, "coil sample"]
) -> Float[Tensor, ""]:
    """Relative L2 plus relative L1 error: ||p - m||_2 / ||m||_2 + ||p - m||_1 / ||m||_1 (Yaman et al. 2020, section 2).

    The second term counts the weak samples far from the origin, the first one mostly the strong ones near it.
    """
    misfit, measured = as_channels(predicted - measured), as_channels(measured)
    tiny = torch.finfo(measured.dtype).tiny
    squared = torch.linalg.vector_norm(misfit) / torch.linalg.vector_norm(measured).clamp_min(tiny)
    return squared + misfit.abs().sum() / measured.abs().sum().clamp_min(tiny)
