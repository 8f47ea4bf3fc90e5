"""The notebooks run as one does: cell by cell, and what stands at the end of a cell is shown."""

import ast
import re
import time

import matplotlib
import pytest
from blocks import ROOT

from mrirecon.methods import METHODS

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.py"))
SECONDS = 30


def cells(path):
    for cell in re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" not in kind:
            yield body


def run(body, names):
    """What a notebook shows of a cell."""
    tree = ast.parse(body)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec", dont_inherit=True), names)
    if last is None:
        return ""
    shown = eval(compile(ast.Expression(last.value), "cell", "eval", dont_inherit=True), names)
    return shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    backend, names = matplotlib.get_backend(), {"__name__": "__main__"}
    pyplot.switch_backend("agg")
    started = time.process_time()
    try:
        shown = [run(body, names) for body in cells(path)]
        figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
        assert figures and all(any(a.images for a in figure.axes) for figure in figures)
    finally:
        pyplot.close("all")
        pyplot.switch_backend(backend)
    assert sum(map(bool, shown)) > 2 and all(len(text.splitlines()) < 10 for text in shown)
    assert time.process_time() - started < SECONDS


def test_notebooks_are_five_and_as_jupytext_writes_them():
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        text = path.read_text()
        lines = text.splitlines()
        assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ")
        assert text.count("Research software") == 1 and len(lines) < 100
        assert all(line in ("# %%", "# %% [markdown]") for line in lines if line.startswith("# %%"))
