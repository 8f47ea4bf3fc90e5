"""Pages that need nothing from outside: styles, scripts and pictures stand in the one file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.filters import do_mark_safe
from markupsafe import Markup

from mrirecon.io.files import PathLike, check_target, replacing

# For every kind of colour vision: of error, deviation and null-space maps, and of differences, which have a sign
MAP_COLOURS = "cividis"
SIGNED_COLOURS = "RdBu_r"
RESEARCH_ONLY = "Research use only: not for diagnosis or treatment."


def check_page(path: PathLike, overwrite: bool = False) -> Path:
    """The path, when a page may be written there; call it before hours of work.

    Raises:
        ValueError: if the name does not end in .html.
        OSError: as `files.check_target`.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{path}: the file name of a page must end in .html")
    return check_target(path, overwrite)


def write_page(path: PathLike, template: str, overwrite: bool, **values: Any) -> Path:
    """Fill in a template, text escaped, and write it whole or not at all.

    Raises:
        ValueError: if the name does not end in .html.
        OSError: if the file exists (without `overwrite`) or cannot be written.
    """
    from mrirecon import __version__

    target = check_page(path, overwrite)
    pages = Environment(
        loader=PackageLoader("mrirecon.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> Markup:
        assert pages.loader is not None
        return do_mark_safe(pages.loader.get_source(pages, name)[0])

    pages.globals.update(
        source=source,
        version=__version__,
        research_only=RESEARCH_ONLY,
        gradient=gradient,
        map_table=colours(MAP_COLOURS),
        signed_table=colours(SIGNED_COLOURS),
    )
    text = pages.get_template(template).render(**values)
    with replacing(target) as (part,):
        part.write_text(text, encoding="utf-8", errors="replace")  # file names that are no UTF-8
    return target


def encoded(data: bytes) -> str:
    """Base64, as data URLs hold it."""
    return base64.b64encode(data).decode("ascii")


def colours(name: str) -> list[list[int]]:
    """The 256 colours of a map of matplotlib's, each as three bytes."""
    import matplotlib
    import numpy as np

    table = matplotlib.colormaps[name](np.arange(256))[:, :3] * 255
    return table.round().astype(np.uint8).tolist()


def gradient(table: Sequence[Sequence[int]]) -> str:
    """The same colours as a CSS gradient."""
    stops = ", ".join("#" + bytes(row).hex() for row in table[::17])
    return f"linear-gradient(to right, {stops})"
