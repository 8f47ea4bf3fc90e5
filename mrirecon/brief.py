"""Objects in one line, for who prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
from torch import Tensor

LONGEST = 60  # characters of a value


def brief(self: Any) -> str:
    """What a dataclass prints as: fields that are not as usual; arrays by type and size, what is long by its beginning.

    To be its `__repr__`.
    """
    shown = [
        f"{one.name}={_short(getattr(self, one.name))}"
        for one in fields(self)
        if one.repr and not _is_usual(getattr(self, one.name), one.default, one.default_factory)
    ]
    return f"{type(self).__name__}({', '.join(shown)})"


def counted(number: int, noun: str) -> str:
    """Such as 1 slice, 2 slices."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _is_usual(value: object, default: object, factory: Any) -> bool:
    if factory is not MISSING:
        return value == factory() if isinstance(value, (Mapping, tuple, list, factory)) else False
    return value is default or (isinstance(value, (str, int, float, tuple)) and value == default)


def _short(value: object) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        kind = str(value.dtype).removeprefix("torch.")
        size = " x ".join(map(str, value.shape))
        return f"{kind} {size}".strip()
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {_short(one)}" for key, one in value.items())
        return _cut(f"{{{inside}}}")
    if isinstance(value, (tuple, list)):
        return _cut(f"({', '.join(map(_short, value))})")
    if isinstance(value, Callable) and not hasattr(value, "__dataclass_fields__"):  # type: ignore[arg-type]
        return getattr(value, "__name__", type(value).__name__)
    return f"{value:.6g}" if isinstance(value, float) else _cut(" ".join(repr(value).split()))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
