"""Options that several commands share: the scan and how it is stored, the maps, and `--method NAME`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from docstring_parser import parse

from mrirecon.cli.config import Settings, UsageError, take
from mrirecon.cli.parser import Parser
from mrirecon.cli.preview import PreviewFile
from mrirecon.io.files import check_target
from mrirecon.io.layout import Layout
from mrirecon.methods.base import Method
from mrirecon.methods.posterior import Posterior
from mrirecon.methods.registry import DEFAULT, METHODS, is_slow, method_name, who_does
from mrirecon.recon import EstimatedMaps

SCAN_ARGUMENT = {
    "metavar": "SCAN",
    "help": "k-space file: fastMRI or MRD HDF5, BART cfl, npy, npz, MATLAB or Siemens twix",
}
# group of options -> (class, title in the help, fields that are no options)
CALIBRATION = {"calibration": (EstimatedMaps, "how coil maps are estimated", ("kind",))}
# the same, options without a name before them
LAYOUT = {"layout": (Layout, "how k-space is stored, where the file does not say", ())}


def add_method(parser: Parser, args: list[str], settings: Settings) -> tuple[list[str], Settings]:
    """Add the options of the method that is named by `--method NAME` or, in YAML, by `method: NAME`.

    In YAML a method with options is `method: {name: NAME, OPTION: VALUE}`; naming another one on the command line
    drops them.

    Raises:
        UsageError: if there is no such method, or two are named.
    """
    args, typed = take(args, "--method", "--method.name")
    if len(typed) > 1:
        raise UsageError("--method is given twice: each run has one method")
    configured = settings.get("method", {})
    if not isinstance(configured, dict):
        configured = {"name": configured}
    known = configured.get("name", DEFAULT)
    name = typed[0] if typed else known
    if "name" in configured and name != known:
        configured = {}
    try:
        name = method_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    parser.add_argument("--method.name", default=name)
    about = (METHODS[name].__doc__ or "").partition("\n")[0].removesuffix(".")
    parser.add_options(METHODS[name], "method", f"method {name}: {about}", (), instantiate=False)
    for option, text in _of_sampler(METHODS[name]).items():
        parser.explain(f"--method.{option}", text)
    parser.explain(
        "--method",
        f"{', '.join(METHODS)} (default: {DEFAULT}); `--method NAME --help` lists the options of NAME",
        "NAME",
    )
    return args, {**settings, "method": {**configured, "name": name}}


def _of_sampler(kind: type[Method]) -> dict[str, str]:
    """What the function of a sampler says of its options."""
    if not issubclass(kind, Posterior):
        return {}
    own = {one.name for one in fields(kind)} - {one.name for one in fields(Posterior)}
    said = parse(kind.sampler.__doc__ or "").params
    return {one.arg_name: one.description or "" for one in said if one.arg_name in own}


def with_choices(method: dict[str, Any], **choices: Any) -> dict[str, Any]:
    """The method with what `--weights`, `--samples` and `--seed` say in place of `--method.weights` and so on.

    Raises:
        UsageError: if the method has no such option.
    """
    given = {name: value for name, value in choices.items() if value is not None}
    for name, value in given.items():
        if name not in method:
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
    if not is_slow(method):
        raise UsageError(
            f"--preview {path}: {method.name} shows nothing before it is done, dds would"
        )
    if not path.lower().endswith(".png"):
        raise UsageError(f"--preview {path}: the file name must end in .png")
    return PreviewFile(check_target(path, overwrite=True))
