"""Change one line of the source at a time and see whether a test notices: `mutants.txt` lists the changes.

    python measurements/mutants.py                  # all of them: 5 to 60 s each on one core
    python measurements/mutants.py --only dds espirit
    python measurements/mutants.py --check          # only that every text is found exactly once

Runs in a temporary copy of the repository, never in place. Killed means that a test failed (its name is printed) or
that the tests took longer than `--seconds`. Exit status 1 where a mutant survived that could be noticed, 2 where a text
is not found because the source has changed: write the mutant anew then.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("mutants.txt")


class Mutant(NamedTuple):
    file: str
    tests: str
    old: str
    new: str
    why: str = ""  # nothing can notice it


def listed() -> list[Mutant]:
    found: list[Mutant] = []
    for line in LIST.read_text().splitlines():
        if line.startswith("- "):
            found[-1] = found[-1]._replace(old=line[2:])
        elif line.startswith("+ "):
            found[-1] = found[-1]._replace(new=line[2:])
        elif line.startswith("= "):
            found[-1] = found[-1]._replace(why=line[2:])
        elif line and not line.startswith("#"):
            file, tests = line.split(": ")
            found.append(Mutant(file, tests, "", ""))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="mutants whose file or text holds one of these"
    )
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many of them")
    parser.add_argument("--check", action="store_true", help="only look for the texts")
    parser.add_argument(
        "--seconds", type=float, default=900, help="time for the tests of one mutant"
    )
    options = parser.parse_args()
    chosen = [m for m in listed() if any(part in f"{m.file} {m.old}" for part in options.only)]
    chosen = chosen[options.skip :]
    lost = [m for m in chosen if source(ROOT, m).read_text().count(m.old) != 1]
    for mutant in lost:
        print(f"{mutant.file} does not hold exactly once: {mutant.old!r}")
    if lost or options.check:
        return 2 if lost else 0
    survived = 0
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "site")
    print("| file | tests | instead of | there is | answer |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=ignored)
        for mutant in chosen:
            answer = tried(copy, mutant, options.seconds)
            if answer == "SURVIVED" and mutant.why:
                answer = f"equivalent: {mutant.why}"
            survived += answer == "SURVIVED"
            print("| " + " | ".join([*mutant[:4], answer]) + " |", flush=True)
    print(f"\n{len(chosen) - survived} of {len(chosen)} killed")
    return 1 if survived else 0


def source(root: Path, mutant: Mutant) -> Path:
    return root / "mrirecon" / mutant.file


def tried(copy: Path, mutant: Mutant, seconds: float) -> str:
    path = source(copy, mutant)
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    began = time.monotonic()
    words = mutant.tests.split()
    tests = [f"tests/{word}" if (copy / "tests" / word).exists() else word for word in words]
    # Without the checks of types at run time, which take longer than most tests.
    command = [sys.executable, "-m", "pytest", "-xq", "-p", "no:cacheprovider", "-o", "addopts="]
    fixed = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    kept = {"cwd": copy, "env": os.environ | fixed, "capture_output": True, "text": True}
    try:
        run = subprocess.run([*command, *tests], timeout=seconds, **kept)
    except subprocess.TimeoutExpired:
        return f"killed: longer than {seconds:g} s"
    finally:
        path.write_text(whole)
    took = f"({time.monotonic() - began:.0f} s)"
    if run.returncode == 0:
        return "SURVIVED"
    if run.returncode != 1:
        raise SystemExit(f"pytest did not run the tests of {mutant}:\n{run.stdout}{run.stderr}")
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", run.stdout, re.MULTILINE)
    return f"killed by {failed[1] if failed else '?'} {took}"


if __name__ == "__main__":
    sys.exit(main())
