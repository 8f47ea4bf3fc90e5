"""Every public name says what it is, with an example that runs after the first block of the Python reference."""

import ast
import doctest
import inspect
import io
import re
import textwrap
from itertools import pairwise

import pytest
from blocks import ROOT, blocks

import mrirecon as mr

REFERENCE = ROOT / "docs" / "reference" / "python.md"
HOMES = {  # values, whose docstring is the text below their assignment
    "MASKS": "masks/kinds.py",
    "METHODS": "methods/registry.py",
    "PROTOCOLS": "metrics.py",
}

MOST_USED = {
    *("Scan", "Volume", "read_scan", "reconstruct", "run", "compare", "evaluate", "make_mask"),
    *("sense", "estimate_maps", "load_prior", "load_weights", "demo_scan", "show", "MaskSpec"),
}


def docstring(name):
    value = getattr(mr, name)
    if name not in HOMES:
        return inspect.cleandoc(value.__doc__ or "")
    body = ast.parse((ROOT / "mrirecon" / HOMES[name]).read_text()).body
    for line, below in pairwise(body):
        targets = getattr(line, "targets", [getattr(line, "target", None)])
        if any(isinstance(one, ast.Name) and one.id == name for one in targets):
            return inspect.cleandoc(below.value.value)
    return ""


def example(name):
    """The code below `Example:`, up to the next line that is not indented."""
    found = re.search(r"^Example:\n((?:    .*\n?|\n)+)", docstring(name), re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def compare(code, names, name):
    """Run an example as doctest does, and compare what it prints."""
    test = doctest.DocTestParser().get_doctest(code, names, name, None, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert not runner.run(test, out=said.write).failed, said.getvalue()


def test_the_most_used_have_their_output_beside_them():
    shown = {name for name in mr.__all__ if example(name).startswith(">>>")}
    assert shown >= MOST_USED


def test_a_wrong_output_is_found():
    with pytest.raises(AssertionError, match="Expected"):
        compare(">>> 1 + 1\n3\n", {}, "sum")


@pytest.mark.parametrize("name", mr.__all__)
def test_every_public_name_has_a_sentence_and_an_example(name):
    summary = docstring(name).partition("\n")[0]
    assert len(summary.split()) > 3, "say what it is"
    assert example(name), "give a short Example:"


@pytest.mark.parametrize("name", mr.__all__)
def test_example_of_a_docstring_runs(name, page_folder):
    from matplotlib import pyplot

    names = {"__name__": "example"}
    backend = pyplot.get_backend()
    pyplot.switch_backend("agg")
    try:
        exec(compile(blocks(REFERENCE)[0].text, name, "exec", dont_inherit=True), names)
        code = example(name)
        if code.startswith(">>>"):
            compare(code, names, name)
        else:
            exec(compile(code, name, "exec", dont_inherit=True), names)
    finally:
        pyplot.close("all")
        pyplot.switch_backend(backend)
