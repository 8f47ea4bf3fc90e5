"""The long-form table as files, and its means as pages: table.csv, table.jsonl, table.md, table.html."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrirecon.benchmark.cells import COST, Cell, Record
from mrirecon.benchmark.entries import METRICS, Benchmark
from mrirecon.benchmark.pages import markdown, page, summarise
from mrirecon.benchmark.pivot import Row
from mrirecon.io.files import PathLike, existing_file, replacing, write_json
from mrirecon.weights.card import OUTSIDE

# columns of every table; those of the metrics follow, PROTOCOL_METRIC each
COLUMNS = (
    "scan",
    "source",
    "slices",
    "coils",
    "mask",
    "mask_kind",
    "acceleration",
    "acceleration_achieved",
    "mask_seed",
    "noise",
    "method",
    "method_kind",
    "seed",
    "tuned",
    "weights",
    "seconds_per_slice",
    "network_evaluations",
    "peak_memory_mb",
    "data_residual",
    "warnings",
    "failure",
    "cell",
)


def row_of(cell: Cell, record: Record, key: str) -> Row:
    """The row of a cell: its labels, and the numbers of its record."""
    failure = record.get("failure")
    acceleration = record.get("acceleration", {})
    row: Row = {
        "scan": cell.source.name,
        "source": cell.source.path,
        "slices": record.get("slices"),
        "coils": record["kspace_shape"][1] if "kspace_shape" in record else None,
        "mask": cell.mask.name,
        "mask_kind": cell.mask.kind,
        "acceleration": cell.mask.acceleration,
        "acceleration_achieved": acceleration.get("achieved"),
        "mask_seed": cell.mask_seed,
        "noise": cell.noise,
        "method": cell.method.name,
        "method_kind": cell.method.method,
        "seed": cell.seed,
        "tuned": dict(cell.tuned),
        "weights": cell.method.weights(cell.tuned),
        **{name: record.get(name) for name in (*COST, "data_residual")},
        "warnings": [note for note in record.get("notes", ()) if OUTSIDE in note],
        "failure": failure,
        "cell": key,
    }
    for protocol in record["request"]["protocols"]:
        scores = record.get("metrics", {}).get(protocol, {})
        row |= {f"{protocol}_{metric}": scores.get(metric) for metric in METRICS}
    return row


def read_rows(folder: PathLike) -> list[Row]:
    """The long-form table of a finished benchmark: one dict per cell with `COLUMNS` and PROTOCOL_METRIC each.

    Raises:
        OSError: if there is none.
        ValueError: if it is damaged.
    """
    path = existing_file(Path(folder) / "table.jsonl")
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise ValueError(f"{path} is damaged: make it again with mrirecon benchmark") from error


def write_tables(
    folder: Path, rows: Sequence[Row], benchmark: Benchmark, choices: Sequence[Any]
) -> None:
    """Write the four tables, and tuning.json where something was tuned; each appears whole or not at all."""
    summary = summarise(rows, benchmark, choices)
    texts = {
        "table.csv": _csv(rows),
        "table.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "table.md": markdown(summary),
        "table.html": page(summary),
    }
    for name, text in texts.items():
        with replacing(folder / name) as (part,):
            part.write_text(text, encoding="utf-8")
    if choices:
        with replacing(folder / "tuning.json") as (part,):
            write_json(part, {"choices": choices})


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        nested = {
            name: json.dumps(row[name]) if row[name] else "" for name in ("tuned", "warnings")
        }
        writer.writerow({**row, **nested})
    return text.getvalue()
