"""The means of a benchmark as pages for people: Markdown, and one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mrirecon.benchmark.entries import METRICS, Benchmark
from mrirecon.benchmark.pivot import Entry, Row, pivot, ranks
from mrirecon.metrics import PROTOCOLS

QUALITY = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "nmse": ("NMSE", 4)}  # heading, decimals

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 92rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: Canvas; }
td small { opacity: .75; }
.best { font-weight: 700; } .second { text-decoration: underline; } .failed { color: #c44; }
li, dd { overflow-wrap: anywhere; }
"""


class Shown(NamedTuple):
    """One place of a table, ready to be marked up."""

    text: str
    rank: int | None = None
    failed: bool = False


@dataclass(frozen=True)
class Table:
    """A title, a heading for each column, and the rows, the first of each its label."""

    title: str
    headings: list[str]
    rows: list[list[Shown]]


@dataclass(frozen=True)
class Summary:
    """What both pages say."""

    facts: list[str]
    tables: list[Table]
    tuned: list[str]
    warnings: list[str]
    failures: list[str]


def summarise(
    rows: Sequence[Row], benchmark: Benchmark, choices: Sequence[Mapping[str, Any]] = ()
) -> Summary:
    """Means over scans and seeds of every metric under every protocol, the cost of methods, and what failed."""
    scans = list(dict.fromkeys(row["scan"] for row in rows))
    counts = {row["scan"]: row["slices"] for row in rows if row["slices"] is not None}
    noise = sorted({row["noise"] for row in rows})
    where = "inside the support of the coil maps" if benchmark.support else "over the whole image"
    facts = [
        f"{len(scans)} scan(s), {sum(counts.values())} slice(s): {', '.join(scans)}",
        *(f"Protocol {name}: {PROTOCOLS[name]}; {where}" for name in benchmark.protocols),
        "Mean ± standard deviation over the scans and seeds of each place; the best mean of a row is bold, the second "
        "best underlined; what failed anywhere is not ranked",
        "Seconds per slice contain the estimation of coil maps where a method uses them",
        "Research use only: not for diagnosis or treatment",
    ]
    if noise != [0.0]:
        levels = ", ".join(f"{level:g}" for level in noise)
        facts.append(f"Noise added to the k-space, over the bright level of the images: {levels}")
    tables = [
        _quality(rows, protocol, metric) for protocol in benchmark.protocols for metric in QUALITY
    ]
    tuned = [_chosen(choice, noise) for choice in choices if choice["chosen"]]
    failures = [_failure(row, noise) for row in rows if row["failure"]]
    return Summary(facts, [*tables, _cost(rows)], tuned, _warnings(rows, noise), failures)


def markdown(summary: Summary) -> str:
    """The summary as Markdown."""
    parts = ["# Benchmark", "\n".join(f"* {_escaped(fact)}" for fact in summary.facts)]
    for table in summary.tables:
        lines = [
            [_escaped(heading) for heading in table.headings],
            ["---", *["---:"] * (len(table.headings) - 1)],
            *([_marked(shown) for shown in row] for row in table.rows),
        ]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"## {table.title}\n\n{text}")
    for title, items in _lists(summary):
        parts.append(f"## {title}\n\n" + "\n".join(f"* {_escaped(item)}" for item in items))
    return "\n\n".join(parts) + "\n"


def page(summary: Summary) -> str:
    """The summary as an HTML page."""
    parts = [
        "<h1>Benchmark</h1>",
        '<p><a href="report.html">Pictures and plots</a></p>',
        _listed(summary.facts),
    ]
    for table in summary.tables:
        head = "".join(f"<th>{html.escape(heading)}</th>" for heading in table.headings)
        body = "".join(f"<tr>{''.join(_cell(shown) for shown in row)}</tr>\n" for row in table.rows)
        parts.append(
            f"<h2>{html.escape(table.title)}</h2>\n<div class=wide><table>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
        )
    for title, lines in _lists(summary):
        parts.append(f"<h2>{title}</h2>\n{_listed(lines)}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>mrirecon benchmark</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _quality(rows: Sequence[Row], protocol: str, metric: str) -> Table:
    heading, digits = QUALITY[metric]
    noise = sorted({row["noise"] for row in rows})
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = []
    for (mask, level), across in pivot(rows, f"{protocol}_{metric}").items():
        rank = ranks(across, METRICS[metric])
        places = [_shown(across[name], digits, rank.get(name)) for name in methods]
        lines.append([Shown(_label(mask, level, noise)), *places])
    return Table(f"{heading} ({protocol})", ["mask", *methods], lines)


def _cost(rows: Sequence[Row]) -> Table:
    lines = []
    seconds = pivot(rows, "seconds_per_slice", index=("method",))
    evaluations = pivot(rows, "network_evaluations", index=("method",))
    for (method,), across in seconds.items():
        of_method = [row for row in rows if row["method"] == method]
        memory = [row["peak_memory_mb"] for row in of_method if row["peak_memory_mb"] is not None]
        failed = sum(bool(row["failure"]) for row in of_method)
        lines.append(
            [
                Shown(method),
                _shown(across[method], 3),
                _shown(evaluations[method,][method]._replace(std=None, failed=0), 0),
                Shown(f"{max(memory):.0f}" if memory else "unknown"),
                Shown(str(failed), failed=failed > 0),
            ]
        )
    headings = ["method", "seconds per slice", "network evaluations per slice"]
    return Table("Cost", [*headings, "peak memory, MB", "failed cells"], lines)


def _shown(entry: Entry, digits: int, rank: int | None = None) -> Shown:
    if entry.mean is None:
        return Shown("failed" if entry.failed else "none", failed=entry.failed > 0)
    text = f"{entry.mean:.{digits}f}"
    if entry.std is not None:
        text += f" ± {entry.std:.{digits}f}"
    if entry.failed:
        text += f" ({entry.failed} of {entry.made + entry.failed} failed)"
    return Shown(text, rank, entry.failed > 0)


def _label(mask: str, level: float, noise: Sequence[float]) -> str:
    return f"{mask}, noise {level:g}" if len(noise) > 1 else mask


def _chosen(choice: Mapping[str, Any], noise: Sequence[float]) -> str:
    """What tuning chose, and whether better values may lie beyond those tried."""
    parts = []
    for name, value in choice["chosen"].items():
        tried = {entry["options"][name] for entry in choice["tried"]}
        numbers = all(isinstance(one, (int, float)) for one in tried) and len(tried) > 2
        end = numbers and value in (min(tried), max(tried))
        parts.append(f"{name} {value}" + (", at the end of the values tried" if end else ""))
    return (
        f"{choice['method']}, {_label(choice['mask'], choice['noise'], noise)}: {'; '.join(parts)}"
    )


def _warnings(rows: Sequence[Row], noise: Sequence[float]) -> list[str]:
    """Where networks see what they were not trained for, one line for each method, mask and noise level."""
    places: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        places.setdefault((row["method"], row["mask"], row["noise"]), []).append(row)
    lines = []
    for (method, mask, level), of_place in places.items():
        if found := [row["warnings"][0] for row in of_place if row["warnings"]]:
            share = f"{len(found)} of {len(of_place)}"
            lines.append(f"{method}, {_label(mask, level, noise)} ({share}): such as {found[0]}")
    return lines


def _failure(row: Row, noise: Sequence[float]) -> str:
    seed = "" if row["seed"] is None else f", seed {row['seed']}"
    place = _label(row["mask"], row["noise"], noise)
    return f"{row['method']}{seed} on {row['scan']}, {place}: {row['failure']}"


def _lists(summary: Summary) -> list[tuple[str, list[str]]]:
    named = [
        ("Tuned options", summary.tuned),
        ("Outside of what weights were trained for", summary.warnings),
        ("Failures", summary.failures),
    ]
    return [(title, lines) for title, lines in named if lines]


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return (
        html.escape(text, quote=False).replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
    )


def _marked(shown: Shown) -> str:
    text = _escaped(shown.text)
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(shown.rank or 0, text)


def _cell(shown: Shown) -> str:
    kind = "failed" if shown.failed else {1: "best", 2: "second"}.get(shown.rank or 0, "")
    mean, plus_minus, std = html.escape(shown.text).partition(" ± ")
    text = f"{mean} <small>± {std}</small>" if plus_minus else mean
    return f"<td{f' class={kind}' if kind else ''}>{text}</td>"


def _listed(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
