"""What is typed or configured, checked against the options of a command before they are parsed."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from mrirecon.cli.config import Settings, UsageError, refuse_classes
from mrirecon.cli.unknown import instead_of
from mrirecon.nearest import known_as, usual_for
from mrirecon.options import fits, in_words

# what people write for true or false, and is no file behind an option that stands alone
NO_BOOLS = ("yes", "no", "on", "off", "0", "1", "y", "n")


@dataclass
class Typed:
    """What was typed: the words after each option, those that belong to none, and all of it for jsonargparse."""

    options: dict[str, list[str]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)


class Options:
    """The options of a command.

    Args:
        actions: of its parser.
        types: of the options, where they are known.
        prog: the command, for messages.
    """

    def __init__(
        self, actions: Sequence[argparse.Action], types: Mapping[str, Any], prog: str
    ) -> None:
        self.actions, self.types, self.prog = actions, types, prog
        self.there = {flag: action for action in actions for flag in action.option_strings}

    def check(self, args: list[str], settings: Settings) -> list[str]:
        """Refuse what does not exist, is of another type, or is missing; the arguments, spelt out.

        Raises:
            UsageError: naming the first.
        """
        typed, configured = self._split(args), dict(self._leaves(settings))
        for name, words in typed.options.items():
            self._refuse_typed(name, words)
        for name, value in configured.items():
            self._refuse_other_types(name, value)
        if not {"help", "h"} & typed.options.keys():
            self._refuse_incomplete(typed, configured)
        return typed.args

    def named(self, name: str) -> str:
        """The name of an option on the command line, where another one is usual elsewhere, or capitals are typed."""
        known = [flag.removeprefix("--") for flag in self.there]
        return known_as(name, known) or usual_for(name, known) or name

    def renamed(self, arg: str) -> str:
        """An argument with the name that its option has here; `-o` is short for `--output`."""
        if arg.startswith("-o") and "--output" in self.there:
            value = arg.removeprefix("-o").removeprefix("=")
            return f"--output={value}" if value else "--output"
        flag, equals, value = arg.partition("=")
        if not flag.startswith("--"):
            return arg
        return f"--{self.named(flag.removeprefix('--'))}{equals}{value}"

    def _split(self, args: list[str]) -> Typed:
        """Options with their words, refusing those that do not exist.

        Raises:
            UsageError: naming the nearest one.
        """
        typed, rest = Typed(), deque(args)
        while rest:
            arg = rest.popleft()
            flag, equals, value = arg.partition("=")
            action = self.there.get(flag) or self._mapping_of(flag)
            if action is None:
                if arg.startswith("--") or re.match(r"-[A-Za-z]", arg):
                    raise UsageError(
                        f"unknown option {flag}: {instead_of(flag.lstrip('-'), self.actions, self.prog)}"
                    )
                typed.words.append(arg)
                typed.args.append(arg)
                continue
            words = [value] if equals else []
            name, hint = flag.lstrip("-"), self.types.get(action.dest)
            wanted = self._words_of(name, action)
            while not equals and rest and len(words) < wanted and not rest[0].startswith("--"):
                if hint is bool and rest[0].lower() not in ("true", "false"):
                    break
                if (
                    words
                    and self._numbers(name)
                    and not (_is_number(words[0]) and _is_number(rest[0]))
                ):
                    break
                words.append(rest.popleft())
            if not words and wanted == 1 and hint not in (None, bool):
                about = (action.help or "").removesuffix(".")
                raise UsageError(
                    f"{flag} has no value: it takes {in_words(hint)}{about and f' ({about})'}"
                )
            if hint is bool and not words and rest and rest[0].lower() in NO_BOOLS:
                raise UsageError(f"{flag} is {rest[0]!r}: it takes true or false")
            words = [known_as(word, _choices(hint)) or word for word in words]
            if name in typed.options:
                raise UsageError(_twice(name, typed.options[name], words, wanted > 1))
            typed.options[name] = words
            typed.args += [f"{flag}={words[0]}"] if equals else self._spelt_out(name, flag, words)
        return typed

    def _mapping_of(self, flag: str) -> argparse.Action | None:
        """The option whose value has names of its own, as in `--weights.NAME FILE`."""
        option, _, key = flag.rpartition(".")
        hint = self.types.get(option.removeprefix("--"))
        mapping = get_origin(hint) is dict and key != "class_path"
        return self.there.get(option) if mapping else None

    def _words_of(self, name: str, action: argparse.Action) -> int:
        """How many words an option takes at most."""
        if action.nargs == 0 or name in ("help", "h", "print_config"):
            return 0
        if isinstance(action.nargs, int):
            return action.nargs
        if numbers := self._numbers(name):
            return numbers
        return sys.maxsize if self._is_list(name) or action.nargs in ("+", "*") else 1

    def _spelt_out(self, name: str, flag: str, words: list[str]) -> list[str]:
        """`--overwrite` alone means `--overwrite=true`, and `--names a b` means `--names=["a","b"]`."""
        if self.types.get(name) is bool and not words:
            return [f"{flag}=true"]
        if self._is_list(name) and not _is_array(words):
            return [f"{flag}={json.dumps(words)}"]
        if self._numbers(name):
            return [f"{flag}={_array(words)}"]
        return [flag, *words]

    def _is_list(self, name: str) -> bool:
        """Whether an option takes several words, as a list of texts does."""
        return self.types.get(name) in (list[str], list[str] | None, tuple[str, ...])

    def _numbers(self, name: str) -> int:
        """How many numbers an option takes that takes several, as `1 1 5` or `1,1,5`; else 0."""
        hint = self.types.get(name)
        tuples = [one for one in (hint, *get_args(hint)) if get_origin(one) is tuple]
        inner = get_args(tuples[0]) if tuples else ()
        return len(inner) if set(inner) == {float} else 0

    def _inner(self, name: str) -> list[str]:
        """The options of a group."""
        return [a.dest for a in self.actions if a.dest.startswith(f"{name}.")]

    def _leaves(self, settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Configured options by their whole name, those of groups one by one.

        Raises:
            UsageError: for what does not exist, or a group that is no mapping.
        """
        positional = {a.dest for a in self.actions if not a.option_strings}
        for key, value in settings.items():
            name = f"{prefix}{key}"
            if inner := self._inner(name):
                if not isinstance(value, dict):
                    raise UsageError(f"{name} is {value!r}: it holds options such as {inner[0]}")
                yield from self._leaves(value, f"{name}.")
            elif f"--{name}" not in self.there and name not in positional:
                name += f".{next(iter(value))}" if isinstance(value, dict) and value else ""
                raise UsageError(
                    f"unknown option --{name}: {instead_of(name, self.actions, self.prog)}"
                )
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
        hint = self.types.get(name)
        if hint is None:
            return
        if self._is_list(name) and not _is_array(words):
            return
        if self._numbers(name) and not _is_array(words):
            if not any(fits(one, hint) for one in _meanings(_array(words), hint)):
                shown = " ".join(words)
                raise UsageError(f"--{name} is {shown!r}: it takes {in_words(hint)}, such as 1 1 5")
            return
        for word in words:
            refuse_classes(f"--{name}", _loaded(word))
            self._refuse_other_types(name, word)

    def _refuse_other_types(self, name: str, value: Any) -> None:
        hint = self.types.get(name)
        if hint is None or (isinstance(value, list) and f"--{name}" not in self.there):
            return
        if not any(fits(one, hint) for one in _meanings(value, hint)):
            raise UsageError(f"--{name} is {value!r}: it takes {in_words(hint)}")

    def _refuse_incomplete(self, typed: Typed, configured: Mapping[str, Any]) -> None:
        """Raise UsageError for what is missing, or for a word too many."""
        places = [a for a in self.actions if not a.option_strings and a.dest not in configured]
        required = [a for a in self.actions if a.required and a.option_strings]
        missing = [str(a.metavar or a.dest) for a in places[len(typed.words) :] if a.required]
        missing += [f"--{a.dest}" for a in required if a.dest not in {*typed.options, *configured}]
        if missing:
            raise UsageError(f"give {' and '.join(missing)}{_meant(missing, typed.words)}")
        several = any(a.nargs in ("+", "*") for a in self.actions if not a.option_strings)
        if len(typed.words) > len(places) and not several:
            word = typed.words[len(places)]
            free = "--output" in self.there and "output" not in {*typed.options, *configured}
            remedy = f"did you mean --output {word}?" if free else f"see {self.prog} --help"
            raise UsageError(f"{word!r} is one word too many: {remedy}")


def _meant(missing: list[str], words: list[str]) -> str:
    """Which option was meant by a word too many, or by a YAML file among the words."""
    last = words[-1] if words else ""
    if last.endswith((".yaml", ".yml")):
        return f": did you mean --config {last}?"
    return f": did you mean --output {last}?" if "--output" in missing and len(words) > 1 else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _array(words: list[str]) -> str:
    """Words, or one with commas or as in 1x1x5, as an array."""
    words = words[0].split("x") if len(words) == 1 and not _is_array(words) else words
    return words[0] if _is_array(words) else f"[{','.join(words)}]"


def _twice(name: str, first: list[str], second: list[str], many: bool) -> str:
    """What to say of an option that is given twice."""
    if many and not (_is_array(first) or _is_array(second)):
        return f"--{name} is given twice: write --{name} {' '.join([*first, *second])}"
    values = " and ".join(" ".join(words) or "alone" for words in (first, second))
    return f"--{name} is given twice ({values}): leave one of them out"


def _is_array(words: list[str]) -> bool:
    return len(words) == 1 and words[0].startswith("[")


def _meanings(value: Any, hint: Any) -> list[Any]:
    """A value as it is, and where it is a text what it may stand for."""
    if not isinstance(value, str):
        return [value]
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words: list[Any] = [value] if any(_takes_text(part) for part in parts) else []
    loaded = _loaded(value)
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if kind is int or math.isfinite(number):  # nan and inf are no numbers in YAML
            words.append(number)
    return [*words, *([] if isinstance(loaded, str) else [loaded])]


def _choices(hint: Any) -> list[str]:
    """The names that a type takes, which may be written in any capitals."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    inner = (one for part in parts if get_origin(part) is Literal for one in get_args(part))
    return [one for one in inner if isinstance(one, str)]


def _takes_text(hint: Any) -> bool:
    return hint is str or hint is Any or get_origin(hint) is Literal or not isinstance(hint, type)


def _loaded(text: str) -> Any:
    """What a text is as YAML; itself where it is none."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
