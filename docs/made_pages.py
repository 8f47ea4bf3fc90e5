"""Pages that are made when the site is built (a MkDocs hook).

examples/NAME.md of each script in examples/ (jupytext's percent format): Markdown cells become text, code cells code.
The pictures that a script saves are kept in docs/images/examples; they are made anew by running the scripts there.
reference/commands.md of what the commands' own help says; in reference/python.md the samplers, from their registry.
"""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SAMPLERS = "<!-- every sampler -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages to those that are written."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{script.stem}.md", content=page(script)))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with what stands for the samplers replaced by one line for each."""
    if SAMPLERS not in markdown:
        return markdown
    from mrirecon.diffusion import samplers

    each = [f"::: {samplers.__name__}.{name}" for name in samplers.SAMPLERS]
    return markdown.replace(SAMPLERS, "\n\n".join(each))


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


def commands() -> str:
    """The help of every command, and the options of every method."""
    from mrirecon.cli import COMMANDS
    from mrirecon.methods import METHODS

    parts = ["# Commands", "What `mrirecon COMMAND --help` says.", _fenced(_help())]
    for name, does in COMMANDS.items():
        parts += [f"## {name}", f"{does[0].upper()}{does[1:]}.", _fenced(_help(*name.split()))]
    parts += [
        "## Options of the methods",
        "Those of `mrirecon recon --method NAME`, beside the ones above.",
    ]
    for name, method in METHODS.items():
        about = (method.__doc__ or "").partition("\n")[0]
        options = _own(_help("recon", "--method", name), name)
        parts += [f"### {name}", about, _fenced(options) if options else "It has no options."]
    return "\n\n".join(filter(None, parts)) + "\n"


def _help(*command: str) -> str:
    from mrirecon.cli import main

    with redirect_stdout(io.StringIO()) as said, suppress(SystemExit):
        main([*command, "--help"])
    return said.getvalue().replace("\b", "").rstrip()  # jsonargparse hides its metavar by one


def _own(text: str, method: str) -> str:
    """The options of a method in the help of `recon`; empty where it has none."""
    options = text.partition(f"method {method}: ")[2].partition("\n\n")[0]
    first = options.find("  --method.")
    return options[first:] if first >= 0 else ""


def _fenced(text: str) -> str:
    return f"```text\n{text.strip(chr(10))}\n```"
