"""Levels of samplers as torch.compile traces them: one graph, in which no number of the data decides anything."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compiled.py")


@pytest.mark.parametrize("name", ["dds", "dps"])
def test_levels_are_one_graph(name):
    """In a process of its own: the checks of shapes that the tests add are no part of a graph."""
    line = [sys.executable, str(SCRIPT), name]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if "traces no gradients" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert not done.returncode, done.stderr
    assert float(done.stdout) < 1e-5
