"""mrirecon: MRI reconstruction, every method on the same scan through one operator. Research use only.

The names below load their module when first used, so that `import mrirecon` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Calibrated": "methods",
    "GivenMaps": "methods",
    "METHODS": "methods",
    "MASKS": "masks",
    "PROTOCOLS": "metrics",
    "Scan": "scan",
    "Volume": "scan",
    "Wavelet": "operators",
    "conjugate_gradient": "operators",
    "espirit": "operators",
    "evaluate": "metrics",
    "fista": "operators",
    "make_mask": "masks",
    "read_maps": "io",
    "read_scan": "io",
    "sense": "operators",
    "simulate_scan": "simulate",
    "write_scan": "io",
    "write_volume": "io",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrirecon' has no attribute {name!r}")
    return getattr(import_module(f"mrirecon.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
