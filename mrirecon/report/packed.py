"""Values of pictures as text in a page, whose script unpacks, windows, subtracts and measures them.

A picture is rounded to equal steps between its own least and largest value, which are stored as gzip: all low bytes
before all high bytes, a fifth smaller than bytes in pairs. Differences between neighbours would gain 1 % more.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt16

from mrirecon.report.template import encoded

STEPS = 2**12 - 2  # of pictures: the error of rounding is 83 dB below the largest value
NO_NUMBER = 2**16 - 1  # the step of what is NaN or infinite


@dataclass(frozen=True)
class Packed:
    """Pictures of one size.

    Attributes:
        data: base64.
        lows: least value of each picture.
        highs: its largest value.
        steps: between them.
    """

    data: str
    lows: list[float]
    highs: list[float]
    steps: int

    @classmethod
    def of(cls, pictures: Sequence[Float[np.ndarray, "row column"]], steps: int = STEPS) -> Packed:
        """The pictures, each between its own ends."""
        lows, highs, rounded = [], [], []
        for picture in pictures:
            finite = picture[np.isfinite(picture)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
            lows.append(low)
            highs.append(high)
            rounded.append(_rounded(picture, low, high, steps))
        return cls(packed(np.stack(rounded)), lows, highs, steps)

    def about(self) -> dict[str, Any]:
        """What the script needs to know besides the data."""
        return {"lows": self.lows, "highs": self.highs, "steps": self.steps}


def packed(values: UInt16[np.ndarray, "..."], order: Any = "C") -> str:
    """Whole numbers as base64, the last axis fastest (or the first, with order F)."""
    flat = values.ravel(order)
    planes = np.concatenate([flat & 255, flat >> 8]).astype(np.uint8)
    return encoded(gzip.compress(planes.tobytes(), compresslevel=6, mtime=0))


def _rounded(
    picture: Float[np.ndarray, "row column"], low: float, high: float, steps: int
) -> Shaped[np.ndarray, "row column"]:
    share = (picture.astype(float) - low) / ((high - low) or 1.0)
    found = np.rint(np.nan_to_num(share, posinf=0, neginf=0) * steps).astype(np.uint16)
    return np.where(np.isfinite(picture), found, np.uint16(NO_NUMBER))
