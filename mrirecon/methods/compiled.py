"""A network compiled whole for the size of a scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor


class Compiled:
    """A function of tensors that torch.compile makes one graph of, once for each size.

    On a GPU its launches are recorded, as a graph that is replayed with one call. Where compiling fails, such as
    without a compiler, the function runs as it is.

    Attributes:
        note: what is to be said of it, None before the first call.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.note: str | None = None
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, device: torch.device, *given: Any) -> Any:
        """The function of `given`, which lie on a device."""
        if self.note is None:
            torch._dynamo.config.recompile_limit = 64  # sizes
            # Launches are recorded once and replayed with one call.
            mode = "default" if device.type == "cpu" else "reduce-overhead"
            self._compiled = torch.compile(self.function, fullgraph=True, mode=mode, dynamic=False)
            self.note = "the network was compiled, which takes minutes once for each size"
        if self._compiled is None:
            return self.function(*given)
        try:
            # The next replay overwrites what this one gave.
            return _copied(self._compiled(*given))
        except torch._dynamo.exc.TorchDynamoException as error:
            self._compiled = None
            self.note = f"the network ran without torch.compile, which failed: {_first_line(error)}"
            return self.function(*given)


def _copied(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.clone()
    held = {one.name: getattr(result, one.name) for one in fields(result)}
    return replace(result, **{name: _copied(tensor) for name, tensor in held.items()})


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
