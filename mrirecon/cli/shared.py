"""Options that several commands share: the scan and how it is stored, the maps, and `--method NAME`."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from docstring_parser import parse

from mrirecon.cli.config import Settings, UsageError
from mrirecon.cli.parser import Parser
from mrirecon.cli.preview import PreviewFile
from mrirecon.io.files import check_target
from mrirecon.io.layout import Layout
from mrirecon.io.place import Placement
from mrirecon.methods.base import Method
from mrirecon.methods.posterior import Posterior
from mrirecon.methods.registry import (
    DEFAULT,
    METHODS,
    OTHER_NAMES,
    method_name,
    options_of,
    who_does,
)
from mrirecon.nearest import known_as
from mrirecon.recon import EstimatedMaps

SCAN_ARGUMENT = {
    "metavar": "SCAN",
    "help": "k-space file: fastMRI or MRD HDF5, BART cfl, npy, npz, MATLAB or Siemens twix",
}
SCANS_ARGUMENT = {
    **SCAN_ARGUMENT,
    "nargs": "+",
    "type": str,
    "help": f"{SCAN_ARGUMENT['help']}; a folder of them, or a pattern such as '*.h5'",
}
# group of options -> (class, title in the help, fields that are no options)
CALIBRATION = {"calibration": (EstimatedMaps, "how coil maps are estimated", ("kind",))}
# the same, options without a name before them
LAYOUT = {"layout": (Layout, "how k-space is stored, where the file does not say", ())}
PLACE = {"place": (Placement, "where the image lies, where the file does not say", ())}


def add_method(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """Add the options of the method that is named by `--method NAME` or, in YAML, by `method: NAME`.

    In YAML a method with options is `method: {name: NAME, OPTION: VALUE}`; naming another one on the command line
    drops them. Several names, `--method NAME NAME` or `method: [NAME, NAME]`, are methods with their defaults.

    Raises:
        UsageError: if there is no such method, the option is given twice, or several methods are given options.
    """
    args, typed = _take_methods(args)
    if len(typed) > 1:
        raise UsageError(f"--method is given twice: write --method {' '.join(chain(*typed))}")
    configured = settings.get("method", {})
    several = isinstance(configured, list) and all(isinstance(one, str) for one in configured)
    names = typed[0] if typed else configured if several else []
    if len(names) > 1:
        return _add_methods(parser, args, settings, list(map(known_method, names)))
    if not isinstance(configured, dict):
        configured = {"name": names[0] if names else configured}
    known = configured.get("name", DEFAULT)
    name = names[0] if names else known
    if "name" in configured and name != known:
        configured = {}
    name = known_method(name)
    parser.add_argument("--method.name", default=name)
    about = (METHODS[name].__doc__ or "").partition("\n")[0].removesuffix(".")
    parser.add_options(METHODS[name], "method", f"method {name}: {about}", (), instantiate=False)
    for option, text in _of_sampler(METHODS[name]).items():
        parser.explain(f"--method.{option}", text)
    parser.explain("--method", METHOD_HELP, "NAME")
    if "weights" in settings or any(one.partition("=")[0] == "--weights" for one in args):
        parser.require(
            "--method.weights", False
        )  # either option gives a network those that it has not
    return args, {**settings, "method": {**configured, "name": name}}


METHOD_HELP = (
    f"{', '.join(METHODS)} (default: {DEFAULT}); `--method NAME --help` lists the options of NAME; several names are "
    "methods with their defaults"
)


def known_method(name: object) -> str:
    """The name of a method, whatever its capitals.

    Raises:
        UsageError: if there is none; what is probably meant is named.
    """
    try:
        return method_name(name)
    except ValueError as error:
        parts = name.split(",") if isinstance(name, str) else []
        if len(parts) > 1:
            raise UsageError(
                f"{name!r} is no method: write several as {' '.join(parts)}"
            ) from error
        raise UsageError(str(error)) from error


def _take_methods(args: list[str]) -> tuple[list[str], list[list[str]]]:
    """Arguments without `--method NAME...`, and the names of each: the word after it, and further ones of methods."""
    kept: list[str] = []
    found: list[list[str]] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        flag, equals, value = arg.partition("=")
        if flag not in ("--method", "--method.name"):
            kept.append(arg)
            continue
        names = [value if equals else rest.pop(0) if rest else ""]
        while rest and not rest[0].startswith("-") and _is_method(rest[0]):
            names.append(rest.pop(0))
        found.append(names)
    return kept, found


def _is_method(word: str) -> bool:
    """Whether a method is meant, and no scan; one that is misspelt too."""
    if known_as(word, METHODS) or word.lower() in OTHER_NAMES:
        return True
    parts = (Path(word), Path(f"{word}.hdr"), Path(f"{word}.cfl"))
    there = any(part.exists() for part in parts)
    return bool(not there and get_close_matches(word.lower(), list(METHODS), cutoff=0.75))


def _add_methods(
    parser: Parser, args: list[str], settings: Settings, names: list[str]
) -> tuple[list[str], Settings]:
    """Add `--method` for several methods, which have their defaults."""
    for arg in args:
        if arg.startswith("--method."):
            raise UsageError(
                f"{arg.partition('=')[0]} is for one method, and there are {len(names)}: {', '.join(names)} have their "
                "defaults"
            )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"--method: {twice[0]} is given twice")
    parser.add_argument("--method", nargs="+", default=names, metavar="NAME", help=METHOD_HELP)
    parser.know({"method": list[str]})
    return args, {**settings, "method": names}


def _of_sampler(kind: type[Method]) -> dict[str, str]:
    """What the function of a sampler says of its options."""
    if not issubclass(kind, Posterior):
        return {}
    own = {one.name for one in fields(kind)} - {one.name for one in fields(Posterior)}
    said = parse(kind.sampler.__doc__ or "").params
    return {one.arg_name: one.description or "" for one in said if one.arg_name in own}


def with_choices(method: dict[str, Any], **choices: Any) -> dict[str, Any]:
    """The method with what `--weights`, `--samples`, `--seed` or `--compile` say in place of its own options.

    Raises:
        UsageError: if the method has no such option.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    for name, value in given.items():
        if name not in options_of(method["name"]):
            raise UsageError(f"--{name} {value}: {method['name']} has no {name}; {who_does(name)}")
    return {**method, **given}


def preview_file(method: Method, path: str | None) -> PreviewFile | None:
    """What shows the images of a method in a PNG while it works; nothing without a path.

    Raises:
        UsageError: if the method has nothing to show, or the file is no PNG.
        OSError: if it cannot be written.
    """
    if path is None:
        return None
    if not method.slow:
        raise UsageError(
            f"--preview {path}: {method.name} shows nothing before it is done, dds would"
        )
    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview {path}: the file name must end in .png")
    return PreviewFile(check_target(path, overwrite=True))
