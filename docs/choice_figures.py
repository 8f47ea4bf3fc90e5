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
    """The tables and sentences, from the records of what was measured."""
    return records.Record(
        what="what other records say, put together for the page on which method to take",
        script="python docs/figures.py choice",
        data="embedded",
        made={"from": ["gallery", "networks", "coverage"]},
        tolerance={"cells": 0},
        tables={"simulated": _simulated(), "error_bars": _error_bars()},
        texts=_texts(),
    )


def _simulated() -> records.Table:
    rows = []
    for name in METHODS:
        means = [f"{_psnr(name, mask):.2f}" for mask in MASKS]
        rows.append([f"[`{name}`](methods/{name}.md)", *means, _row(name, "uniform1d_x4")[6]])
    return records.table(["method", *MASKS.values(), "seconds per slice, CPU"], rows)


def _texts() -> dict[str, str]:
    noisy = records.read("networks").tables["uniform1d"]
    values = dict(zip(noisy["head"], noisy["rows"][0], strict=True))
    varnet, tv = (float(values[key].split()[0]) for key in ("`varnet`", "tuned `tv`"))
    gains = [
        _psnr("dds", mask) - max(_psnr("tv", mask), _psnr("l1_wavelet", mask)) for mask in MASKS
    ]
    seconds = {name: _row(name, "uniform1d_x4")[6] for name in ("dds", "unrolled_prior", "dps")}
    said = [_tenth(gain) for gain in gains]
    return {
        "varnet_over_tv_noisy": _tenth(varnet - tv),
        "tv_over_varnet_quiet": _tenth(
            _psnr("tv", "uniform1d_x4") - _psnr("varnet", "uniform1d_x4")
        ),
        "dds_gain": f"{', '.join(said[:-1])} and {said[-1]} dB",
        **{f"{name}_seconds": _tenth(float(value)) for name, value in seconds.items()},
    }


def _row(name: str, mask: str) -> list[str]:
    rows = records.read("gallery").tables[mask]["rows"]
    return next(row for row in rows if row[0] == f"`{name}`")


def _psnr(name: str, mask: str) -> float:
    return float(_row(name, mask)[1].partition(" ±")[0])


def _tenth(value: float) -> str:
    return f"{value + 1e-9:.1f}"  # halves up, as one rounds by hand


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
