"""Metrics and left-out errors of slices, for the curves beside the report's slider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mrirecon.metrics import Metrics, evaluate
from mrirecon.scan import Volume

SHOWN = {"psnr": ("PSNR", "", " dB", 2), "ssim": ("SSIM", "SSIM ", "", 3)}
LEFT_OUT = ("left-out error", "left-out error ", " %", 1)


@dataclass(frozen=True)
class SliceCurve:
    """One metric of every slice shown.

    Attributes:
        title: of the metric.
        before: written before a value.
        unit: written after a value.
        digits: decimals of a value.
        values: of each method, of each slice shown, all of the first volume first; None where it is not known.
    """

    title: str
    before: str
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


def left_out_curves(
    volumes: Sequence[Volume], places: Sequence[tuple[int, int]]
) -> list[SliceCurve]:
    """Left-out error of the slices that were judged, where any of those shown was.

    Args:
        volumes: the reconstructions.
        places: volume and slice of what is shown, as the file counts them.
    """
    rows = []
    for volume in volumes:
        judged = volume.info.get("left_out", {}).get("slices", ())
        errors = {(one["volume"], one["slice"]): 100 * one["error"] for one in judged}
        rows.append([errors.get(place) for place in places])
    known = any(value is not None for row in rows for value in row)
    return [SliceCurve(*LEFT_OUT, rows)] if known else []


def _scored(image: Tensor, target: Tensor, protocol: str, peak: float) -> Metrics | None:
    try:
        known = peak if protocol == "fastmri" else None
        return evaluate(image[None].abs(), target[None], protocol, max_value=known)
    except ValueError:  # an empty slice, or one too small for SSIM
        return None


def _number(score: Metrics | None, key: str) -> float | None:
    value = math.nan if score is None else float(getattr(score, key))
    return value if math.isfinite(value) else None
