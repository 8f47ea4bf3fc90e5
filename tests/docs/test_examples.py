"""The examples run as scripts, and become pages."""

import re
import sys

import matplotlib
import pytest
from blocks import ROOT

from mrirecon.methods import METHODS

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PICTURES = ROOT / "docs" / "images" / "examples"
FEWER = {
    '"dds": {"samples": 4': '"dds": {"samples": 1',
    "samples=8": "samples=2",
    "SHAPE, NOISE, DRAWS = (25, 25), 0.05, 32": "SHAPE, NOISE, DRAWS = (17, 17), 0.05, 16",
}


def smaller(text):
    for many, few in FEWER.items():
        text = text.replace(many, few)
    return text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path, monkeypatch, capsys):
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(METHODS, "_known", dict(METHODS._known))
    backend, names = matplotlib.get_backend(), {"__name__": "example"}
    pyplot.switch_backend("agg")
    try:
        exec(compile(smaller(path.read_text()), str(path), "exec", dont_inherit=True), names)
    finally:
        pyplot.close("all")
        pyplot.switch_backend(backend)
    assert capsys.readouterr().out
    saved = sorted(picture.name for picture in tmp_path.iterdir())
    shown = sorted(re.findall(r"!\[.*?\]\((.*?)\)", path.read_text()))
    assert saved == shown
    assert all((PICTURES / picture).exists() for picture in saved)


def test_examples_are_three_and_as_jupytext_writes_them():
    assert len(EXAMPLES) == 3
    assert all(any(many in path.read_text() for path in EXAMPLES) for many in FEWER)
    for path in EXAMPLES:
        lines = path.read_text().splitlines()
        assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ")
        markdown = False
        for line in lines:
            if line.startswith("# %%"):
                markdown = line == "# %% [markdown]"
                assert line in ("# %%", "# %% [markdown]")
            elif markdown and line:
                assert line.startswith("#"), line


def test_examples_become_pages(monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import made_pages

    for path in EXAMPLES:
        page = made_pages.page(path)
        assert page.startswith("# ") and page.count("```python\n") == page.count("\n```\n")
        assert "../images/examples/" in page and "# %%" not in page
    sys.modules.pop("made_pages")
