"""The long-form table as files and as a DataFrame, and its means as pages: table.csv, .jsonl, .md and .html."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mrirecon.benchmark.cells import COST, Cell, Record
from mrirecon.benchmark.lesions import TRUST, figures_of
from mrirecon.benchmark.plan import METRICS, Benchmark
from mrirecon.brief import counted
from mrirecon.io.files import PathLike, existing_file, replacing, write_json
from mrirecon.metrics import PROTOCOLS
from mrirecon.report.template import RESEARCH_ONLY, encoded, write_page
from mrirecon.weights.card import OUTSIDE

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
COUNTS = ("slices", "coils", "seed")  # whole numbers, unknown in some rows
NUMBERS = ("acceleration", "acceleration_achieved", "noise", *COST, "data_residual")
QUALITY = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "nmse": ("NMSE", 4)}  # heading, decimals


def row_of(cell: Cell, record: Record, key: str) -> Row:
    """The row of a cell: its labels, and the numbers of its record."""
    row: Row = {
        "scan": cell.source.name,
        "source": cell.source.path,
        "slices": record.get("slices"),
        "coils": record["kspace_shape"][1] if "kspace_shape" in record else None,
        "mask": cell.mask.name,
        "mask_kind": cell.mask.kind,
        "acceleration": cell.mask.acceleration,
        "acceleration_achieved": record.get("acceleration", {}).get("achieved"),
        "mask_seed": cell.mask_seed,
        "noise": cell.noise,
        "method": cell.method.name,
        "method_kind": cell.method.kind,
        "seed": cell.seed,
        "tuned": dict(cell.tuned),
        "weights": cell.method.build(cell.tuned).parameters().get("weights"),
        **{name: record.get(name) for name in (*COST, "data_residual")},
        "warnings": [note for note in record.get("notes", ()) if OUTSIDE in note],
        "failure": record.get("failure"),
        "cell": key,
    }
    for protocol in record["request"]["protocols"]:
        scores = record.get("metrics", {}).get(protocol, {})
        row |= {f"{protocol}_{metric}": scores.get(metric) for metric in METRICS}
    if "lesions" in record["request"]:
        row["lesions"] = record.get("lesions")
    return row


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The long-form table: a row for each cell; what is unknown is missing in numbers and None elsewhere."""
    import pandas as pd

    table = pd.DataFrame(rows, dtype=object)
    metrics = [name for name in table if name.endswith(tuple(METRICS))]
    for name in table.columns.intersection([*COUNTS, *NUMBERS, *metrics]):
        table[name] = pd.to_numeric(table[name]).astype("Int64" if name in COUNTS else float)
    return table


def read_table(folder: PathLike) -> pd.DataFrame:
    """The long-form table of a finished benchmark: one row per reconstruction, its metrics as PROTOCOL_METRIC.

    Raises:
        OSError: if there is none.
        ValueError: if it is damaged.

    Example:
        read_table("tables/small").pivot_table("fastmri_psnr", "mask", "method", sort=False)
    """
    path = existing_file(Path(folder) / "table.jsonl")
    try:
        return table_of([json.loads(line) for line in path.read_text("utf-8").splitlines()])
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: make it again with mrirecon benchmark") from error


def means_of(
    table: pd.DataFrame,
    value: str,
    index: Sequence[str] = ("mask", "noise"),
    *,
    larger_is_better: bool = True,
) -> pd.DataFrame:
    """Means of a column, in the order in which the places `index` and the methods appear.

    Gives for each place and method: mean and sample standard deviation over the cells that did not fail, how many were
    made and how many failed, and the rank of the mean at its place, 1 being the best; who failed anywhere has none.
    """
    failed = table["failure"].notna()
    groups = table.assign(value=table[value].mask(failed), failed=failed).groupby(
        list(dict.fromkeys([*index, "method"])), sort=False
    )
    means = groups["value"].agg(["mean", "std", "count"]).rename(columns={"count": "made"})
    means["failed"] = groups["failed"].sum()
    ranked = means["mean"].where(means["failed"] == 0).groupby(level=list(index), sort=False)
    return means.assign(rank=ranked.rank("dense", ascending=not larger_is_better))


class Place(NamedTuple):
    """One place of a table of means: what it says, and whether it is best, second or failed."""

    text: str
    mark: str = ""


Shown = tuple[str, list[str], list[tuple[str, list[Place]]]]  # title, headings, labels with places


class Summary(NamedTuple):
    """What both pages say."""

    facts: list[str]
    tables: list[Shown]
    lists: dict[str, list[str]]  # with their titles


def summarise(
    table: pd.DataFrame, benchmark: Benchmark, choices: Sequence[Mapping[str, Any]] = ()
) -> Summary:
    """Means over scans and seeds of every metric under every protocol, the cost of methods, and what failed."""
    import pandas as pd

    noise, scans = sorted(table["noise"].unique()), table["scan"].unique()

    def label(mask: str, level: float) -> str:
        return f"{mask}, noise {level:g}" if len(noise) > 1 else mask

    table = table.assign(place=list(map(label, table["mask"], table["noise"])))
    support = "support of the coil maps" if benchmark.support is True else benchmark.support
    where = f"inside the {support}" if support else "over the whole image"
    slices = int(table.groupby("scan")["slices"].first().sum())
    facts = [
        f"{counted(len(scans), 'scan')}, {counted(slices, 'slice')}: {', '.join(scans)}",
        *(f"Protocol {name}: {PROTOCOLS[name]}; {where}" for name in benchmark.protocols),
        "Mean ± standard deviation over the scans and seeds of each place; the best mean of a column is bold, the "
        "second best underlined; what failed anywhere is not ranked",
        "Seconds per slice contain the estimation of coil maps where a method uses them",
        RESEARCH_ONLY.removesuffix("."),
    ]
    if noise != [0.0]:
        levels = ", ".join(f"{level:g}" for level in noise)
        facts.append(f"Noise added to the k-space, over the bright level of the images: {levels}")
    lists = {
        "Tuned options": [
            f"{choice['method']}, {label(choice['mask'], choice['noise'])}: {_chosen(choice)}"
            for choice in choices
            if choice["chosen"]
        ],
        "Outside of what weights were trained for": _warnings(table),
        "Failures": [
            f"{row.method}{'' if row.seed is pd.NA else f', seed {row.seed}'} on {row.scan}, {row.place}: {row.failure}"
            for row in table[table["failure"].notna()].itertuples()
        ],
    }
    qualities = [_quality(table, *one) for one in product(benchmark.protocols, QUALITY)]
    lesions = [_lesions(table)] if "lesions" in table else []
    tables = [*qualities, *lesions, _cost(table)]
    return Summary(facts, tables, {k: v for k, v in lists.items() if v})


def write_tables(
    folder: Path,
    rows: Sequence[Row],
    benchmark: Benchmark,
    choices: Sequence[Mapping[str, Any]],
    plots: Mapping[str, bytes],
) -> pd.DataFrame:
    """Write the four tables, with PNGs of plots in the page, and tuning.json where something was tuned.

    Each file appears whole or not at all.
    """
    import pandas as pd

    table = table_of(rows)
    summary = summarise(table, benchmark, choices)
    plain = pd.DataFrame(rows, dtype=object)
    for name in plain.columns.intersection(["tuned", "warnings", "lesions"]):  # mappings and lists
        plain[name] = [json.dumps(value) if value else "" for value in plain[name]]
    texts = {
        "table.csv": plain.to_csv(index=False, lineterminator="\n"),
        "table.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "table.md": markdown(summary),
    }
    for name, text in texts.items():
        with replacing(folder / name) as (part,):
            part.write_text(text, encoding="utf-8")
    drawn = [(title, encoded(png)) for title, png in plots.items()]
    write_page(folder / "table.html", "table.html", overwrite=True, summary=summary, plots=drawn)
    if choices:
        with replacing(folder / "tuning.json") as (part,):
            write_json(part, {"choices": choices})
    return table


def markdown(summary: Summary) -> str:
    """The summary as Markdown."""
    parts = ["# Benchmark", "\n".join(f"* {_escaped(fact)}" for fact in summary.facts)]
    for title, headings, lines in summary.tables:
        cells = [
            [_escaped(heading) for heading in headings],
            ["---", *["---:"] * (len(headings) - 1)],
            *([_escaped(label), *map(_marked, places)] for label, places in lines),
        ]
        text = "\n".join(f"| {' | '.join(line)} |" for line in cells)
        parts.append(f"## {title}\n\n{text}")
    for title, items in summary.lists.items():
        parts.append(f"## {title}\n\n" + "\n".join(f"* {_escaped(item)}" for item in items))
    return "\n\n".join(parts) + "\n"


def _quality(table: pd.DataFrame, protocol: str, metric: str) -> Shown:
    heading, digits = QUALITY[metric]
    means = means_of(table, f"{protocol}_{metric}", ["place"], larger_is_better=METRICS[metric])
    places = list(table["place"].unique())
    lines = []
    for method in table["method"].unique():
        found = means.xs(method, level="method")
        known = {entry.Index: _place(entry, digits) for entry in found.itertuples()}
        lines.append((method, [known.get(place, Place("none")) for place in places]))
    return f"{heading} ({protocol})", ["method", *places], lines


def _lesions(table: pd.DataFrame) -> Shown:
    lines = []
    known = table[table["lesions"].notna()]
    for (place, method), rows in known.groupby(["place", "method"], sort=False):
        figures = figures_of(list(rows["lesions"]))
        cells = [
            "none"
            if math.isnan(value)
            else f"{value:.2f}"
            if name.startswith("auc")
            else f"{value:.0%}"
            for name, value in figures.items()
        ]
        lines.append((f"{method}, {place}", [Place(cell) for cell in cells]))
    headings = ["contrast kept", "lesions lost", "places with one invented"]
    return "Lesions", ["method", *headings, *(f"{name}, AUC" for name in TRUST)], lines


def _cost(table: pd.DataFrame) -> Shown:
    evaluations = means_of(table, "network_evaluations", ["method"])["mean"]
    memory = table.groupby("method")["peak_memory_mb"].max()
    lines = []
    for entry in means_of(table, "seconds_per_slice", ["method"]).assign(rank=None).itertuples():
        places = [
            _place(entry, 3),
            Place(f"{evaluations[entry.Index]:.0f}".replace("nan", "none")),
            Place(f"{memory[entry.Index]:.0f}".replace("nan", "unknown")),
            Place(f"{entry.failed}", "failed" if entry.failed else ""),
        ]
        lines.append((entry.Index, places))
    headings = ["method", "seconds per slice", "network evaluations per slice"]
    return "Cost", [*headings, "peak memory, MB", "failed cells"], lines


def _place(entry: Any, digits: int) -> Place:
    """A row of `means_of` as it is shown."""
    mark = "failed" if entry.failed else {1: "best", 2: "second"}.get(entry.rank, "")
    if not entry.made:
        return Place("failed" if entry.failed else "none", mark)
    text = f"{entry.mean:.{digits}f}"
    if entry.made > 1:
        text += f" ± {entry.std:.{digits}f}"
    if entry.failed:
        text += f" ({entry.failed} of {entry.made + entry.failed} failed)"
    return Place(text, mark)


def _chosen(choice: Mapping[str, Any]) -> str:
    """What tuning chose, and whether better values may lie beyond those tried."""
    parts = []
    for name, value in choice["chosen"].items():
        tried = {entry["options"][name] for entry in choice["tried"]}
        numbers = all(isinstance(one, (int, float)) for one in tried) and len(tried) > 2
        end = numbers and value in (min(tried), max(tried))
        parts.append(f"{name} {value}" + (", at the end of the values tried" if end else ""))
    return "; ".join(parts)


def _warnings(table: pd.DataFrame) -> list[str]:
    """Where networks see what they were not trained for, one line for each method, mask and noise level."""
    lines = []
    for (method, place), rows in table.groupby(["method", "place"], sort=False):
        if found := [warnings[0] for warnings in rows["warnings"] if warnings]:
            lines.append(f"{method}, {place} ({len(found)} of {len(rows)}): such as {found[0]}")
    return lines


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = html.escape(text, quote=False)
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def _marked(place: Place) -> str:
    text = _escaped(place.text)
    return {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(place.mark, text)
