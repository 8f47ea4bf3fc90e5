"""Read many mangled files of every format and count the answers.

    python measurements/fuzz.py --files 10000 --seed 1 --keep failing

One clear error or a scan whose parts agree is right (`tests/mangling/oracle.py`); everything else is listed by its
cause with an example, and kept where `--keep` says. Exit status 1 where there was any. About 10 files a second.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mangling import FAULTS, Case, Verdict, judged, mangled


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", type=int, nargs="+", help="numbers of cases, as a run printed them"
    )
    parser.add_argument(
        "--keep", type=Path, help="folder for the files that were not answered right"
    )
    options = parser.parse_args()
    numbers = options.only or range(options.files)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    faults: dict[tuple[str, str], list[tuple[Case, Verdict]]] = defaultdict(list)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for case in mangled(Path(folder), numbers, options.seed):
            verdict = judged(case)
            counts[case.seed][verdict.answer] += 1
            if verdict.is_fault:
                faults[verdict.answer, cause(verdict, case)].append((case, verdict))
                if options.keep:
                    kept = options.keep / f"{case.number}"
                    pipes = shutil.ignore_patterns("pipe.h5")  # copying one would wait for ever
                    shutil.copytree(case.path.parent, kept, ignore=pipes, dirs_exist_ok=True)
            elif options.only:
                print(
                    f"{case.number} ({case.seed}; {case.change}): {verdict.answer}: {verdict.detail}"
                )
            shutil.rmtree(Path(folder) / f"{case.number}")
    report(counts, faults, time.monotonic() - began)
    return 1 if faults else 0


def cause(verdict: Verdict, case: Case) -> str:
    """What is alike among faults of one cause: the message without names and numbers, or what the file went through."""
    if verdict.answer in ("hang", "accepted", "signal"):
        return f"{case.kind}: {re.sub(r'[0-9]+', 'N', case.change)[:60]}"
    text = verdict.detail.replace(str(case.path.parent), "").split(" of ")[0]
    return re.sub(r"-?[0-9][0-9.e+-]*", "N", re.sub(r"(['\"]).*?\1", "'...'", text))[:110]


def report(
    counts: dict[str, Counter[str]],
    faults: dict[tuple[str, str], list[tuple[Case, Verdict]]],
    seconds: float,
) -> None:
    """A table of answers by format, then one line for each cause, the commonest first."""
    answers = ["error", "read", *FAULTS]
    total: Counter[str] = sum(counts.values(), Counter())
    print("| format | " + " | ".join(answers) + " |")
    print("|---" * (len(answers) + 1) + "|")
    for name, row in [*counts.items(), ("all", total)]:
        print(f"| {name} | " + " | ".join(str(row[answer] or "") for answer in answers) + " |")
    print(f"\n{sum(total.values())} files in {seconds:.0f} s")
    for (answer, alike), found in sorted(faults.items(), key=lambda item: -len(item[1])):
        case, verdict = found[0]
        print(f"\n{len(found)} x {answer}: {alike}")
        print(f"   {case.number} ({case.seed}; {case.change}): {verdict.detail[:400]}")
        print(f"   numbers: {' '.join(str(case.number) for case, _ in found[:40])}")


if __name__ == "__main__":
    sys.exit(main())
