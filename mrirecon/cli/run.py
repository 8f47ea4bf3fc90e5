"""Running one command: its parser, its errors as one line, its exit status."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser

DEBUG = "--debug"


class UsageError(ValueError):
    """Bad usage: wrong options or values on the command line or in a YAML file."""


class Parser(ArgumentParser):
    """A jsonargparse parser whose errors are exceptions of one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(self._readable(" ".join(message.split())))

    def _readable(self, message: str) -> str:
        """The message with the nearest valid option, where it complains about an unknown one."""
        message = message.removesuffix(".")
        unknown = re.search(r"--([\w.]+)", message) or re.search(r"[Kk]ey ['\"]?([\w.]+)", message)
        if "nrecognized" in message or "not accepted" in message or "not expected" in message:
            known = [a.dest for a in self._actions if a.dest not in ("help", "print_config")]
            near = get_close_matches(unknown.group(1), known, n=1) if unknown else []
            if near:
                return f"{message}: did you mean --{near[0]}?"
        return message


@dataclass(frozen=True)
class Command:
    """One command: a function, its positional arguments, and who completes its parser.

    Attributes:
        name: as typed.
        function: keyword parameters become options; its docstring their help. Returns the exit status or None.
        arguments: positional ones, and others that the signature cannot express: name -> `add_argument` options.
        prepare: given the arguments, adds options that depend on them and returns the arguments to parse.
        prepared: the function's parameters that `prepare` adds.
    """

    name: str
    function: Callable[..., int | None]
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    prepare: Callable[[Parser, list[str]], list[str]] | None = None
    prepared: tuple[str, ...] = ()


def run(command: Command, argv: Sequence[str]) -> int:
    """Parse, call, and turn any expected error into one line on stderr and status 2."""
    args = [a for a in argv if a != DEBUG]
    logging.getLogger("jsonargparse").setLevel(logging.ERROR)
    try:
        parsed = parse(command, args)
        return command.function(**parsed) or 0
    except KeyboardInterrupt:
        print(f"mrirecon {command.name}: interrupted", file=sys.stderr)
        return 130
    except (ArgumentError, ValueError, OSError, MemoryError, ImportError, RuntimeError) as error:
        if DEBUG in argv:
            traceback.print_exc()
        print(f"mrirecon {command.name}: error: {one_line(error)}", file=sys.stderr)
        return 2


def parse(command: Command, args: list[str]) -> dict[str, Any]:
    """Arguments of the command's function."""
    parser = Parser(
        prog=f"mrirecon {command.name}",
        description=(command.function.__doc__ or "").split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file with any of the options"
    )
    parser.add_argument(DEBUG, action="store_true", help="show the traceback of an error")
    for name, options in command.arguments.items():
        parser.add_argument(name, **options)
    skip: set[str | int] = {name.lstrip("-") for name in command.arguments}
    parser.add_function_arguments(command.function, skip=skip | set(command.prepared))
    args = _spell_out_flags(command.function, args)
    if command.prepare is not None:
        args = command.prepare(parser, args)
    values = parser.instantiate_classes(parser.parse_args(args))
    return {k: v for k, v in vars(values).items() if k not in ("config", "debug")}


def _spell_out_flags(function: Callable[..., Any], args: list[str]) -> list[str]:
    """`--overwrite` alone means `--overwrite=true`."""
    flags = {f"--{name}" for name, kind in get_type_hints(function).items() if kind is bool}
    following = [*args[1:], ""]
    return [
        f"{arg}=true" if arg in flags and after.lower() not in ("true", "false") else arg
        for arg, after in zip(args, following, strict=True)
    ]


def one_line(error: BaseException) -> str:
    """An exception as one sentence."""
    if isinstance(error, MemoryError):
        return "out of memory: reconstruct fewer slices at once with --slices, or another device"
    return " ".join(str(error).split()) or type(error).__name__
