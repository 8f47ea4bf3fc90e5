"""Options of a command: from the signature of its function, a YAML file and the command line, with readable help.

What is typed or configured is checked here, against the types of the functions and dataclasses that options come from,
before jsonargparse parses it: its messages are for programmers.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, get_type_hints

import yaml
from jsonargparse import (
    ActionConfigFile,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from mrirecon.cli.check import Options
from mrirecon.cli.config import Settings, UsageError
from mrirecon.options import names_of


class Help(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """One line per option where possible: its sentence, then what must be known of its value."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, max_help_position=32, width=100)

    def add_argument(self, action: argparse.Action) -> None:
        """Leave out `--method.name`: it is typed as `--method`."""
        if not action.dest.endswith(".name"):
            super().add_argument(action)

    def _get_help_string(self, action: argparse.Action) -> str:
        words = ["required"] if action.required and action.option_strings else []
        if not any(action.default is nothing for nothing in (None, False, argparse.SUPPRESS)):
            words.append("default: true" if action.default is True else "default: %(default)s")
        text = (action.help or "").removesuffix(".")
        return f"{text} ({', '.join(words)})" if words else text


class Parser(ArgumentParser):
    """A jsonargparse parser whose errors are exceptions of one line."""

    def __init__(self, prog: str, usage: str, description: str) -> None:
        super().__init__(
            prog=prog,
            usage=f"{prog} {usage} [OPTIONS]",
            description=description,
            formatter_class=Help,
            allow_abbrev=False,
        )
        self._types: dict[str, Any] = {}
        self._optionals.title = "general"
        self.add_argument(
            "--config",
            action=ActionConfigFile,
            metavar="FILE.yaml",
            help="any of the options as YAML; what is typed wins",
        )
        # It is taken out of the arguments before they are parsed, and here appears in the help only.
        debug = "show the traceback of an error, not only its line"
        self.add_argument("--debug", action="help", dest=argparse.SUPPRESS, help=debug)
        self.explain("--help", "show this and exit")
        # jsonargparse hides the space before it by a backspace, which a file would hold.
        self.explain(
            "--print_config", "print all options as YAML, with their values, and exit", "[=FLAGS]"
        )

    def explain(self, option: str, text: str, metavar: str | None = None) -> None:
        """Replace what the help says about an option, if there is one; `argparse.SUPPRESS` hides it."""
        action = self._option_string_actions.get(option)
        if action is not None:
            action.help, action.metavar = text, metavar or action.metavar

    def shorten(self, option: str, short: str) -> None:
        """Show a short name of an option in the help, if there is one."""
        action = self._option_string_actions.get(option)
        if action is not None:
            action.option_strings = [short, option]

    def require(self, option: str, required: bool = True) -> None:
        """Let an option be required, or be left out, if there is one."""
        action = self._option_string_actions.get(option)
        if action is not None:
            action.required = required

    def add_options(
        self,
        source: Callable[..., Any],
        group: str | None,
        title: str,
        skip: Iterable[str],
        *,
        instantiate: bool = True,
    ) -> None:
        """Add the parameters of a function or class; with a group as `--group.parameter`, which becomes an instance."""
        names: set[str | int] = set(skip)
        if group is None and isinstance(source, type):
            self.add_class_arguments(source, skip=names)
        elif group is None:
            self.add_function_arguments(source, skip=names)
        else:
            self.add_class_arguments(source, group, skip=names, instantiate=instantiate)
            self.explain(f"--{group}", argparse.SUPPRESS)
        self._action_groups[-1].title = title
        plain = inspect.isfunction(source) or hasattr(source, "__dataclass_fields__")
        hints = get_type_hints(source if plain else source.__init__)
        prefix = "" if group is None else f"{group}."
        self.know(
            {f"{prefix}{n}": hints[n] for n in names_of(source) if n in hints and n not in names}
        )

    def know(self, types: Mapping[str, Any]) -> None:
        """Note the types of options, which their values are checked against."""
        self._types |= types
        for name, hint in types.items():
            if hint is bool and f"--{name}" in self._option_string_actions:
                self._option_string_actions[f"--{name}"].metavar = "[{true,false}]"

    def known(self) -> list[tuple[argparse.Action, Any]]:
        """Every argument, with its type where that is known."""
        return [(action, self._types.get(action.dest)) for action in self._actions]

    def parse(self, args: list[str], settings: Settings) -> dict[str, Any]:
        """The value of every option; `settings` come from a YAML file.

        Raises:
            UsageError: for an unknown option, a value of another type, or something missing.
        """
        options = Options(self._actions, self._types, self.prog)
        args = [options.renamed(arg) for arg in args]
        there = {action.dest for action in self._actions}
        settings = {
            name if name in there else options.named(name): value
            for name, value in settings.items()
        }
        args = options.check(args, settings)
        # Nothing that is typed or configured may name a module to import, which would run it.
        set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["*"])
        # What the command is about comes before the general options in the help.
        self._action_groups = sorted(
            self._action_groups, key=lambda group: group is self._optionals
        )
        given = [f"--config={yaml.safe_dump(settings)}"] if settings else []
        return vars(self.instantiate(self.parse_args([*given, *args])))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(" ".join(message.split()).removesuffix("."))
