"""`mrirecon completion`: a script that a shell reads once, so that completing starts no Python."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, Literal, get_args, get_origin

from mrirecon.cli import COMMANDS
from mrirecon.cli.config import UsageError
from mrirecon.cli.run import Command, parser_of
from mrirecon.masks import MASKS
from mrirecon.methods.registry import METHODS, options_of
from mrirecon.nearest import suggest
from mrirecon.networks import MODELS

# option, by its last name -> what it takes besides what its type says
NAMES = {
    "method": tuple(METHODS),
    "methods": tuple(METHODS),
    "mask": tuple(MASKS),
    "kind": tuple(MASKS),
    "network": tuple(MODELS),
}


def completion(*, shell: str) -> None:
    """Print a script that makes a shell complete commands, options, and names of methods, masks and files.

    Make it anew after an update: `mrirecon completion bash > ~/.local/share/bash-completion/completions/mrirecon`, or
    for zsh a file `_mrirecon` in a folder of $fpath.

    Args:
        shell: bash, zsh, fish or tcsh.
    """
    try:
        import shtab
    except ImportError as error:
        raise UsageError("completion is made by the package shtab: pip install shtab") from error
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError(f"unknown shell {shell!r}: {suggest(shell, shtab.SUPPORTED_SHELLS)}")
    print(shtab.complete(_all_commands(shtab.FILE), shell))


def _all_commands(file: dict[str, Any]) -> argparse.ArgumentParser:
    """The commands with their options, as plain as shtab wants them."""
    parser = argparse.ArgumentParser("mrirecon")
    homes = {"": parser.add_subparsers()}
    for name, about in {**COMMANDS, "help": "list the options of a command"}.items():
        home, _, second = name.rpartition(" ")
        if home not in homes:
            homes[home] = homes[""].add_parser(home, help=home).add_subparsers()
        one = homes[home].add_parser(second, help=about)
        if name == "help":
            one.add_argument("command", choices=list(homes[""].choices))
            continue
        module = importlib.import_module(f"mrirecon.cli.{home or second}")
        _add(one, module.COMMANDS[second] if home else module.COMMAND, file)
    return parser


def _add(target: argparse.ArgumentParser, command: Command, file: dict[str, Any]) -> None:
    """The options of a command, those of every method among them."""
    parser, _, _ = parser_of(command, [])
    there = parser.known()
    for action, hint in there:
        flags = [one for one in action.option_strings if not one.endswith(("+", ".name"))]
        if action.dest == "help" or bool(flags) != bool(action.option_strings):
            continue
        options: dict[str, Any] = {"help": (action.help or "").partition(";")[0].replace("%", "%%")}
        if action.nargs in ("+", "*"):
            options["nargs"] = action.nargs
        if choices := _choices(hint) or NAMES.get(action.dest, ()):
            options["choices"] = choices
        one = target.add_argument(*(flags or [action.dest]), **options)
        if not choices:
            one.complete = file  # type: ignore[attr-defined]
    known = {flag for action, _ in there for flag in action.option_strings}
    if "--method" in known:
        of_methods = (f"--method.{option}" for name in METHODS for option in options_of(name))
        for flag in dict.fromkeys(of_methods):
            if flag not in known:
                target.add_argument(flag)


def _choices(hint: Any) -> tuple[str, ...]:
    """The values of a type that has few."""
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
    named = [one for part in parts if get_origin(part) is Literal for one in get_args(part)]
    return ("true", "false") if hint is bool else tuple(map(str, named))


SHELL = {"metavar": "SHELL", "help": "bash, zsh, fish or tcsh"}
COMMAND = Command("completion", completion, "SHELL", {"shell": SHELL}, ("bash",))
