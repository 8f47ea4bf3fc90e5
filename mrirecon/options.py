"""Checks of option values against the types of a dataclass or function, and the messages for what is wrong."""

from __future__ import annotations

import errno
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from os import PathLike, fspath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mrirecon.nearest import suggest

# Exceptions that bad input, bad usage or the machine can cause; any other is reported as a bug of this package.
EXPECTED = (ValueError, OSError, MemoryError, ImportError, RuntimeError)


def check(
    source: type | Callable[..., Any],
    values: Mapping[str, Any],
    where: str,
    *,
    known: Iterable[str] | None = None,
    elsewhere: Callable[[str], str] = lambda name: "",
) -> dict[str, Any]:
    """The values after checking their names and types; paths become text.

    Args:
        source: dataclass or function with a field or parameter for each value.
        values: name -> value; missing ones are not checked.
        where: what the options belong to, for messages.
        known: allowed names; by default all of `source`.
        elsewhere: gives a hint for an unknown name; without one the nearest known name is suggested.

    Raises:
        ValueError: if a name is unknown, or a value has the wrong type.
    """
    hints = get_type_hints(source)
    names = [*(names_of(source) if known is None else known)]
    checked = {}
    for name, value in values.items():
        if name not in names:
            hint = elsewhere(str(name)) or suggest(str(name), names)
            raise ValueError(f"{where} has no option {name!r}: {hint}")
        plain = fspath(value) if isinstance(value, PathLike) else value
        if not fits(plain, hints[name]):
            raise ValueError(f"{where}: {name} is {value!r}: it takes {in_words(hints[name])}")
        checked[name] = plain
    return checked


def names_of(source: type | Callable[..., Any]) -> list[str]:
    """Names of the fields of a dataclass, or of the parameters of a function."""
    if is_dataclass(source):
        return [field.name for field in fields(source) if field.init]
    return list(inspect.signature(source).parameters)


def fits(value: object, hint: Any) -> bool:
    """Whether a value has a type: an int may be a float, a bool is not a number, and a list may be a tuple."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in inner)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return False
        kinds = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(kinds) == len(value) and all(map(fits, value, kinds))
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint is None:
        return value is None
    return isinstance(value, origin or hint)


def in_words(hint: Any) -> str:
    """A type in words, for messages."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " * (len(inner) > 1) + ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(in_words(part) for part in inner if part is not NoneType)
    if origin is tuple and set(inner) == {float}:
        return f"{len(inner)} numbers"
    if origin in (list, tuple):
        if inner and get_origin(inner[0]) is dict:
            return "a list such as [{NAME: VALUE, NAME: VALUE}]"
        return f"a list of {in_words(inner[0])}" if inner else "a list"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    mapping = isinstance(origin or hint, type) and issubclass(origin or hint, Mapping)
    return "names with values" if mapping else words.get(hint, getattr(hint, "__name__", str(hint)))


@dataclass(frozen=True)
class Range:
    """The range of numbers that an option takes, as part of its type: `Annotated[int, Range(1)]`.

    Attributes:
        least: smallest allowed number.
        above: exclusive lower bound, in place of `least`.
    """

    least: float | int = 0
    above: float | int | None = None

    def refusal(self, value: float | int) -> str:
        """What is wrong with a number; empty if it is in the range."""
        if self.above is not None:
            return "" if value > self.above else f"give more than {self.above}"
        return "" if value >= self.least else f"give at least {self.least}"


Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(above=0)]


def check_ranges(source: type, values: Mapping[str, Any], where: str) -> None:
    """Check that no number of a dataclass is negative, infinite or NaN, and each is in the `Range` of its type.

    Raises:
        ValueError: naming the first number that is invalid.
    """
    ranges = _ranges(source)
    for name, value in values.items():
        if not isinstance(value, (int, float)):
            continue
        if (allowed := ranges.get(name)) is not None and (refusal := allowed.refusal(value)):
            raise ValueError(f"{where}: {name} is {value}: {refusal}")
        if not 0 <= value < math.inf:
            raise ValueError(f"{where}: {name} is {value}, it must be finite and at least 0")


@cache
def _ranges(source: type) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for name, hint in get_type_hints(source, include_extras=True).items():
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        for extra in (one for part in parts for one in getattr(part, "__metadata__", ())):
            if isinstance(extra, Range):
                found[name] = extra
    return found


def parse_slices(given: object) -> slice:
    """A contiguous range of slices as a `slice`.

    Args:
        given: text `A:B` with the first slice and one past the last, either of which may be left out; a `slice`; or
            None for all slices.

    Raises:
        ValueError: if it is not such a range, or an empty one.
    """
    if isinstance(given, slice):
        if given.step not in (None, 1):
            raise ValueError(f"slices have a step of {given.step}: give a run such as 10:12")
        if all(isinstance(edge, (int, NoneType)) for edge in (given.start, given.stop)):
            return given
    if not isinstance(given, (str, NoneType)):
        raise ValueError(f"slices is {given!r}: give a run, such as slice(10, 12) or '10:12'")
    match = re.fullmatch(r"(\d*):(\d*)", given or ":", re.ASCII)
    if match is None:
        alone = (
            f"{given}:{int(str(given)) + 1} for that one alone"
            if str(given).isdecimal()
            else "such as 10:12 or :5"
        )
        raise ValueError(f"slices {given!r} is not of the form A:B: give {alone}")
    start, stop = (int(part) if part else None for part in match.groups())
    if stop is not None and (start or 0) >= stop:
        raise ValueError(f"slices {given!r} holds no slice: B is one past the last, as in 10:12")
    return slice(start, stop)


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the CPU or on a GPU."""
    text = str(error).lower()
    named = "out of memory" in text or "can't allocate memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and named)


def one_line(error: BaseException) -> str:
    """An exception as one sentence; one that is not among `EXPECTED` is reported as a bug of this package."""
    text = " ".join(str(error).split())
    if out_of_memory(error):
        return "out of memory: reconstruct fewer slices at once, or on another device"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
        text += ": give a shorter name" if error.errno == errno.ENAMETOOLONG else ""
    if not isinstance(error, EXPECTED):
        return f"a mistake in mrirecon, please report it: {type(error).__name__}: {text}"
    return text or type(error).__name__
