"""Options from a YAML file: plain values only, none that names a module, none larger than a file of options is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Settings = dict[str, Any]
LARGEST_CONFIG = 1 << 18  # bytes of a file, and values when it is written out


class UsageError(ValueError):
    """Bad usage: wrong options or values on the command line or in a YAML file."""


def take_config(args: list[str]) -> tuple[list[str], Settings]:
    """Arguments without `--config FILE`, and what the file holds; of several files the last one wins.

    Raises:
        UsageError: if a file is missing, no YAML, or holds no options.
    """
    kept, paths = take(args, "--config")
    settings: Settings = {}
    for path in paths:
        settings |= _read_settings(path)
    return kept, settings


def take(args: list[str], *options: str) -> tuple[list[str], list[str]]:
    """Arguments without `OPTION VALUE` or `OPTION=VALUE` of these options, and the values."""
    kept: list[str] = []
    values: list[str] = []
    rest = iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag in options:
            values.append(value if equals else next(rest, ""))
        else:
            kept.append(arg)
    return kept, values


def _read_settings(path: str) -> Settings:
    if not Path(path).is_file():
        raise UsageError(f"--config {path or '(nothing)'}: no such file")
    if Path(path).stat().st_size > LARGEST_CONFIG:
        raise UsageError(
            f"{path} is larger than {LARGEST_CONFIG} bytes: this is no file of options"
        )
    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if _written_out(node) > LARGEST_CONFIG:
            raise UsageError(f"{path}: its aliases stand for too much: write it out")
        settings = None if node is None else loader.construct_document(node)
    except UsageError:
        raise
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply, or within itself: write it out") from error
    except (yaml.YAMLError, ValueError) as error:  # no UTF-8, or no value such as a 13th month
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or error
        where = "" if mark is None else f", line {mark.line + 1}"
        raise UsageError(f"{path}{where}: this is no YAML: {reason}") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UsageError(f"{path} holds no options: write lines such as `output: brain.nii.gz`")
    refuse_classes(path, settings)
    return settings


def _written_out(node: yaml.Node | None, known: dict[int, int] | None = None) -> int:
    """How many values a YAML document has when each alias is replaced by what it stands for.

    Raises:
        RecursionError: if an alias stands for what it is in.
    """
    known = {} if known is None else known
    if isinstance(node, yaml.CollectionNode) and id(node) not in known:
        inner = [
            part for item in node.value for part in (item if isinstance(item, tuple) else (item,))
        ]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in inner)
    return known.get(id(node), 1)


def refuse_classes(path: str, value: Any) -> None:
    """Refuse what would make jsonargparse import a module of the configuration's choice."""
    if isinstance(value, dict) and "class_path" in value:
        raise UsageError(
            f"{path} has class_path: {value['class_path']!r}: options are plain values, no classes"
        )
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        refuse_classes(path, inner)
