"""The option `--method NAME`, which decides what `--method.OPTION` there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mrirecon.cli.parser import Parser, Settings, UsageError
from mrirecon.cli.preview import PreviewFile
from mrirecon.io.files import check_target
from mrirecon.methods.named import DEFAULT, METHODS, is_slow, who_has
from mrirecon.nearest import suggest


def add_method(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """Add the options of the method that is named by `--method NAME` or, in YAML, by `method: NAME`.

    In YAML a method with options is `method: {name: NAME, OPTION: VALUE}`; naming another one on the command line
    drops them.

    Raises:
        UsageError: if there is no such method.
    """
    args, typed = _take_name(args)
    configured = settings.get("method", {})
    if not isinstance(configured, dict):
        configured = {"name": configured}
    name = configured.get("name", DEFAULT) if typed is None else typed
    if typed is not None and configured.get("name", typed) != typed:
        configured = {}
    if not isinstance(name, str) or name not in METHODS:
        raise UsageError(f"unknown method {name!r}: {suggest(str(name), METHODS)}")
    parser.add_argument("--method.name", default=name)
    about = (METHODS[name].__doc__ or "").partition("\n")[0].removesuffix(".")
    parser.add_options(
        METHODS[name],
        "method",
        f"method {name}: {about}",
        METHODS[name].loop_fields(),  # options of the commands, not of the method
        instantiate=False,
    )
    parser.explain(
        "--method",
        f"{', '.join(METHODS)} (default: {DEFAULT}); `--method NAME --help` lists the options of NAME",
        "NAME",
    )
    return args, {**settings, "method": {**configured, "name": name}}


def with_choices(method: dict[str, Any], **choices: Any) -> dict[str, Any]:
    """The method with what `--weights`, `--samples` and `--seed` say in place of `--method.weights` and so on.

    Raises:
        UsageError: if the method has no such option.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    for name, value in given.items():
        if name not in method:
            others = who_has(name)
            shown = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
            raise UsageError(f"--{name} {value}: {method['name']} has no {name}; {shown} do")
    return {**method, **given}


def with_preview(method: Mapping[str, Any], path: str | None) -> dict[str, Any]:
    """What makes the method show its images in a PNG while it works; nothing without a path.

    Raises:
        UsageError: if the method has nothing to show, or the file is no PNG.
        OSError: if it cannot be written.
    """
    if path is None:
        return {}
    if not is_slow(method):
        raise UsageError(
            f"--preview {path}: {method['name']} shows nothing before it is done, dds would"
        )
    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview {path}: the file name must end in .png")
    return {"preview": PreviewFile(check_target(path, overwrite=True))}


def _take_name(args: list[str]) -> tuple[list[str], str | None]:
    """Arguments without `--method NAME`, and the name."""
    name = None
    out: list[str] = []
    rest = iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag in ("--method", "--method.name"):
            name = value if equals else next(rest, "")
        else:
            out.append(arg)
    return out, name
