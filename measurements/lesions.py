"""What methods make of small lesions, and whether maps of trust see where they are wrong: the record of the page.

    mrirecon benchmark --config configs/benchmark/lesions.yaml --scans data/multicoil_val --slices 16:17 \
        --tuning.scans data/multicoil_train --output inserted
    mrirecon benchmark ... --lesions.kind removed --output removed
    python measurements/lesions.py inserted removed

Only what every method of a table did is counted. The area under the curve of a map is the probability that it is larger
at a place where the local contrast is wrong by half a lesion than at another place of the same slice.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from mrirecon.benchmark import read_table
from mrirecon.benchmark.lesions import TRUST, figures_of

ROOT = Path(__file__).parents[1]
HEAD = ["mask", "method", "PSNR, dB", "contrast kept", "lesions lost"]
HEAD += ["other places with one invented", "places wrong", "AUC of std", "AUC of null space"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inserted", type=Path, help="folder of the table")
    parser.add_argument("removed", type=Path, help="that of `--lesions.kind removed`")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "docs"))
    import records

    found = {kind: rows_of(read_table(getattr(args, kind))) for kind in ("inserted", "removed")}
    records.Record(
        what="lesions put into brains and bright spots taken out: contrast kept, lesions invented, and what maps see",
        script="python measurements/lesions.py inserted removed",
        data="slices of patients 19 and 20, simulated with 8 coils, 160 x 160, 30 to 40 dB",
        made=records.here(),
        seeds={"lesions": 0, "masks": "file", "draws": 0, "simulation": 18},
        numbers={kind: figures for kind, (figures, _) in found.items()},
        tables={kind: records.table(HEAD, rows) for kind, (_, rows) in found.items()},
    ).write("lesions")


def rows_of(table: Any) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Figures of each mask and method, and as they are shown."""
    numbers, rows, before = [], [], ""
    for (mask, method), part in table.groupby(["mask", "method"], sort=False):
        judged = list(part["lesions"])
        figures = figures_of(judged)
        wrong, places = (sum(f(one["wrong"]) for one in judged) for f in (sum, len))
        psnr = float(part["fastmri_psnr"].mean())
        counts = {"scans": len(judged), "lesions": sum(len(one["kept"]) for one in judged)}
        counts |= {"wrong": wrong, "places": places}
        known = {name: None if math.isnan(x) else round(x, 4) for name, x in figures.items()}
        numbers.append({"mask": mask, "method": method, "psnr": round(psnr, 3), **counts, **known})
        lost = round(figures["lost"] * counts["lesions"])
        areas = [known[f"auc_{name}"] for name in TRUST]
        rows.append(
            [
                mask if mask != before else "",
                f"`{method}`",
                f"{psnr:.2f}",
                f"{figures['kept']:.0%}",
                f"{lost} of {counts['lesions']}",
                f"{figures['invented']:.1%}",
                f"{wrong} of {places}",
                *("" if area is None else f"{area:.2f}" for area in areas),
            ]
        )
        before = mask
    return numbers, rows


if __name__ == "__main__":
    main()
