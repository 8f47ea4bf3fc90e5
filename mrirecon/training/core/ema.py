"""The exponential moving average of a network's weights: what is validated and exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = list[Tensor] | tuple[Tensor, ...]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A frozen copy of the network that follows it with each `update_parameters(network)`.

    theta_ema <- d theta_ema + (1 - d) theta with d = min(decay, (1 + n) / (10 + n)) at the n-th update, so that the
    random initial weights are forgotten early on.
    """

    @torch.no_grad()
    def blend(ema: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = int(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        for mean, value in zip(ema, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean), weight)
            else:
                mean.copy_(value)

    average = AveragedModel(network, multi_avg_fn=blend, use_buffers=True)
    return average.requires_grad_(False)
