"""The number of operators that a GPU is asked for may only fall (`measurements/launches.py`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "measurements" / "launches.py"


def run(*words):
    line = [sys.executable, str(SCRIPT), *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("title", ["VarNet", "HUMUS", "CG", "DDS", "ESPIRiT"])
def test_numbers_only_fall(title):
    done = run(title)
    assert not done.returncode, done.stderr
    assert "operators" in done.stdout


def test_a_number_that_rises_is_named_and_not_written(tmp_path):
    record = tmp_path / "record.json"
    numbers = json.loads(SCRIPT.with_suffix(".json").read_text())
    numbers["CG, a step"]["operators"] = 1
    record.write_text(json.dumps(numbers))
    done = run("CG", "--update", "--record", record)
    assert done.returncode and "CG, a step" in done.stderr and "1 before" in done.stderr
    assert json.loads(record.read_text()) == numbers
