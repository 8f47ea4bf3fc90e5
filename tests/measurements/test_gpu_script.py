"""`measurements/gpu.py` on toy sizes: what is run on a GPU that is lent for minutes must not fail there first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "measurements" / "gpu.py"


def run(*words):
    line = [sys.executable, str(SCRIPT), *map(str, words), "--device", "cpu", "--tiny"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)


def test_parts_are_timed_beside_official_and_earlier_code(tmp_path):
    parts = ("VarNet", "DDS, prior_tiny", "CG")
    options = ("--minutes", 0.001, "--before", SCRIPT.parents[1], "--json", tmp_path / "gpu.json")
    done = run(*parts, *options)
    assert not done.returncode, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = {(row["part"], row["call"]): row for row in found["rows"]}
    assert {part for part, _ in rows} == set(parts) and len(found["before"]) == len(rows) - 1
    ours, theirs = (rows["VarNet", name]["ms"] for name in ("mrirecon", "fastmri"))
    assert rows["VarNet", "mrirecon"]["official_over_this"] == pytest.approx(theirs / ours)
    before = next(row["ms"] for row in found["before"] if row["part"] == "CG")
    cg = rows["CG", "30 steps"]
    assert cg["before_over_this"] == pytest.approx(before / cg["ms"])
    few, many, network = (
        rows["DDS, prior_tiny", call]["ms"] for call in ("2 levels", "7 levels", "network")
    )
    level = rows["DDS, prior_tiny", "a level"]
    assert level["over_network"] == pytest.approx((many - few) / 5 / network)
    assert all(f"{row['ms']:.2f} ms" in done.stdout for row in rows.values())


def test_an_unknown_part_is_one_line():
    done = run("VarNet", "DDPM")
    assert done.returncode and done.stderr.startswith("unknown part 'DDPM': choose of VarNet")
