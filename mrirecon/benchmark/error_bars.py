"""How far the truth lies from an image, in standard deviations of draws: what `recon --calibrate FILE` is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mrirecon.benchmark.cells import Cell, Record
from mrirecon.benchmark.regions import find_head
from mrirecon.io.files import replacing, write_json
from mrirecon.masks import MASKS
from mrirecon.recon.left_out.reference_widths import (
    LEVELS,
    ReferenceWidths,
    Widths,
    conformal_factor,
    draws_of,
    parameters_of,
)
from mrirecon.scan import Volume


def scores_of(volume: Volume, target: Float[Tensor, "slice y x"]) -> list[float]:
    """For each of `LEVELS` the least multiple of the standard deviation that holds this share of the head's pixels."""
    inside = find_head(target)
    error, std = (volume.image[0].abs() - target).abs(), volume.extras["std"][0]
    ratios = (error / std.clamp_min(1e-6 * float(target.max())))[inside]
    return [float(x) for x in np.quantile(ratios.numpy(), LEVELS, method="higher")]


def write_error_bars(folder: Path, results: Sequence[tuple[Cell, Record, str]]) -> list[Path]:
    """Write a calibration file for each method that has error bars: `error_bars/METHOD.json`.

    Of a scan with several seeds or noise levels the largest score counts.

    Raises:
        OSError: if a file cannot be written.
    """
    written = []
    for name in dict.fromkeys(cell.method.name for cell, _, _ in results):
        measured = [
            (cell, record)
            for cell, record, _ in results
            if cell.method.name == name and "error_bars" in record
        ]
        if measured:
            path = folder / "error_bars" / f"{_file_name(name)}.json"
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as (part,):
                write_json(part, _widths_of(measured).as_json())
            written.append(path)
    return written


def _widths_of(measured: Sequence[tuple[Cell, Record]]) -> ReferenceWidths:
    masks = []
    for mask in dict.fromkeys(cell.mask.name for cell, _ in measured):
        here = [(cell, record) for cell, record in measured if cell.mask.name == mask]
        by_scan: dict[str, list[list[float]]] = {}
        for cell, record in here:
            by_scan.setdefault(cell.source.name, []).append(record["error_bars"])
        scores = [np.max(of_scan, axis=0) for of_scan in by_scan.values()]
        found = [
            conformal_factor([float(one[n]) for one in scores], level)
            for n, level in enumerate(LEVELS)
        ]
        masks.append(
            _entry(here[0][0], [r["acceleration"]["achieved"] for _, r in here], found, len(scores))
        )
    cell = measured[0][0]
    return ReferenceWidths(cell.method.kind, draws_of(cell.method.build(cell.tuned)), masks)


def _entry(
    cell: Cell,
    accelerations: Sequence[float],
    found: Sequence[tuple[float, float]],
    scans: int,
) -> Widths:
    factors, probability = zip(*found, strict=True)
    return Widths(
        kind=cell.mask.kind,
        acceleration=float(np.mean(accelerations)),
        columns=MASKS[cell.mask.kind].samples == "columns",
        scans=scans,
        parameters=parameters_of(cell.method.build(cell.tuned)),
        sha256=cell.method.sha256(cell.tuned),
        levels=list(LEVELS),
        factors=list(factors),
        probability=list(probability),
    )


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.() " else "_" for c in name)
