"""Tuning: every combination of the values to try, on scans that are not in the table, separately for each mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrirecon.benchmark.cells import Cell, Record, cells_of
from mrirecon.benchmark.plan import METRICS, Benchmark

Place = tuple[str, str, float]  # method, mask, noise level
# What was tried at a place with its score, and what was chosen; None if all failed.
Choice = dict[str, Any]


def trials_of(benchmark: Benchmark) -> list[Cell]:
    """Cells on the tuning scans, one for each combination; of several seeds the first is taken."""
    methods = [method for method in benchmark.methods if method.tune]
    return [
        replace(cell, tuned=options)
        for cell in cells_of(benchmark, benchmark.tuning_scans, methods)
        if cell.is_first
        for options in cell.method.grid
    ]


def choose(trials: Sequence[tuple[Cell, Record]], benchmark: Benchmark) -> dict[Place, Choice]:
    """The combination that is best on the tuning scans, for every method, mask and noise level.

    Best is the mean of the metric over the tuning scans. A combination that fails on one of them is out.
    """
    results: dict[Place, list[tuple[Cell, Record]]] = {}
    for trial, record in trials:
        results.setdefault(_place(trial), []).append((trial, record))
    return {place: _best(place, tried, benchmark) for place, tried in results.items()}


def with_choices(cells: Iterable[Cell], choices: Mapping[Place, Choice]) -> list[Cell]:
    """The cells with what was chosen; where nothing could be, the cell says so."""
    found = []
    for cell in cells:
        choice = choices.get(_place(cell), {"chosen": {}})
        if (tuned := choice["chosen"]) is None:
            reason = choice["tried"][0]["failure"]
            cell = replace(cell, failed=f"tuning failed with every combination: {reason}")
        found.append(replace(cell, tuned=tuned or {}))
    return found


def _place(cell: Cell) -> Place:
    return cell.method.name, cell.mask.name, cell.noise


def _best(place: Place, trials: Sequence[tuple[Cell, Record]], benchmark: Benchmark) -> Choice:
    wanted = benchmark.tuning
    tried: list[dict[str, Any]] = []
    for options in trials[0][0].method.grid:
        records = [record for trial, record in trials if trial.tuned == options]
        failure = next((record["failure"] for record in records if "failure" in record), None)
        score = None
        if failure is None:
            values = [record["metrics"][wanted.protocol][wanted.metric] for record in records]
            score = sum(values) / len(values)
        tried.append({"options": options, "score": score, "failure": failure})
    known = [entry for entry in tried if entry["score"] is not None]
    better = max if METRICS[wanted.metric] else min
    return {
        **dict(zip(("method", "mask", "noise"), place, strict=True)),
        "scans": [source.path for source in benchmark.tuning_scans],
        "slices": wanted.slices,
        "middle": wanted.middle,
        "protocol": wanted.protocol,
        "metric": wanted.metric,
        "tried": tried,
        "chosen": better(known, key=lambda entry: entry["score"])["options"] if known else None,
    }
