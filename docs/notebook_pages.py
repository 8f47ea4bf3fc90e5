"""Pages of the notebooks: text and code of examples/notebooks, with what each cell showed.

`python docs/figures.py notebooks` runs them and keeps what cells show: text in docs/records/notebooks.json, pictures in
docs/images/notebooks. The site is built of these, without running anything.
"""

from __future__ import annotations

import ast
import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import records

NOTEBOOKS = records.DOCS.parent / "examples" / "notebooks"
PICTURES = records.DOCS / "images" / "notebooks"
EMBEDDED = re.compile(r"data:image/(?P<kind>\w+);base64,(?P<data>[\w+/=]+)")
PLACE = "IMAGES/"  # before the name of a picture in HTML
DRAWN = ("<Axes", "array([<Axes", "array([[<Axes")  # what a call that draws gives back

Shown = dict[str, Any]  # of a cell: text or html, and the names of its pictures


def scripts() -> list[Path]:
    """The notebooks, in jupytext's percent format."""
    return sorted(NOTEBOOKS.glob("*.py"))


def cells(script: Path) -> Iterator[tuple[bool, str]]:
    """Whether a cell is text, and what stands in it."""
    for cell in re.split(r"^# %%", script.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        is_text = "[markdown]" in kind
        body = body.strip()
        yield is_text, re.sub(r"^# ?", "", body, flags=re.MULTILINE) if is_text else body


def run(body: str, names: dict[str, Any]) -> str:
    """What a notebook shows of a cell of code: HTML, or text."""
    tree = ast.parse(body)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec", dont_inherit=True), names)
    if last is None:
        return ""
    value = eval(compile(ast.Expression(last.value), "cell", "eval", dont_inherit=True), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


def draw() -> None:
    """Run every notebook and keep what its cells show."""
    import matplotlib

    matplotlib.use("agg")
    for old in PICTURES.glob("*.webp"):
        old.unlink()
    PICTURES.mkdir(exist_ok=True)
    records.Record(
        what="what the cells of the notebooks show, each of which takes the embedded scan",
        script="python docs/figures.py notebooks",
        data="embedded",
        made=records.here(),
        seeds={"scan": 0, "draws": 0},
        tolerance={"share of a number, times and the training aside": 0.05},
        numbers={script.stem: shown(script) for script in scripts()},
    ).write("notebooks")


def shown(script: Path) -> list[Shown]:
    """What each cell of code shows; pictures are written."""
    found: list[Shown] = []
    names: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for number, body in enumerate(body for is_text, body in cells(script) if not is_text):
                text = run(body, names)
                found.append(_kept(text, f"{script.stem}_{number}"))
        finally:
            os.chdir(before)
    return found


def words(text: str) -> str:
    """Text of a cell without the value of a call that only draws, and HTML without its pictures."""
    return "" if text.startswith(DRAWN) else EMBEDDED.sub("", text)


def page(script: Path) -> str:
    """The notebook as Markdown, each cell of code with what it shows."""
    outputs = iter(records.read("notebooks").numbers[script.stem])
    parts = []
    for is_text, body in cells(script):
        parts.append(body if is_text else f"```python\n{body}\n```")
        if not is_text:
            parts += _markdown(next(outputs))
    note = (
        f"*This page is `examples/notebooks/{script.name}`: `jupytext --to ipynb` makes a notebook of it. It takes "
        "seconds on one core; what cells show is from such a run.*"
    )
    return "\n\n".join([parts[0], note, *parts[1:]]) + "\n"


def _kept(text: str, name: str) -> Shown:
    """What is kept of a cell: its text, and its pictures as files."""
    from matplotlib import pyplot

    pictures = []
    for number in pyplot.get_fignums():
        pictures.append(f"{name}_{number}.webp")
        figure = pyplot.figure(number)
        figure.savefig(PICTURES / pictures[-1], dpi=100, bbox_inches="tight")
    pyplot.close("all")
    for number, found in enumerate(EMBEDDED.finditer(text)):
        file = f"{name}_inline_{number}.{found['kind']}"
        (PICTURES / file).write_bytes(base64.b64decode(found["data"]))
        text = text.replace(found[0], PLACE + file)
    kind = "html" if text.startswith("<") and not text.startswith(DRAWN) else "text"
    return {kind: "" if text.startswith(DRAWN) else text, "pictures": pictures}


def _markdown(output: Shown) -> Iterator[str]:
    if text := output.get("text"):
        yield f"```text\n{text}\n```"
    if html := output.get("html"):
        yield f'<div class="shown">{html.replace(PLACE, "../../images/notebooks/")}</div>'
    for picture in output["pictures"]:
        yield f"![what the cell above draws](../images/notebooks/{picture})"
