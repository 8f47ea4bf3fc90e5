"""Make the figures of the documentation anew, with the records that pages quote.

`python docs/figures.py` makes all, `python docs/figures.py masks text` some. The figures of `masks`, `methods`,
`regular`, `demo`, `examples`, `notebooks` and `lesion_example` come from the embedded scan, which a clone has. Numbers
measured on other data have records too (docs/records), with the script of measurements/ that made them; they are not
measured here.
"""

from __future__ import annotations

import argparse
import sys

import choice_figures
import demo_figures
import example_figures
import growth_figures
import lesion_figures
import mask_figures
import method_figures
import notebook_pages
import records


def text() -> None:
    """What pages quote of the records."""
    for page in records.pages():
        written = page.read_text("utf-8")
        page.write_text(records.filled(written), "utf-8")


PARTS = {
    "masks": mask_figures.draw,
    "methods": method_figures.draw,
    "regular": method_figures.draw_regular,
    "demo": demo_figures.draw,
    "examples": example_figures.draw,
    "notebooks": notebook_pages.draw,
    "choice": choice_figures.draw,
    "growth": growth_figures.draw,
    "lesion_example": lesion_figures.draw,
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
