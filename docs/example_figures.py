"""The pictures that the examples save, and what they print."""

from __future__ import annotations

import io
import os
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib
import records

FOLDER = records.DOCS / "images" / "examples"
CORRELATION, COVERED = "standard deviation", "truth in the 90 % interval: "


def draw() -> None:
    """Run every example where its pictures are kept, and record what it says."""
    matplotlib.use("agg")
    said = {script.stem: run(script) for script in scripts()}
    records.Record(
        what="what the scripts of examples/ print, each of which makes its own data",
        script="python docs/figures.py examples",
        data="embedded",
        made=records.here(),
        seeds={"scan": 0, "draws": 0},
        tolerance={"printed digits": 1},
        numbers=said,
        texts=texts(said["uncertainty"]),
    ).write("examples")


def scripts() -> list[Path]:
    """The examples."""
    return sorted((records.DOCS.parent / "examples").glob("*.py"))


def run(script: Path) -> list[str]:
    """The lines that an example prints."""
    before = Path.cwd()
    os.chdir(FOLDER)
    try:
        with redirect_stdout(io.StringIO()) as said:
            runpy.run_path(str(script), run_name="__main__")
    finally:
        os.chdir(before)
    return said.getvalue().splitlines()


def texts(lines: list[str]) -> dict[str, str]:
    """What the page on uncertainty quotes of its example."""
    correlation = next(line for line in lines if line.startswith(CORRELATION) and "rank" in line)
    covered = next(line for line in lines if line.startswith(COVERED))
    return {
        "rank_correlation": correlation.rpartition(" ")[2],
        "covered": covered.removeprefix(COVERED),
    }
