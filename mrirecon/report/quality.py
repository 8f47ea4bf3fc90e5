"""Plots of tables: quality against acceleration, cost and scan, and the calibration of uncertainty.

A table is a sequence of rows, dicts of one result each, with `method` and whichever of `mask_kind` (else `mask`),
`acceleration`, `noise`, `scan`, `seconds_per_slice`, `network_evaluations` and metrics there are. A metric is
`psnr`, `ssim`, `nmse`, `nrmse`, or one of them after the name of its protocol, such as `fastmri_psnr`. Rows without a
number that a plot needs (such as failures) are left out of it, and how many is said in the figure.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from mrirecon.brief import counted
from mrirecon.intervals import mean_interval
from mrirecon.report.pictures import empty_figure
from mrirecon.report.statistics import pareto_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

LABELS = {
    "psnr": "PSNR / dB",
    "ssim": "SSIM",
    "nmse": "NMSE",
    "nrmse": "NRMSE",
    "acceleration": "acceleration",
    "seconds_per_slice": "seconds per slice",
    "network_evaluations": "network evaluations per slice",
}
LOWER_IS_BETTER = ("nmse", "nrmse")  # endings of keys
# Okabe & Ito's colours, told apart by every kind of colour vision; markers and dashes say the same again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8F8A00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
DASHES = ("-", "--", "-.", ":")
FEW_SCANS = 5  # with fewer, Student's intervals would leave no room for the means to differ


def quality_against_acceleration(rows: Sequence[Row], metric: str = "psnr") -> Figure:
    """Mean over scans with its 95 % interval, a line per method, a panel per mask kind; of few scans a dot each.

    Masks of one kind and acceleration get a panel each. Give rows of one noise level.

    Raises:
        ValueError: if no row has the metric and an acceleration.
    """
    kept = _complete(rows, metric, "acceleration")
    panel = _panels(kept)
    masks = list(dict.fromkeys(map(panel, kept)))
    methods, scans = _methods(kept), len(_split(kept, "scan"))
    figure = _figure(3.6 * len(masks), methods)
    axes = figure.subplots(1, len(masks), squeeze=False, sharey=True)[0]
    every = sorted({float(row["acceleration"]) for row in kept})
    # Side by side, within a quarter of the smallest step, so that intervals do not hide each other.
    step = min((b - a for a, b in pairwise(every)), default=1.0)
    aside = np.linspace(-step / 8, step / 8, len(methods)) if len(methods) > 1 else [0.0]
    for axis, mask in zip(axes, masks, strict=True):
        for number, method in enumerate(methods):
            own = [row for row in kept if row["method"] == method and panel(row) == mask]
            points = {float(rate): part for rate, part in _split(own, "acceleration").items()}
            if points:
                rates = sorted(points)
                values = [list(_of_scans(points[r], metric).values()) for r in rates]
                means, half = zip(*map(mean_interval, values), strict=True)
                x = [rate + aside[number] for rate in rates]
                style = _style(number)
                if scans < FEW_SCANS:
                    axis.plot(x, means, label=method, **style)
                    each = [(a, value) for a, own in zip(x, values, strict=True) for value in own]
                    axis.scatter(*zip(*each, strict=True), s=9, alpha=0.6, color=style["color"])
                else:
                    axis.errorbar(x, means, half, label=method, capsize=3, **style)
        axis.set_xlabel(LABELS["acceleration"])
        axis.set_xticks(every, [f"{rate:g}" for rate in every])
        axis.set_xlim(every[0] - step / 2, every[-1] + step / 2)
        axis.set_title(mask, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(_label(metric))
    _legend(figure, list(axes))
    note = f"mean of {scans} scans and its 95 % interval (Student)"
    if scans < FEW_SCANS:
        note = "one scan" if scans == 1 else f"mean of {scans} scans, small dots: each scan"
    _note(figure, note + _left_out(rows, kept))
    return figure


def quality_against_cost(
    rows: Sequence[Row], cost: str = "seconds_per_slice", metric: str = "psnr"
) -> Figure:
    """Mean quality of each method against its mean cost, logarithmic, with the Pareto front.

    Means are over pairs of scan and mask, each the mean of its seeds. A method that lacks some pairs, as
    where it failed, may have been spared the hard ones: it is drawn hollow and is not on the front.

    Raises:
        ValueError: if no row has the metric and a positive cost.
    """
    kept = _complete(rows, metric, cost)
    positive = [float(row[cost]) for row in kept if float(row[cost]) > 0]
    if not positive:
        raise ValueError(f"no row has a positive {cost}: there is nothing to plot")
    figure = _figure(4.8, _methods(kept))
    axis = figure.subplots()
    cells, tried = set(map(_cell, rows)), Counter(str(row["method"]) for row in rows)
    whole = []
    for number, (method, own) in enumerate(_split(kept, "method").items()):
        of_cells = defaultdict(list)
        for row in own:
            of_cells[_cell(row)].append([float(row[cost]), float(row[metric])])
        x, y = np.mean([np.mean(points, axis=0) for points in of_cells.values()], axis=0).tolist()
        style = _style(number) | {"linestyle": "none", "markersize": 8}
        if len(of_cells) == len(cells) and len(own) == tried[method]:
            whole.append((x, y))
            axis.plot([x], [y], label=method, **style)
        else:
            axis.plot([x], [y], label=f"{method} (not everywhere)", fillstyle="none", **style)
    if whole:
        best = pareto_front(whole, lower=metric.endswith(LOWER_IS_BETTER))
        axis.plot(
            *zip(*best, strict=True), color="0.5", linewidth=1, zorder=0, label="Pareto front"
        )
    if len(positive) < len(kept):  # 0 has its place left of a linear decade
        decade = 10 ** math.floor(math.log10(min(positive)))
        axis.set_xscale("symlog", linthresh=decade)
        axis.set_xlim(left=-decade / 5)
    else:
        axis.set_xscale("log")
    axis.set_xlabel(_label(cost))
    axis.set_ylabel(_label(metric))
    axis.grid(alpha=0.3, which="both")
    _legend(figure, [axis])
    _note(
        figure, f"mean over {counted(len(cells), 'pair')} of scan and mask" + _left_out(rows, kept)
    )
    return figure


def quality_boxes(rows: Sequence[Row], metric: str = "psnr") -> Figure:
    """A box per method (median, quartiles, 1.5 interquartile ranges) and a point per scan, its mean over seeds.

    Raises:
        ValueError: if no row has the metric.
    """
    kept = _complete(rows, metric)
    methods = _methods(kept)
    scans = list(_split(kept, "scan"))
    figure = _figure(0.6 + 0.8 * len(methods), list(map(str, scans)))
    axis = figure.subplots()
    by_method = _split(kept, "method")
    means = [_of_scans(by_method[method], metric) for method in methods]
    values = [list(found.values()) for found in means]
    axis.boxplot(values, showfliers=False, widths=0.6, medianprops={"color": COLOURS[1]})
    axis.set_xticks(range(1, len(methods) + 1), methods, rotation=35, ha="right", fontsize=9)
    spread = np.linspace(-0.18, 0.18, len(scans)) if len(scans) > 1 else np.zeros(1)
    for number, scan in enumerate(scans):
        own = {place: found[scan] for place, found in enumerate(means, 1) if scan in found}
        x = [place + spread[number] for place in own]
        style = _style(number) | {"linestyle": "none", "markersize": 4, "alpha": 0.7}
        axis.plot(x, list(own.values()), label=str(scan), **style)
    axis.set_ylabel(_label(metric))
    axis.grid(alpha=0.3, axis="y")
    if 1 < len(scans) <= 12:
        _legend(figure, [axis])
    _note(figure, counted(len(scans), "scan") + _left_out(rows, kept))
    return figure


def plots_of(rows: Sequence[Row], metrics: Sequence[str] = ("psnr", "ssim")) -> dict[str, Figure]:
    """Every plot of a table that its rows have the numbers for, by title; noise levels apart.

    Each metric against acceleration and against both costs; the first also of each scan under each mask.
    """
    made, levels = {}, _split(rows, "noise")
    for metric, (level, part) in product(metrics, levels.items()):
        label = _label(metric).replace(" / dB", "")
        noise = f", noise {level or 0:g}" if len(levels) > 1 else ""
        plots: dict[str, Callable[[], Figure]] = {
            f"{label} against acceleration": partial(quality_against_acceleration, part, metric),
            **{
                f"{label} of each scan, {mask or 'any mask'}": partial(quality_boxes, own, metric)
                for mask, own in _split(part, "mask").items()
                if metric == metrics[0]
            },
            f"{label} against seconds": partial(
                quality_against_cost, part, "seconds_per_slice", metric
            ),
            f"{label} against network evaluations": partial(
                quality_against_cost, part, "network_evaluations", metric
            ),
        }
        for title, plot in plots.items():
            with suppress(ValueError):  # no row has the numbers
                made[title + noise] = plot()
    return made


def calibration(rows: Sequence[Row]) -> Figure:
    """Nominal against real coverage, and predicted against true error of who drew enough; the diagonal is perfect.

    Raises:
        ValueError: if there are no rows of `calibration_rows`.
    """
    binned = [row for row in rows if row.get("predicted_std") is not None]
    covered = [row for row in rows if row.get("coverage") is not None]
    if not covered:
        raise ValueError("no row has nominal and coverage: there is nothing to plot")
    panels = [(covered, ("nominal", "coverage"), "nominal coverage", "share of pixels covered")]
    if binned:
        labels = ("predicted standard deviation (a.u.)", "root mean square error (a.u.)")
        panels.append((binned, ("predicted_std", "true_error"), *labels))
    methods = _methods(rows)
    figure = _figure(3.3 * len(panels), methods)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (kept, keys, x, y) in zip(axes, panels, strict=True):
        for method, own in _split(kept, "method").items():
            style = _style(methods.index(method)) | {"markersize": 4}
            axis.plot(*_columns(own, *keys), label=method, **style)
        end = 1.0 if kept is covered else 1.05 * max(map(max, _columns(kept, *keys)))
        axis.plot([0, end], [0, end], color="0.5", linewidth=1, zorder=0, label="perfect")
        axis.set(xlim=(0, end), ylim=(0, end), xlabel=x, ylabel=y)
        axis.grid(alpha=0.3)
    _legend(figure, list(axes))
    return figure


def _complete(rows: Sequence[Row], *keys: str) -> list[Row]:
    """Rows with a finite number for each key."""
    kept = [row for row in rows if all(_is_number(row.get(key)) for key in keys)]
    if not kept:
        raise ValueError(f"no row has {' and '.join(keys)}: there is nothing to plot")
    return kept


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["method"]) for row in rows))


def _cell(row: Row) -> tuple[Any, ...]:
    """What methods have in common: a scan, and how it was undersampled."""
    return tuple(row.get(key) for key in ("scan", "mask", "mask_seed", "acceleration", "noise"))


def _mask(row: Row) -> str:
    return str(row.get("mask_kind") or row.get("mask") or "")


def _panels(rows: Sequence[Row]) -> Callable[[Row], str]:
    """What names the panel of a row: the kind of its mask, or the mask where two of the kind share an acceleration."""
    found: dict[tuple[str, float], set[Any]] = defaultdict(set)
    for row in rows:
        found[_mask(row), float(row["acceleration"])].add(row.get("mask"))
    apart = {kind for (kind, _), masks in found.items() if len(masks) > 1}
    return lambda row: str(row["mask"]) if _mask(row) in apart else _mask(row)


def _split(rows: Sequence[Row], key: str) -> dict[Any, list[Row]]:
    """The rows of each value of a column."""
    parts: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.get(key)].append(row)
    return parts


def _of_scans(rows: Sequence[Row], metric: str) -> dict[Any, float]:
    """Each scan's mean: its seeds are no further scans."""
    parts = _split(rows, "scan")
    return {scan: float(np.mean([float(r[metric]) for r in own])) for scan, own in parts.items()}


def _label(key: str) -> str:
    """`fastmri_psnr` -> PSNR / dB (fastmri)."""
    protocol, _, metric = key.rpartition("_")
    if key in LABELS or metric not in LABELS:
        return LABELS.get(key, key.replace("_", " "))
    return f"{LABELS[metric]} ({protocol})"


def _columns(rows: Sequence[Row], *keys: str) -> list[list[float]]:
    return [[float(row[key]) for row in rows] for key in keys]


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }


def _figure(width_inches: float, legend: Sequence[str]) -> Figure:
    """A figure with room for its panels and, at the right, as many lines of legend."""
    letters = max(map(len, legend))
    return empty_figure(width_inches + 0.8 + 0.075 * letters, max(3.6, 1.2 + 0.19 * len(legend)))


def _note(figure: Figure, text: str) -> None:
    """What the plot is of, below everything: above, a long line would meet the legend."""
    figure.supxlabel(text, fontsize=8, color="0.3")


def _legend(figure: Figure, axes: Sequence[Any]) -> None:
    """One legend beside all panels, of everything that is in any of them."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(list(found.values()), list(found), loc="outside right center", fontsize=8)


def _left_out(rows: Sequence[Row], kept: Sequence[Row]) -> str:
    failed = sum(bool(row.get("failure")) for row in rows)
    other = len(rows) - len(kept) - failed
    parts = [f"{failed} that failed"] * (failed > 0) + [f"{other} without these numbers"] * (
        other > 0
    )
    return f"; rows left out: {', '.join(parts)}" if parts else ""
