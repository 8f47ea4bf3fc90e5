"""Make the figures of the documentation anew, with the records that pages quote.

`python docs/figures.py` makes all, `python docs/figures.py masks text` some. The figures of `methods`, `masks`, `demo`,
`examples` and `screens` come from the embedded scan, which a clone has. Numbers measured on other data have records
too (docs/records), with the script of measurements/ that made them; they are not measured here.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path

import choice_figures
import demo_figures
import mask_figures
import method_figures
import records


def examples() -> None:
    """The pictures that the examples save, by running them where these are kept."""
    root, before = records.DOCS.parent, Path.cwd()
    os.chdir(records.DOCS / "images" / "examples")
    try:
        for script in sorted((root / "examples").glob("*.py")):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        os.chdir(before)


def text() -> None:
    """What pages quote of the records."""
    for page in records.pages():
        written = page.read_text("utf-8")
        page.write_text(records.filled(written), "utf-8")


PARTS = {
    "masks": mask_figures.draw,
    "methods": method_figures.draw,
    "demo": demo_figures.draw,
    "examples": examples,
    "choice": choice_figures.draw,
    "text": text,
}


def main(args: list[str] | None = None) -> None:
    """Make the parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)}; all of them by default")
    chosen = parser.parse_args(args).part or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
