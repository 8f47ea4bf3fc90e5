"""Running one command: its options, its errors as one line, its exit status."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import Namespace

from mrirecon.cli.config import Settings, take_config
from mrirecon.cli.parser import Parser
from mrirecon.cli.signals import Ended, tidy_end
from mrirecon.options import names_of, one_line

Prepare = Callable[[Parser, list[str], Settings], tuple[list[str], Settings]]

DEBUG = "--debug"


@dataclass(frozen=True)
class Command:
    """One command: a function, its positional arguments, and who completes its parser.

    Attributes:
        name: as typed.
        function: keyword parameters become options; its docstring their help. Returns the exit status or None.
        usage: what follows the name, up to the options.
        arguments: positional ones, and others that the signature cannot express: name -> `add_argument` options.
        examples: argument lines, shown at the end of the help.
        groups: parameters that are classes: name -> (class, title in the help, parameters that are no options).
        prepare: adds options that depend on others; returns the arguments and the YAML's settings to parse.
        prepared: the function's parameters that `prepare` adds.
        flat: like `groups`, whose options have no name before them; where fields are left out, a dict of the others.
    """

    name: str
    function: Callable[..., int | None]
    usage: str
    arguments: dict[str, dict[str, Any]] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    groups: Mapping[str, tuple[type, str, tuple[str, ...]]] = field(default_factory=dict)
    prepare: Prepare | None = None
    prepared: tuple[str, ...] = ()
    flat: Mapping[str, tuple[type, str, tuple[str, ...]]] = field(default_factory=dict)


CLOSED_PIPE = 141  # as shells say of a program that ended by SIGPIPE


def run(command: Command, argv: Sequence[str]) -> int:
    """Parse, call, and turn any error into one line on stderr and status 2."""
    logging.getLogger("jsonargparse").setLevel(logging.CRITICAL)
    try:
        with tidy_end():
            status = command.function(**parse(command, [a for a in argv if a != DEBUG])) or 0
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # whoever reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print(f"mrirecon {command.name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Ended as end:
        print(f"mrirecon {command.name}: ended by {end.name}", file=sys.stderr)
        return 128 + end.number
    except Exception as error:
        if DEBUG in argv:
            traceback.print_exc()
        print(f"mrirecon {command.name}: error: {one_line(error)}", file=sys.stderr)
        return 2


def parse(command: Command, args: list[str]) -> dict[str, Any]:
    """Arguments of the command's function."""
    parser, args, settings = parser_of(command, args)
    values = parser.parse(args, settings)
    del values["config"]
    for name, (kind, _, hidden) in command.flat.items():
        own = {one: values.pop(one) for one in names_of(kind) if one not in hidden}
        values[name] = own if hidden else kind(**own)
    return {k: v.as_dict() if isinstance(v, Namespace) else v for k, v in values.items()}


def parser_of(command: Command, args: list[str]) -> tuple[Parser, list[str], Settings]:
    """The parser of a command for these arguments, those that are left for it, and the settings of a YAML file.

    Raises:
        UsageError: if the file or the name of a method or network is wrong.
    """
    about = inspect.getdoc(command.function) or ""
    parser = Parser(f"mrirecon {command.name}", command.usage, about.partition("\n\nArgs:")[0])
    examples = [f"  mrirecon {command.name} {example}" for example in command.examples]
    parser.epilog = "\n".join(["examples:", *examples]) if examples else None
    skip = {
        *(name.lstrip("-") for name in command.arguments),
        *command.prepared,
        *command.groups,
        *command.flat,
    }
    parser.add_options(command.function, None, "options", skip)
    for name, options in command.arguments.items():
        groups = parser.groups or {}
        group = groups[command.name] if name.startswith("-") else parser
        group.add_argument(name, **options)
    for kind, title, hidden in command.flat.values():
        parser.add_options(kind, None, title, hidden)
    args, settings = take_config(args)
    for name, options in command.arguments.items():
        if options.get("nargs") == "+" and not isinstance(settings.get(name, []), list):
            settings[name] = [str(settings[name])]
    if command.prepare is not None:
        args, settings = command.prepare(parser, args, settings)
    for name, (kind, title, hidden) in command.groups.items():
        parser.add_options(kind, name, title, hidden)
    parser.shorten("--output", "-o")
    return parser, args, settings
