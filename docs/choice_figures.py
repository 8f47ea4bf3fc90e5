"""The tables of docs/which-method.md, picked from the records of what was measured."""

from __future__ import annotations

import records

METHODS = ("cg_sense", "l1_wavelet", "tv", "varnet", "unrolled_prior", "dds", "pnp_admm")
MASKS = {
    "uniform1d_x4": "random columns x4",
    "gaussian1d_x8": "Gaussian columns x8",
    "poisson_x8": "Poisson disk x8",
    "poisson_x15": "Poisson disk x15",
}


def draw() -> None:
    """Write the record that the page quotes."""
    record().write("choice")


def record() -> records.Record:
    """The tables, from the records `gallery`, `real_brain` and `coverage`."""
    return records.Record(
        what="what the records gallery, real_brain and coverage say, put together for the page on which method to take",
        script="python docs/figures.py choice",
        data="embedded",
        made={"from": ["gallery", "real_brain", "coverage"]},
        tolerance={"cells": 0},
        tables={"simulated": _simulated(), "error_bars": _error_bars()},
    )


def _simulated() -> records.Table:
    tables = records.read("gallery").tables
    rows = []
    for name in METHODS:
        found = [next(row for row in tables[key]["rows"] if row[0] == f"`{name}`") for key in MASKS]
        means = [row[1].partition(" ±")[0] for row in found]
        rows.append([f"[`{name}`](methods/{name}.md)", *means, found[0][6]])
    return records.table(["method", *MASKS.values(), "seconds per slice, CPU"], rows)


def _error_bars() -> records.Table:
    tables, rows, method = records.read("coverage").tables, [], ""
    for row in tables["one_image"]["rows"]:
        method = row[0] or method
        if row[1] in ("equispaced x4", "gaussian1d x8", "poisson x8"):
            rows.append([method, row[1], row[2], row[5].replace("*", ""), row[6]])
    for row in tables["draws"]["rows"][:1]:
        rows.append([f"{row[0]}, 8 draws", row[1], row[2], row[3], row[4]])
    head = ["method", "mask", "held before", "held after", "rank correlation with the error"]
    return records.table(head, rows)
