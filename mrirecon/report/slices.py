"""Metrics of every slice, for the curves beside the report's slider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mrirecon.metrics import Metrics, evaluate
from mrirecon.scan import Volume

SHOWN = {"psnr": ("PSNR", " dB", 2), "ssim": ("SSIM", "", 3)}


@dataclass(frozen=True)
class SliceCurve:
    """One metric of every slice shown.

    Attributes:
        title: of the metric.
        unit: written after a value.
        digits: decimals of a value.
        values: of each method, of each slice; None where it cannot be computed.
    """

    title: str
    unit: str
    digits: int
    values: list[list[float | None]]


def slice_curves(
    volumes: Sequence[Volume], targets: Mapping[int, Tensor] | None
) -> list[SliceCurve]:
    """PSNR and SSIM of each slice under the protocol of the volume's own metrics, where every volume has these.

    Under `fastmri` the peak is that of all slices shown, so that the numbers of slices can be compared. There are none
    where only a part of the image was judged.
    """
    judged = [volume.info.get("metrics") for volume in volumes]
    protocols = {str(one["protocol"]) for one in judged if one}
    partial = any(one.get("inside_support") for one in judged if one)
    if targets is None or not all(judged) or len(protocols) != 1 or partial:
        return []
    (protocol,) = protocols
    peak = max(float(target.max()) for target in targets.values())
    found = [
        [
            _scored(volume.image[0, index], target, protocol, peak)
            for index, target in targets.items()
        ]
        for volume in volumes
    ]
    return [
        SliceCurve(*about, [[_number(one, key) for one in row] for row in found])
        for key, about in SHOWN.items()
    ]


def _scored(image: Tensor, target: Tensor, protocol: str, peak: float) -> Metrics | None:
    try:
        known = peak if protocol == "fastmri" else None
        return evaluate(image[None].abs(), target[None], protocol, max_value=known)
    except ValueError:  # an empty slice, or one too small for SSIM
        return None


def _number(score: Metrics | None, key: str) -> float | None:
    value = math.nan if score is None else float(getattr(score, key))
    return value if math.isfinite(value) else None
