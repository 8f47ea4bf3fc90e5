"""The methods by name, and their options as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from os import PathLike, fspath
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mrirecon.methods.base import SliceMethod
from mrirecon.methods.classical import (
    Adjoint,
    CGSense,
    L1Wavelet,
    MinNorm,
    TotalVariation,
    ZeroFilled,
)
from mrirecon.methods.grappa import Grappa
from mrirecon.methods.posterior import POSTERIOR, Posterior
from mrirecon.methods.unrolled import HUMUS, UNet, VarNet
from mrirecon.methods.unrolled_prior import UnrolledPrior
from mrirecon.nearest import suggest

CLASSICAL = (ZeroFilled, Adjoint, MinNorm, CGSense, L1Wavelet, TotalVariation, Grappa)
LEARNED = (UNet, VarNet, HUMUS, UnrolledPrior)
METHODS: dict[str, type[SliceMethod]] = {
    method.name: method for method in CLASSICAL + LEARNED + POSTERIOR
}
DEFAULT = "l1_wavelet"


def options_of(name: str) -> list[str]:
    """The names of a method's own options.

    Raises:
        ValueError: if there is no such method.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: {suggest(str(name), METHODS)}")
    kind = METHODS[name]
    return [field.name for field in fields(kind) if field.name not in kind.loop_fields()]


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method, all of them, with the defaults of those that are not given.

    Raises:
        ValueError: if the method does not exist or has no such option, or a value is of the wrong type.
    """
    known, hints = options_of(name), get_type_hints(METHODS[name])
    values: dict[str, Any] = {}
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}: {_who_has(option, known)}")
        plain = fspath(value) if isinstance(value, PathLike) else value
        if not _fits(plain, hints[option]):
            raise ValueError(f"{name}: {option} is {value!r}: it takes {_in_words(hints[option])}")
        values[option] = plain
    method = METHODS[name](**values)
    return {option: getattr(method, option) for option in known}


def build_method(method: Mapping[str, Any], **shared: Any) -> SliceMethod:
    """The method of `{name: NAME, OPTION: VALUE}`, with the options of the loop over slices."""
    options = {key: value for key, value in method.items() if key != "name"}
    return METHODS[method["name"]](**options, **shared)


def is_slow(method: Mapping[str, Any]) -> bool:
    """Whether finished slices are worth keeping when a run is stopped."""
    return issubclass(METHODS[method["name"]], Posterior)


def who_has(option: str) -> list[str]:
    """The methods that have an option."""
    return [name for name, kind in METHODS.items() if option in {f.name for f in fields(kind)}]


def _who_has(option: str, known: list[str]) -> str:
    others = who_has(option)
    if others:
        return f"{', '.join(others[:4])}{', ...' if len(others) > 4 else ''} do"
    return suggest(option, known)


def _fits(value: Any, hint: Any) -> bool:
    kind = get_origin(hint)
    if kind is Literal:
        return value in get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint in (int, float):
        numbers = (int, float) if hint is float else int
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, hint)


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_in_words, get_args(hint)))
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
    return words.get(hint, "None")
