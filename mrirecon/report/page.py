"""The HTML report: one file that works offline, with the pictures and every number behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrirecon.io.files import PathLike, printable
from mrirecon.report import facts
from mrirecon.report.curves import curves_of
from mrirecon.report.panels import (
    MOST_PIXELS,
    Item,
    compared,
    evenly,
    least_pixels,
    names_of,
)
from mrirecon.report.pictures import png_of
from mrirecon.report.quality import calibration
from mrirecon.report.statistics import calibration_rows
from mrirecon.report.template import encoded, write_page


def write_report(
    path: PathLike,
    results: Sequence[Item],
    *,
    links: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write the report of reconstructions; those of the same source stand side by side.

    Args:
        path: of the HTML file.
        results: scans, each with one of its reconstructions.
        links: files that belong to it, relative to it, by what they are.
        notes: sentences at the top, without the full stop.
        overwrite: replace an existing file.

    Raises:
        OSError: if the file exists (without `overwrite`) or cannot be written.
    """
    every = by_scan(results)
    shown = evenly(len(every), MOST_PIXELS // max(map(least_pixels, every), default=1))
    sections = [_section(every[index], MOST_PIXELS // len(shown)) for index in shown]
    notes = list(notes)
    if len(shown) < len(every):
        notes.append(
            f"{len(shown)} of {len(every)} scans are shown, evenly spread: the page stays below 15 MB"
        )
    write_page(
        path,
        "report.html",
        overwrite,
        sections=sections,
        notes=notes,
        links=links or {},
    )


def by_scan(results: Sequence[Item]) -> list[list[Item]]:
    """Results whose images can stand side by side: of one source, with as many volumes and slices of the same size."""
    groups: dict[tuple[str, tuple[int, ...]], list[Item]] = defaultdict(list)
    for scan, volume in results:
        groups[scan.source, tuple(volume.image.shape)].append((scan, volume))
    return list(groups.values())


def _section(items: Sequence[Item], most_pixels: int) -> dict[str, Any]:
    """One scan in the report, as the template asks for it."""
    scan, volumes = items[0][0], [volume for _, volume in items]
    names = names_of(items)
    comparison = compared(items, most_pixels)
    errors = any(window.kind == "error" for window in comparison.windows)
    missing = facts.missing(scan, volumes, errors)
    if comparison.reduced > 1:
        missing.append(
            f"pictures at 1/{comparison.reduced} of the resolution, to keep the page small: so are errors and regions"
        )
    rows = [row for name, item in zip(names, items, strict=True) for row in _calibrated(name, item)]
    plots = []
    if rows:
        title = "calibration: the share of pixels in intervals that the standard deviation predicts"
        if any("predicted_std" in row for row in rows):
            title += (
                ", and the error that they predict beside the true one (with few draws even of the right posterior "
                "the curve is flatter than the diagonal: pixels are sorted by an estimate)"
            )
        plots.append((title, encoded(png_of(calibration(rows)))))
    pairs = list(zip(names, volumes, strict=True))
    curves = [curve for pair in pairs for curve in curves_of(*pair)]
    return {
        "title": printable(Path(scan.source).name),
        "about": facts.about(scan, volumes[0]),
        "comparison": comparison,
        "table": facts.table(names, volumes),
        "in_short": facts.in_short(scan, volumes[0]),
        "warnings": facts.warnings(names, volumes),
        "remarks": facts.remarks(volumes),
        "missing": missing,
        "parameters": [(name, facts.parameters(volume)) for name, volume in pairs],
        "plots": plots,
        "curves": [(curve, encoded(png_of(curve.figure()))) for curve in curves],
    }


def _calibrated(name: str, item: Item) -> list[dict[str, object]]:
    scan, volume = item
    if "std" not in volume.extras or "metrics" not in volume.info or scan.reference is None:
        return []
    import torch

    target = torch.stack([scan.reference(index) for index in range(scan.shape[0])])
    error = volume.image[0].abs() - target
    calibration = volume.info.get("left_out", {}).get("calibration", {})
    # Who gives a deviation without calibration draws samples.
    draws = calibration.get("draws") or volume.info["parameters"]["samples"]
    return calibration_rows(volume.extras["std"][0].numpy(), error.numpy(), draws, method=name)
