"""Makes a page of each script in examples/ (jupytext's percent format) when the site is built (a MkDocs hook).

Markdown cells become text, code cells code. The pictures that a script saves are kept in docs/images/examples; they are
made anew by running the scripts there.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add examples/NAME.md for every examples/NAME.py."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{script.stem}.md", content=page(script)))
    return files


def page(script: Path) -> str:
    """The script as Markdown."""
    parts = []
    for cell in re.split(r"^# %%", script.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            text = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            parts.append(re.sub(r"!\[(.*?)\]\(", r"![\1](../images/examples/", text))
        elif body.strip():
            parts.append(f"```python\n{body.strip()}\n```")
    note = f"*This page is `examples/{script.name}`, in jupytext's percent format: run it, or open it as a notebook.*"
    parts.insert(1, note)
    return "\n\n".join(parts) + "\n"
