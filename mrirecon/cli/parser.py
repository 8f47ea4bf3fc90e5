"""Options of a command: from the signature of its function, a YAML file and the command line, with readable help.

What is typed or configured is checked here, against the types of the functions and dataclasses that options come from,
before jsonargparse parses it: its messages are for programmers.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import (
    ActionConfigFile,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from mrirecon.cli.config import Settings, UsageError, refuse_classes
from mrirecon.options import fits, in_words, names_of

# what people type -> what the option may be called here
ALIASES = {
    "accel": ("acceleration",),
    "lr": ("optimizer.lr",),
    "learning_rate": ("optimizer.lr",),
    "lambda": ("method.regularization",),
    "method.lambda": ("method.regularization",),
    "steps": ("trainer.max_steps", "method.iterations", "method.levels"),
    "method.steps": ("method.iterations", "method.levels"),
}


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


class DebugFlag(argparse.Action):
    """--debug is taken out of the arguments before they are parsed: here it only appears in the help."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help
        )

    def __call__(self, *args: Any, **kwargs: Any) -> None: ...


@dataclass
class Typed:
    """What was typed: the words after each option, and those that belong to none."""

    options: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


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
        self.add_argument(
            "--debug", action=DebugFlag, help="show the traceback of an error, not only its line"
        )
        self.explain("--help", "show this and exit")
        self.explain("--print_config", "print all options as YAML, with their values, and exit")

    def explain(self, option: str, text: str, metavar: str | None = None) -> None:
        """Replace what the help says about an option, if there is one; `argparse.SUPPRESS` hides it."""
        action = self._option_string_actions.get(option)
        if action is not None:
            action.help, action.metavar = text, metavar or action.metavar

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

    def parse(self, args: list[str], settings: Settings) -> dict[str, Any]:
        """The value of every option; `settings` come from a YAML file.

        Raises:
            UsageError: for an unknown option, a value of another type, or something missing.
        """
        args = [self._renamed(arg) for arg in args]
        settings = {self._named(name): value for name, value in settings.items()}
        typed = self._split(args)
        configured = dict(self._leaves(settings))
        for name, words in typed.options.items():
            self._refuse_typed(name, words)
        for name, value in configured.items():
            self._refuse_other_types(name, value)
        if not {"help", "h"} & typed.options.keys():
            self._refuse_incomplete(typed, configured)
        # Nothing that is typed or configured may name a module to import, which would run it.
        set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["*"])
        # What the command is about comes before the general options in the help.
        self._action_groups = sorted(
            self._action_groups, key=lambda group: group is self._optionals
        )
        given = [f"--config={yaml.safe_dump(settings)}"] if settings else []
        return vars(self.instantiate(self.parse_args([*given, *self._spelt_out(args)])))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(" ".join(message.split()).removesuffix("."))

    # --- what is typed ---

    def _named(self, name: str) -> str:
        """The name of an option here, where another one is usual elsewhere, or it is written in capitals."""
        there = self._option_string_actions
        for other in (name, *ALIASES.get(name.lower(), ()), name.lower(), name.replace("-", "_")):
            if f"--{other}" in there:
                return other
        return name

    def _renamed(self, arg: str) -> str:
        flag, equals, value = arg.partition("=")
        if not flag.startswith("--"):
            return arg
        return f"--{self._named(flag.removeprefix('--'))}{equals}{value}"

    def _split(self, args: list[str]) -> Typed:
        """Options with their words, refusing those that do not exist.

        Raises:
            UsageError: naming the nearest one.
        """
        typed, rest = Typed(), deque(args)
        while rest:
            arg = rest.popleft()
            flag, equals, value = arg.partition("=")
            action = self._option_string_actions.get(flag)
            if action is None:
                if arg.startswith("--"):
                    raise UsageError(f"unknown option {flag}: {self._nearest(flag[2:])}")
                typed.words.append(arg)
                continue
            words = [value] if equals else []
            wanted = self._words_of(flag.lstrip("-"), action)
            while not equals and rest and len(words) < wanted and not rest[0].startswith("--"):
                if self._type_of(action.dest) is bool and rest[0].lower() not in ("true", "false"):
                    break
                words.append(rest.popleft())
            hint = self._type_of(action.dest)
            if not words and wanted == 1 and hint not in (None, bool):
                raise UsageError(f"{flag} has no value: it takes {in_words(hint)}")
            typed.options[flag.lstrip("-")] = words
        return typed

    def _words_of(self, name: str, action: argparse.Action) -> int:
        """How many words an option takes at most."""
        if action.nargs == 0 or name in ("help", "h", "print_config"):
            return 0
        if isinstance(action.nargs, int):
            return action.nargs
        return sys.maxsize if self._is_list(name) or action.nargs in ("+", "*") else 1

    def _spelt_out(self, args: list[str]) -> list[str]:
        """`--overwrite` alone means `--overwrite=true`, and `--names a b` means `--names=["a","b"]`."""
        found: list[str] = []
        rest = deque(args)
        while rest:
            arg = rest.popleft()
            name = arg.removeprefix("--")
            if arg.startswith("--") and self._type_of(name) is bool:
                if not (rest and rest[0].lower() in ("true", "false")):
                    arg = f"{arg}=true"
            elif arg.startswith("--") and self._is_list(name):
                words = []
                while rest and not rest[0].startswith("--"):
                    words.append(rest.popleft())
                listed = len(words) == 1 and words[0].startswith("[")
                arg = f"{arg}={words[0] if listed else json.dumps(words)}"
            found.append(arg)
        return found

    # --- what is checked ---

    def _type_of(self, name: str) -> Any:
        return self._types.get(name)

    def _is_list(self, name: str) -> bool:
        """Whether an option takes several words, as a list of texts does."""
        return self._type_of(name) in (list[str], list[str] | None)

    def _inner(self, name: str) -> list[str]:
        """The options of a group."""
        return [a.dest for a in self._actions if a.dest.startswith(f"{name}.")]

    def _leaves(self, settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Configured options by their whole name, those of groups one by one.

        Raises:
            UsageError: for what does not exist, or a group that is no mapping.
        """
        positional = {a.dest for a in self._actions if not a.option_strings}
        for key, value in settings.items():
            name = f"{prefix}{key}"
            if inner := self._inner(name):
                if not isinstance(value, dict):
                    raise UsageError(f"{name} is {value!r}: it holds options such as {inner[0]}")
                yield from self._leaves(value, f"{name}.")
            elif f"--{name}" not in self._option_string_actions and name not in positional:
                name += f".{next(iter(value))}" if isinstance(value, dict) and value else ""
                raise UsageError(f"unknown option --{name}: {self._nearest(name)}")
            else:
                yield name, value

    def _refuse_typed(self, name: str, words: list[str]) -> None:
        if inner := self._inner(name):
            value = _loaded(words[0]) if words else None
            if not isinstance(value, dict):
                shown = words[0] if words else ""
                raise UsageError(f"{name} is {shown!r}: it holds options such as {inner[0]}")
            refuse_classes(f"--{name}", value)
            for leaf, inside in self._leaves(value, f"{name}."):
                self._refuse_other_types(leaf, inside)
            return
        hint = self._type_of(name)
        if hint is None:
            return
        if self._is_list(name) and not (len(words) == 1 and words[0].startswith("[")):
            return
        for word in words:
            refuse_classes(f"--{name}", _loaded(word))
            self._refuse_other_types(name, word)

    def _refuse_other_types(self, name: str, value: Any) -> None:
        hint = self._type_of(name)
        if hint is None or (isinstance(value, list) and not self._option(name)):
            return
        if not any(fits(one, hint) for one in _meanings(value, hint)):
            raise UsageError(f"--{name} is {value!r}: it takes {in_words(hint)}")

    def _option(self, name: str) -> bool:
        return f"--{name}" in self._option_string_actions

    def _refuse_incomplete(self, typed: Typed, configured: Mapping[str, Any]) -> None:
        """Raise UsageError for what is missing, or for a word too many."""
        places = [a for a in self._actions if not a.option_strings and a.dest not in configured]
        required = [a for a in self._actions if a.required and a.option_strings]
        missing = [str(a.metavar or a.dest) for a in places[len(typed.words) :] if a.required]
        missing += [f"--{a.dest}" for a in required if a.dest not in {*typed.options, *configured}]
        if missing:
            raise UsageError(f"give {' and '.join(missing)}")
        several = any(a.nargs in ("+", "*") for a in self._actions if not a.option_strings)
        if len(typed.words) > len(places) and not several:
            raise UsageError(f"{typed.words[len(places)]!r} is one word too many: {self.usage}")

    def _nearest(self, name: str) -> str:
        known = [
            a.dest
            for a in self._actions
            if a.dest not in ("help", argparse.SUPPRESS) and not a.dest.endswith(".name")
        ]
        # `--method.iteration` is nearest to another option of the method, not to `--partial_fourier`
        inner = [other for other in known if other.startswith(name.rpartition(".")[0] + ".")]
        twins = [other for other in known if other.endswith("." + name.rpartition(".")[2])]
        if twins and not inner:
            return f"did you mean --{twins[0]}?"
        near = get_close_matches(name, inner if inner and "." in name else known, n=1)
        if near:
            return f"did you mean --{near[0]}?"
        if inner and "." in name:
            return f"there are {', '.join('--' + other for other in inner)}"
        return f"{self.prog} --help lists them"


def _meanings(value: Any, hint: Any) -> list[Any]:
    """A value as it is, and where it is a text what it may stand for."""
    if not isinstance(value, str):
        return [value]
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words: list[Any] = [value] if any(_takes_text(part) for part in parts) else []
    loaded = _loaded(value)
    for kind in (int, float):
        try:
            words.append(kind(value))
        except ValueError:
            continue
    return [*words, *([] if isinstance(loaded, str) else [loaded])]


def _takes_text(hint: Any) -> bool:
    return hint is str or hint is Any or get_origin(hint) is Literal or not isinstance(hint, type)


def _loaded(text: str) -> Any:
    """What a text is as YAML; itself where it is none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
