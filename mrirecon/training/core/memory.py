"""How much memory a training step takes, measured."""

from __future__ import annotations

from typing import Any

import torch

from mrirecon.device import PeakMemory
from mrirecon.training.core.base import TrainingModule


def step_memory(module: TrainingModule, batch: Any, device: str, precision: str) -> dict[str, int]:
    """Bytes that training needs: each part, and their `total`.

    One forward and backward pass and one optimizer step run on `batch`; the weights change. `pass` is by how much the
    memory of the device, on a CPU that of this process, was higher during the pass than before it (activations,
    temporaries, gradients); it is left out where the system does not tell.
    """
    module = module.to(device).train()
    batch = module.transfer_batch_to_device(batch, torch.device(device), 0)
    optimizer = module.settings.build(module.network.parameters())
    low = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    memory = PeakMemory(device)
    with torch.autocast(torch.device(device).type, dtype=low, enabled=low is not None):
        loss = module.batch_loss(batch)
    loss.backward()
    peak = memory.rise()
    del loss
    optimizer.step()
    state = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    parts = {
        "parameters": _size(module.network.parameters()),
        "averaged parameters": 0 if module.ema is None else _size(module.ema.parameters()),
        "optimizer state": _size(state),
        "batch": _size(part for part in batch if torch.is_tensor(part)),
        **({} if peak is None else {"pass": peak}),
    }
    return {**parts, "total": sum(parts.values())}


def _size(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
