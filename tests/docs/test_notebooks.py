"""The notebooks run as one does: cell by cell, and what stands at the end of a cell is shown."""

import re
import sys
import time

import matplotlib
import pytest
from blocks import ROOT

from mrirecon.methods import METHODS

sys.path.insert(0, str(ROOT / "docs"))

import notebook_pages
import records

NOTEBOOKS = notebook_pages.scripts()
SECONDS = 30
NUMBER = re.compile(r"(?<![\w.])\d[\d.]*(?:e[-+]\d+)?")
TRAINED = {"train"}  # its numbers are of random batches


def numbers(text):
    return [float(number) for number in NUMBER.findall(text)]


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
        cells = [body for is_text, body in notebook_pages.cells(path) if not is_text]
        shown = [notebook_pages.run(body, names) for body in cells]
        figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
        assert figures and all(any(a.images for a in figure.axes) for figure in figures)
    finally:
        pyplot.close("all")
        pyplot.switch_backend(backend)
    assert sum(map(bool, shown)) > 2 and all(len(text.splitlines()) < 10 for text in shown)
    assert time.process_time() - started < SECONDS
    kept = records.read("notebooks").numbers[path.stem]
    for text, told in zip(map(notebook_pages.words, shown), kept, strict=True):
        said = re.sub(
            rf"{notebook_pages.PLACE}\w+\.\w+", "", told.get("text") or told.get("html", "")
        )
        again = "run `python docs/figures.py notebooks`"
        assert NUMBER.sub("0", text) == NUMBER.sub("0", said), again
        if "text" in told and path.stem not in TRAINED:  # tables tell seconds
            assert numbers(text) == pytest.approx(numbers(said), rel=0.05), again


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_become_pages_with_what_their_cells_show(path):
    page = notebook_pages.page(path)
    assert page.startswith("# ") and "# %%" not in page and notebook_pages.PLACE not in page
    pictures = set(re.findall(r"images/notebooks/([\w.]+)", page))
    assert pictures == {one.name for one in notebook_pages.PICTURES.glob(f"{path.stem}_*")}
    assert all(body in page for _, body in notebook_pages.cells(path))
    texts = [
        told["text"] for told in records.read("notebooks").numbers[path.stem] if "text" in told
    ]
    assert all(text in page for text in texts)


def test_notebooks_are_five_and_as_jupytext_writes_them():
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        text = path.read_text()
        lines = text.splitlines()
        assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ")
        assert text.count("Research software") == 1 and len(lines) < 100
        assert all(line in ("# %%", "# %% [markdown]") for line in lines if line.startswith("# %%"))
