"""Show the `Example:` of a docstring as code (an extension of griffe, which reads docstrings for mkdocstrings)."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^Example:\n((?:    .*\n?|\n)+)", re.MULTILINE)


class ExampleCode(griffe.Extension):
    """Puts a fence around the code below `Example:`."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of what was read."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match[str]) -> str:
    language = "pycon" if found[1].lstrip().startswith(">>>") else "python"
    return f"Example:\n    ```{language}\n{found[1].rstrip()}\n    ```\n"
