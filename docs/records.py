"""Records of figures: docs/records/NAME.json says how numbers were made, and pages quote them.

A page quotes a table or a text of a record between two comments, which Markdown does not show:

    <!-- record gallery/uniform1d_x4 -->
    (the table)
    <!-- end record -->

`python docs/figures.py text` writes what the record says between them; a test checks that it stands there.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
FOLDER = DOCS / "records"
QUOTED = re.compile(r"<!-- record (?P<key>[\w/.-]+) -->(?P<text>.*?)<!-- end record -->", re.DOTALL)
LIBRARIES = ("torch", "numpy", "scipy")

Table = dict[
    str, list[Any]
]  # head: names of columns; rows: a list of texts each; align: Markdown's second line


@dataclass(frozen=True)
class Record:
    """How numbers of the documentation were made, and the numbers.

    Attributes:
        what: what was measured, in a sentence.
        script: the command that measures it, from the root of the repository.
        data: on which data; `embedded` where a clone has them.
        made: date, commit and versions of libraries; what is not known any more is null.
        seeds: of masks, noise and draws.
        tolerance: by how much a number may differ when it is measured again; null where nobody can do so in a clone.
        numbers: the numbers by name.
        tables: what pages quote as tables.
        texts: what pages quote in a sentence.
    """

    what: str
    script: str
    data: str
    made: dict[str, Any]
    seeds: dict[str, Any] = field(default_factory=dict)
    tolerance: dict[str, float] | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def write(self, name: str) -> Path:
        """Write the record under its name."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path

    def quoted(self, key: str) -> str:
        """A table as Markdown, or a text.

        Raises:
            KeyError: if the record has no such thing.
        """
        if key in self.texts:
            return self.texts[key]
        return "\n" + markdown(self.tables[key]) + "\n"


def read(name: str) -> Record:
    """The record of a name.

    Raises:
        FileNotFoundError: if there is none.
    """
    return Record(**json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def here() -> dict[str, Any]:
    """Date, commit and versions of what is measured now."""
    git = ["git", "-C", str(DOCS), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    return {"date": date.today().isoformat(), "commit": commit or None, "versions": versions}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of texts."""
    return {"head": list(head), "rows": [[str(cell) for cell in row] for row in rows]}


def markdown(of: Mapping[str, Any]) -> str:
    """A table as Markdown."""
    lines = [of["head"], of.get("align") or ["---"] * len(of["head"]), *of["rows"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Plain text as Markdown: nothing outside of backticks is markup."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([|*_])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)


def filled(text: str) -> str:
    """A page with what its records say between the comments."""
    return QUOTED.sub(_filled, text)


def pages() -> list[Path]:
    """The pages that quote a record."""
    return [page for page in sorted(DOCS.rglob("*.md")) if QUOTED.search(page.read_text("utf-8"))]


def _filled(found: re.Match[str]) -> str:
    name, _, key = found["key"].partition("/")
    try:
        said = read(name).quoted(key)
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(f"{found['key']}: no such record: {error}") from error
    return f"<!-- record {found['key']} -->{said}<!-- end record -->"
