"""Options of a command: from the signature of its function, a YAML file and the command line, with readable help."""

from __future__ import annotations

import argparse
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import (
    ActionConfigFile,
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

Settings = dict[str, Any]
# what people type -> what the option is called here
ALIASES = {
    "accel": "acceleration",
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "lambda": "method.regularization",
    "regularization": "method.regularization",
    "iterations": "method.iterations",
    "steps": "trainer.max_steps",
}
LARGEST_CONFIG = 1 << 18  # bytes of a file, and values when it is written out


class UsageError(ValueError):
    """Bad usage: wrong options or values on the command line or in a YAML file."""


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
        """Replace what the help says about an option; `argparse.SUPPRESS` hides it."""
        action = self._option_string_actions[option]
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
        for flag in self._flags():
            flag.metavar = "[{true,false}]"

    def _flags(self) -> list[argparse.Action]:
        return [action for action in self._actions if getattr(action, "_typehint", None) is bool]

    def _lists(self) -> set[str]:
        """Options that take several words."""
        kinds = (list[str], list[str] | None)
        actions = [a for a in self._actions if getattr(a, "_typehint", None) in kinds]
        return {option for action in actions for option in action.option_strings}

    def parse(self, args: list[str], settings: Settings) -> dict[str, Any]:
        """The value of every option; `settings` come from a YAML file."""
        args = [self._renamed(arg) for arg in args]
        settings = {self._named(name): value for name, value in settings.items()}
        flags = {option for action in self._flags() for option in action.option_strings}
        # Nothing that is typed or configured may name a module to import, which would run it.
        set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["*"])
        for name, value in (*_typed(args), *settings.items()):
            if f"--{name}" in self._option_string_actions and not isinstance(value, dict):
                inner = [a.dest for a in self._actions if a.dest.startswith(f"{name}.")]
                if inner:
                    raise UsageError(f"{name} is {value!r}: it holds options such as {inner[0]}")
        # What the command is about comes before the general options in the help.
        self._action_groups = sorted(
            self._action_groups, key=lambda group: group is self._optionals
        )
        configured = [f"--config={yaml.safe_dump(settings)}"] if settings else []
        args = _gathered(_spelt_out(args, flags), self._lists())
        return vars(self.instantiate(self.parse_args(configured + args)))

    def _named(self, name: str) -> str:
        """The name of an option here, where another one is usual elsewhere."""
        there = self._option_string_actions
        other = ALIASES.get(name, name)
        return other if f"--{name}" not in there and f"--{other}" in there else name

    def _renamed(self, arg: str) -> str:
        flag, equals, value = arg.partition("=")
        if not flag.startswith("--"):
            return arg
        return f"--{self._named(flag.removeprefix('--'))}{equals}{value}"

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(self._readable(" ".join(message.split()).removesuffix(".")))

    def _readable(self, message: str) -> str:
        """The message of jsonargparse in the words of the command line, with the nearest option that exists."""
        message = message.removeprefix('Parser key "config": ')
        expected = r"(?:Expected an?|Does not validate .*? Subtypes:) (.+?)"
        # `--maps.sets 2`: an option that takes one value is asked for a part of it
        if part := re.search(r'key "([\w.]+)":.*NestedArg\(key=\'([\w.]+)\'', message):
            return f"unknown option --{part[1]}.{part[2]}: {self._nearest('.'.join(part.groups()))}"
        if module := re.search(r"Importing '(.*?)' is not allowed", message):
            return f"{module[1]}: options are plain values, no classes"
        if wrong := re.search(
            rf'key "([\w.]+)": {expected}\.? (?:Errors:.*)?(?:Got|Given) value: (.*)', message
        ):
            name, kind, value = wrong.groups()
            return f"--{name} is {value!r}: it takes {_in_words(kind)}"
        if missing := re.search(r"arguments are required: ([\w., ]+)", message):
            named = [self._as_typed(name) for name in missing[1].split(", ")]
            return f"give {' and '.join(named)}"
        group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        option = re.search(r"Option '([\w.]+)' is not accepted", message)
        typed = re.search(r"unrecognized arguments:.*?--([\w.-]+)", message)
        if group or option or typed:
            name = ".".join(group.groups()) if group else (option or typed)[1]  # type: ignore[index]
            return f"unknown option --{name}: {self._nearest(name)}"
        return message

    def _as_typed(self, name: str) -> str:
        for action in self._actions:
            if action.dest == name and not action.option_strings:
                return str(action.metavar or name)
        return f"--{name}"

    def _nearest(self, name: str) -> str:
        known = [a.dest for a in self._actions if a.dest not in ("help", argparse.SUPPRESS)]
        # `--method.iteration` is nearest to another option of the method, not to `--partial_fourier`
        inner = [other for other in known if other.startswith(name.rpartition(".")[0] + ".")]
        twins = [other for other in known if other.endswith("." + name.rpartition(".")[2])]
        if twins and not inner:
            return f"did you mean --{twins[0]}?"
        near = get_close_matches(name, inner if inner and "." in name else known, n=1)
        if near:
            return f"did you mean --{near[0]}?"
        if inner and "." in name:
            return (
                f"there are {', '.join('--' + other for other in inner if other != 'method.name')}"
            )
        return f"{self.prog} --help lists them"


def take_config(args: list[str]) -> tuple[list[str], Settings]:
    """Arguments without `--config FILE`, and what the file holds; of several files the last one wins.

    Raises:
        UsageError: if a file is missing, no YAML, or holds no options.
    """
    kept: list[str] = []
    settings: Settings = {}
    rest = iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag == "--config":
            settings |= _read_settings(value if equals else next(rest, ""))
        else:
            kept.append(arg)
    return kept, settings


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
    _refuse_classes(path, settings)
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


def _refuse_classes(path: str, value: Any) -> None:
    """Refuse what would make jsonargparse import a module of the configuration's choice."""
    if isinstance(value, dict) and "class_path" in value:
        raise UsageError(
            f"{path} has class_path: {value['class_path']!r}: options are plain values, no classes"
        )
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _refuse_classes(path, inner)


def _typed(args: list[str]) -> Iterator[tuple[str, str]]:
    """Options with their values where these are no mappings: `--name value` or `--name=value`."""
    for arg, after in zip(args, [*args[1:], ""], strict=False):
        flag, equals, value = arg.partition("=")
        value = value if equals else after
        if flag.startswith("--") and not value.startswith("{"):
            yield flag.removeprefix("--"), value


def _spelt_out(args: list[str], flags: set[str]) -> list[str]:
    """`--overwrite` alone means `--overwrite=true`."""
    following = [*args[1:], ""][: len(args)]
    return [
        f"{arg}=true" if arg in flags and after.lower() not in ("true", "false") else arg
        for arg, after in zip(args, following, strict=True)
    ]


def _gathered(args: list[str], lists: set[str]) -> list[str]:
    """`--names a b` means `--names=["a","b"]`; a list that is typed as one stays as it is."""
    found: list[str] = []
    rest = deque(args)
    while rest:
        arg = rest.popleft()
        if arg in lists:
            words = []
            while rest and not rest[0].startswith("--"):
                words.append(rest.popleft())
            listed = len(words) == 1 and words[0].startswith("[")
            arg = f"{arg}={words[0] if listed else json.dumps(words)}"
        found.append(arg)
    return found


def _in_words(kind: str) -> str:
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a text",
        "list": "a list",
    }
    if literal := re.search(r"Literal\[(.*?)\]", kind):
        return "one of " + literal[1].replace("'", "")
    return next((text for name, text in words.items() if re.search(rf"\b{name}\b", kind)), kind)
