"""Tuning: every combination of the values to try, on scans that are not in the table, separately for each mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mrirecon.benchmark.cells import Cell, Record, cells_of
from mrirecon.benchmark.entries import METRICS, Benchmark, Tuning

Place = tuple[str, str, float]  # method, mask, noise level


def trials_of(benchmark: Benchmark) -> list[Cell]:
    """Cells on the tuning scans, one for each combination; of several seeds the first is taken."""
    methods = [method for method in benchmark.methods if method.tune]
    if not methods:
        return []
    return [
        replace(cell, tuned=options)
        for cell in cells_of(benchmark, benchmark.tuning_scans, methods)
        if cell.mask_seed == cell.mask.seeds[0] and cell.seed in (None, *cell.method.seeds[:1])
        for options in cell.method.grid
    ]


@dataclass(frozen=True)
class Choice:
    """What tuning found for one method, mask and noise level.

    Attributes:
        about: method, mask, noise, scans, metric, what was tried with its score, and what was chosen.
        options: the combination chosen.
        failed: why there is none.
    """

    about: Mapping[str, Any]
    options: Mapping[str, Any]
    failed: str | None


def choose(
    trials: Sequence[Cell], records: Sequence[Record], benchmark: Benchmark
) -> dict[Place, Choice]:
    """The combination that is best on the tuning scans, for every method, mask and noise level.

    Best is the mean of the metric over the tuning scans. A combination that fails on one of them is out.
    """
    results: dict[Place, list[tuple[Cell, Record]]] = {}
    for trial, record in zip(trials, records, strict=True):
        results.setdefault(_place(trial), []).append((trial, record))
    return {place: _best(place, tried, benchmark) for place, tried in results.items()}


def with_choices(cells: Iterable[Cell], choices: Mapping[Place, Choice]) -> list[Cell]:
    """The cells with what was chosen; where nothing could be, the cell says so."""
    found = []
    for cell in cells:
        choice = choices.get(_place(cell))
        if choice is not None:
            cell = replace(cell, tuned=choice.options, failed=choice.failed)
        found.append(cell)
    return found


def _place(cell: Cell) -> Place:
    return cell.method.name, cell.mask.name, cell.noise


def _best(place: Place, tried: Sequence[tuple[Cell, Record]], benchmark: Benchmark) -> Choice:
    wanted = benchmark.tuning
    scores: list[dict[str, Any]] = []
    for options in tried[0][0].method.grid:
        records = [record for trial, record in tried if trial.tuned == options]
        failure = next((record["failure"] for record in records if "failure" in record), None)
        values = [] if failure else [_score(record, wanted) for record in records]
        score = sum(values) / len(values) if values else None
        scores.append({"options": options, "score": score, "failure": failure})
    known = [entry for entry in scores if entry["score"] is not None]
    better = max if METRICS[wanted.metric] else min
    best = better(known, key=lambda entry: entry["score"])["options"] if known else {}
    reason = f"tuning failed with every combination: {scores[0]['failure']}"
    about = {
        **dict(zip(("method", "mask", "noise"), place, strict=True)),
        "scans": [source.path for source in benchmark.tuning_scans],
        "slices": wanted.slices,
        "middle": wanted.middle,
        "protocol": wanted.protocol,
        "metric": wanted.metric,
        "tried": scores,
        "chosen": best or None,
    }
    return Choice(about, best, None if known else reason)


def _score(record: Mapping[str, Any], wanted: Tuning) -> float:
    return float(record["metrics"][wanted.protocol][wanted.metric])
