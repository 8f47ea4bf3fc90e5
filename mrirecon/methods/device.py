"""Where to compute: the one place that knows the names of devices."""

from __future__ import annotations

from typing import Literal

import torch

from mrirecon.nearest import suggest

Device = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(name: str) -> str:
    """The torch device; auto takes a GPU where there is one.

    Raises:
        ValueError: if there is no such device, or not here.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, there in present.items() if there)
    if name not in present:
        raise ValueError(f"unknown device {name!r}: {suggest(name, ['auto', *present])}")
    if not present[name]:
        raise ValueError(f"device {name} is not available here: use --device auto or cpu")
    return name
