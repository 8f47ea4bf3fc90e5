"""The tables of docs/which-method.md and sentences of other pages, picked from the records of what was measured."""

from __future__ import annotations

import re

import records

METHODS = ("cg_sense", "l1_wavelet", "tv", "varnet", "unrolled_prior", "dds", "pnp_admm")
MASKS = {
    "uniform1d_x4": "random columns x4",
    "gaussian1d_x8": "Gaussian columns x8",
    "poisson_x8": "Poisson disk x8",
    "poisson_x15": "Poisson disk x15",
}
ON_REAL_BRAIN = {  # name of the sentence: row of the table
    "tv": "`tv`",
    "tv_auto": "`tv`, weight `auto`",
    "l1_wavelet": "`l1_wavelet`",
    "l1_wavelet_auto": "`l1_wavelet`, weight `auto`",
    "varnet": "`varnet`, weights that come along",
    "humus": "`humus`, weights that come along",
    "unrolled_prior": "`unrolled_prior`",
    "unrolled_prior_adapted": "`unrolled_prior`, `--adapt auto`",
}


def draw() -> None:
    """Write the record that the page quotes."""
    record().write("choice")


def record() -> records.Record:
    """The tables and sentences, from the records of what was measured."""
    return records.Record(
        what="what other records say, put together for pages that compare methods in a sentence",
        script="python docs/figures.py choice",
        data="embedded",
        made={"from": ["gallery", "networks", "coverage", "real_brain", "oracle"]},
        tolerance={"cells": 0},
        tables={"simulated": _simulated(), "error_bars": _error_bars()},
        texts={**_texts(), **_of_networks(), **_of_real_brain(), **_of_spreads()},
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


def _of_networks() -> dict[str, str]:
    table = records.read("networks").tables["uniform1d"]
    rows = [dict(zip(table["head"], row, strict=True)) for row in table["rows"]]
    slow, fast = ({name: _decibels(cell) for name, cell in row.items()} for row in rows)
    below = [f"{row['`varnet`'] - row['`humus`']:.2f}" for row in (slow, fast)]
    return {
        "humus_below_varnet": f"{below[0]} dB (R = 4) and {below[1]} dB (R = 8)",
        "unet_over_humus": f"{fast['`unet`'] - fast['`humus`']:.2f}",
    }


def _decibels(cell: str) -> float:
    return float(cell.split()[0]) if " dB" in cell else float("nan")


def _of_real_brain() -> dict[str, str]:
    rows = {row[0]: ", ".join(row[1:]) for row in records.read("real_brain").tables["psnr"]["rows"]}
    return {f"real_brain_{name}": rows[row] for name, row in ON_REAL_BRAIN.items()}


def _of_spreads() -> dict[str, str]:
    ratios = {row[0]: row[5] for row in records.read("oracle").tables["samplers"]["rows"]}
    missing = [round(100 * (1 - float(ratios[f"`{name}`"]))) for name in ("dds", "ddnm", "ddrm")]
    held = [row[5] for row in records.read("coverage").tables["one_image"]["rows"]]
    shares = [int(share) for cell in held for share in re.findall(r"\d+", cell)]
    return {
        "draws_spread_too_little": f"{min(missing)} to {max(missing)} %",
        "one_image_held": f"{len(shares)} of the table is {sum(shares) / len(shares):.0f} %, "
        f"{min(shares)} to {max(shares)} %",
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
