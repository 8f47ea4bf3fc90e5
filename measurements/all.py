"""Every measurement of speed beside peers in one go: medians, ratios and peak memory, as a record of the documentation.

`python measurements/all.py --peers FOLDER` takes some 20 minutes on a quiet machine and writes docs/records/speed.json;
`python docs/figures.py text` then puts its table into docs/cost.md. Each script runs in a process of its own, since
official codes share module names. Without a peer its rows are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "docs"))
import records  # noqa: E402

SCRIPTS = (
    "espirit",
    "classical",
    "poisson",
    "zero_filled",
    "data_pipeline",
    "varnet",
    "humus",
    "priors",
)
OURS = "mrirecon"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", help=f"{', '.join(SCRIPTS)}; others are kept")
    parser.add_argument("--peers", help="folder of clones of official code, named as theirs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    chosen = args.scripts or SCRIPTS
    if unknown := set(chosen) - set(SCRIPTS):
        parser.error(f"{', '.join(sorted(unknown))}: the scripts are {', '.join(SCRIPTS)}")
    timed = [row for script in chosen for row in run(script, args)]
    if args.scripts:
        timed = renewed(timed)
    clock = {"wall": "clock time", "cpu": "processor time"}[args.clock]
    records.Record(
        what=f"Medians of up to {args.repeats} calls in turn, {clock}, {args.threads} threads, and "
        "the peak memory of a call in a fresh process above what it held before.",
        script="python measurements/all.py",
        data="the embedded scan; phantoms and noise of full size",
        made=records.here() | {"peers": peers(args.peers), "cores": os.cpu_count()},
        tables={"table": table(timed)},
        numbers={
            f"{row['case']} / {row['tool']}": [row["seconds"], row["peak_mb"]] for row in timed
        },
    ).write("speed")


def renewed(timed: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows of the record, with those of its cases that were measured again."""
    again = {row["case"] for row in timed}
    kept = []
    for name, (seconds, peak) in records.read("speed").numbers.items():
        case, tool = name.rsplit(" / ", 1)
        if case not in again:
            kept.append({"case": case, "tool": tool, "seconds": seconds, "peak_mb": peak})
    return kept + timed


def run(script: str, args: argparse.Namespace) -> list[dict[str, object]]:
    """The times of a script, which prints them as it goes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "times.json")
        words = [sys.executable, str(HERE / f"{script}.py"), "--json", str(path)]
        for option in ("threads", "clock", "repeats", "peers"):
            if value := getattr(args, option):
                words += [f"--{option}", str(value)]
        subprocess.run(words, check=True)
        return list(json.loads(path.read_text()))


def table(timed: list[dict[str, object]]) -> records.Table:
    """A row for each case: ours, and each peer's time over ours."""
    rows = []
    for case in dict.fromkeys(row["case"] for row in timed):
        of_case = {row["tool"]: row for row in timed if row["case"] == case}
        ours = of_case.pop(OURS)
        others = (
            f"{name} {row['seconds'] / ours['seconds']:.2f}{_memory(row)}"  # type: ignore[operator]
            for name, row in of_case.items()
        )
        seconds = f"{ours['seconds']:.3g} s{_memory(ours)}"
        rows.append([case, seconds, "; ".join(others)])
    return records.table(["work", "mrirecon", "time of others over ours"], rows)


def _memory(row: dict[str, object]) -> str:
    return "" if row["peak_mb"] is None else f" ({row['peak_mb']:.0f} MB)"


def peers(folder: str | None) -> dict[str, str]:
    """Versions of the peers that are here."""
    found = {}
    for name in ("sigpy", "fastmri"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if shutil.which("bart"):
        said = subprocess.run(["bart", "version"], capture_output=True, text=True).stdout
        found["bart"] = said.strip()
    for clone in sorted(Path(folder).iterdir()) if folder else ():
        git = ["git", "-C", str(clone), "rev-parse", "--short", "HEAD"]
        found[clone.name] = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return found


if __name__ == "__main__":
    main()
