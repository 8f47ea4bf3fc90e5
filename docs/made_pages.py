"""Pages that are made when the site is built (a MkDocs hook).

examples/NAME.md of each script in examples/ (jupytext's percent format): Markdown cells become text, code cells code.
The pictures that a script saves are kept in docs/images/examples; `python docs/figures.py examples` makes them anew.
notebooks/NAME.md of each notebook in examples/notebooks, with what its cells showed (notebook_pages.py).
methods/NAME.md of each method (method_pages.py), reference/commands/NAME.md of each command (command_pages.py). Each
section of reference/python.md becomes a page; the samplers in it come from their registry.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads a hook by its path

import command_pages
import method_pages
import notebook_pages

from mrirecon.cli import COMMANDS
from mrirecon.diffusion import samplers
from mrirecon.methods import METHODS

ROOT = Path(__file__).parents[1]
SAMPLERS, GALLERY, STRIP = "<!-- every sampler -->", "<!-- gallery -->", "<!-- strip -->"
REFERENCE = "reference/python"  # whose sections become pages
OPTION = re.compile(r"<code>(--?[\w.]+)</code>")
RECORD = re.compile(r"<!-- (?:record [\w/.-]+|end record) -->\n?")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace `each: methods` and the like in the navigation by a line for each made page."""
    config.nav = _expanded(config.nav or [])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages to those that are written."""
    for path, content in made().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with what stands for made parts, without the comments around what records say."""
    if page.file.src_uri == f"{REFERENCE}.md":
        intro, parts = sections(markdown)
        links = [
            f"* **[{title}](python/{slug(title)}.md)**: {_names(text)}"
            for title, text in parts.items()
        ]
        markdown = "\n".join([intro, *links])
    if SAMPLERS in markdown:
        each = [f"::: {samplers.__name__}.{name}" for name in samplers.SAMPLERS]
        markdown = markdown.replace(SAMPLERS, "\n\n".join(each))
    for stands, made_of in ((GALLERY, method_pages.gallery), (STRIP, method_pages.strip)):
        if stands in markdown:
            markdown = markdown.replace(stands, made_of())
    return RECORD.sub("", markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose options are not broken after their hyphens."""
    return OPTION.sub(r'<code class="option">\1</code>', html)


def made() -> dict[str, str]:
    """The Markdown of each made page by its path."""
    examples = {f"examples/{script.stem}.md": page(script) for script in scripts()}
    notebooks = {
        f"notebooks/{script.stem}.md": notebook_pages.page(script)
        for script in notebook_pages.scripts()
    }
    methods = {f"methods/{name}.md": method_pages.page(name) for name in METHODS}
    commands = {
        f"reference/commands/{command_pages.slug(name)}.md": command_pages.page(name)
        for name in COMMANDS
    }
    python = {
        f"{REFERENCE}/{slug(title)}.md": f"# {title}\n\n{text}"
        for title, text in reference().items()
    }
    index = {"reference/commands/index.md": command_pages.overview()}
    return {**examples, **notebooks, **methods, **commands, **python, **index}


def reference() -> dict[str, str]:
    """The sections of docs/reference/python.md, each of which becomes a page, links going up one folder more."""
    _, parts = sections((ROOT / "docs" / f"{REFERENCE}.md").read_text("utf-8"))
    return {title: text.replace("](../", "](../../") for title, text in parts.items()}


def sections(markdown: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the text of each."""
    intro, *parts = re.split(r"^## ", markdown, flags=re.MULTILINE)
    return intro, {title: text for title, _, text in (part.partition("\n") for part in parts)}


def slug(title: str) -> str:
    """The file name of a section."""
    return title.lower().replace(" ", "-")


def _names(text: str) -> str:
    found = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    return ", ".join(f"[`{name.rpartition('.')[2]}`][{name}]" for name in found)


def scripts() -> list[Path]:
    """The examples that become pages."""
    return sorted((ROOT / "examples").glob("*.py"))


def page(script: Path) -> str:
    """The script as Markdown."""
    parts = []
    for is_text, body in notebook_pages.cells(script):
        if is_text:
            parts.append(re.sub(r"!\[(.*?)\]\(", r"![\1](../images/examples/", body))
        elif body:
            parts.append(f"```python\n{body}\n```")
    note = f"*This page is `examples/{script.name}`, in jupytext's percent format: run it, or open it as a notebook.*"
    parts.insert(1, note)
    return "\n\n".join(parts) + "\n"


def _expanded(nav: list[Any]) -> list[Any]:
    found: list[Any] = []
    for item in nav:
        (title, inner) = next(iter(item.items())) if isinstance(item, dict) else (None, item)
        if title == "each":
            found += _each(inner)
        elif isinstance(inner, list):
            found.append({title: _expanded(inner)})
        else:
            found.append(item)
    return found


def _each(kind: str) -> list[Any]:
    if kind == "commands":
        return [{name: f"reference/commands/{command_pages.slug(name)}.md"} for name in COMMANDS]
    if kind == "reference":
        return [{title: f"{REFERENCE}/{slug(title)}.md"} for title in reference()]
    if kind == "examples":
        return [f"examples/{script.stem}.md" for script in scripts()]
    if kind == "notebooks":
        return [f"notebooks/{script.stem}.md" for script in notebook_pages.scripts()]
    return [{name: f"methods/{name}.md"} for name in method_pages.of_family(kind)]
