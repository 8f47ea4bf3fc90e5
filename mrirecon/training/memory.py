"""How much memory a training step takes, measured."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mrirecon.training.base import TrainingModule


def step_memory(module: TrainingModule, batch: Any, device: str, precision: str) -> dict[str, int]:
    """Bytes that training needs: each part, and their `total`.

    One forward and backward pass and one optimizer step run on `batch`; the weights change. `pass` is the highest
    point of allocated memory during the pass (activations, temporaries, gradients) as the profiler of PyTorch saw it.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler talks on stderr
    module = module.to(device).train()
    batch = module.transfer_batch_to_device(batch, torch.device(device), 0)
    optimizer = module.settings.build(module.network.parameters())
    low = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    mixed = torch.autocast(torch.device(device).type, dtype=low, enabled=low is not None)
    with profile(activities=_activities(device), profile_memory=True) as record:
        with mixed:
            loss = module.batch_loss(batch)
        loss.backward()
    del loss
    optimizer.step()
    state = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v)]
    parts = {
        "parameters": _size(module.network.parameters()),
        "averaged parameters": 0 if module.ema is None else _size(module.ema.parameters()),
        "optimizer state": _size(state),
        "batch": _size(part for part in batch if torch.is_tensor(part)),
        "pass": _peak(record, device),
    }
    return {**parts, "total": sum(parts.values())}


def _activities(device: str) -> list[ProfilerActivity]:
    accelerators = (
        set(ProfilerActivity.__members__.values()) & torch.profiler.supported_activities()
    )
    wanted = [a for a in accelerators if a.name.lower() == device != "cpu"]
    return [ProfilerActivity.CPU, *wanted]


def _peak(record: Any, device: str) -> int:
    """Highest sum of allocations on the device, from the profiler's trace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = [e for e in events if e.get("name") == "[memory]"]
    on_cpu = 0  # the profiler's number of this type of device
    peak = held = 0
    for event in sorted(memory, key=lambda e: e["ts"]):
        if (event["args"]["Device Type"] == on_cpu) == (device == "cpu"):
            held += event["args"]["Bytes"]
            peak = max(peak, held)
    return peak


def _size(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
