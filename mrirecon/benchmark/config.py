"""A benchmark from the plain values of a YAML file; every mistake is one sentence, with the nearest valid name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrirecon.benchmark.entries import MaskEntry, MethodEntry
from mrirecon.masks import MASKS
from mrirecon.methods import METHODS, Posterior
from mrirecon.nearest import suggest
from mrirecon.simulate import simulate_scan
from mrirecon.weights import shipped_weights

PRIOR = "prior"  # key of `weights`: those of every diffusion method
Typed = Callable[[str, dict[str, Any]], dict[str, Any]]

_NUMBER = ((int, float), "a number")
_MASK = {
    "name": ((str,), "a text"),
    "kind": ((str,), "a name"),
    "acceleration": _NUMBER,
    "center_fraction": _NUMBER,
    "center_size": ((int,), "a whole number"),
    "seed": ((int, str), "a whole number, or file"),
    "seeds": ((list,), "a list of whole numbers"),
}
_METHOD = {
    "name": ((str,), "a text"),
    "method": ((str,), "a name"),
    "options": ((dict,), "options of the method"),
    "weights": ((str,), "a name or a file"),
    "seeds": ((list,), "a list of whole numbers"),
    "tune": ((dict,), "lists of values"),
    "if_shipped": ((bool,), "true or false"),
}


def mask_entry(values: Mapping[str, Any]) -> MaskEntry:
    """A mask from its plain values; what is no key of `MaskEntry` is an option of the kind.

    Raises:
        ValueError: if a key is unknown or missing, or a value of the wrong kind.
    """
    kind = values.get("kind") if isinstance(values, Mapping) else None
    own = MASKS[str(kind)].options if kind in list(MASKS) else []
    known = {**_MASK, **{option: ((object,), "a value") for option in own}}
    values = _checked(values, known, "masks", ("kind", "acceleration"))
    given = {key: value for key, value in values.items() if key in _MASK and key != "seed"}
    if "seed" in values and "seeds" in values:
        raise ValueError(f"mask {kind} has seed and seeds: give one of them")
    seeds = tuple(values.get("seeds", (values.get("seed", 0),)))
    options = {key: values[key] for key in own if key in values}
    return MaskEntry(**{**given, "seeds": seeds}, options=options)


def method_entry(
    values: Mapping[str, Any], weights: Mapping[str, str], typed: Typed | None = None
) -> MethodEntry | None:
    """A method from its plain values; None where its weights were to come along and do not.

    Args:
        values: the keys of `MethodEntry`, `weights`, and `if_shipped`: leave the method out where no
            weights are named and its usual ones are not shipped.
        weights: names or files for methods that name none themselves: by method, or `prior`.
        typed: turns the options of a method into values of the right type, or raises ValueError.

    Raises:
        ValueError: if a key is unknown or missing, or a value of the wrong kind.
    """
    values = _checked(values, _METHOD, "methods", ("method",))
    method = values["method"]
    label = values.get("name", method)
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: {suggest(method, METHODS)}")
    options, tune = dict(values.get("options") or {}), dict(values.get("tune") or {})
    default = weights.get(method)
    if default is None and issubclass(METHODS[method], Posterior):
        default = weights.get(PRIOR)
    if chosen := values.get("weights", default):
        options.setdefault("weights", chosen)
    if values.get("if_shipped") and "weights" not in options:
        usual = getattr(METHODS[method], "weights", None)
        if usual not in (None, *shipped_weights()):
            return None
    for option, tried in tune.items():
        if not isinstance(tried, list):
            raise ValueError(f"method {label}: tune {option} is {tried!r}: list the values to try")
    if typed is not None:
        try:
            checked = typed(method, options)
            options = {key: checked[key] for key in options}
            tune = {key: [typed(method, {key: v})[key] for v in tune[key]] for key in tune}
        except ValueError as error:
            raise ValueError(f"method {label}: {error}") from error
    seeds = _seeds(values, f"method {label}")
    return MethodEntry(name=label, method=method, seeds=seeds, options=options, tune=tune)


def check_weights(weights: Mapping[str, str]) -> None:
    """Raise ValueError for a key of `weights` that is neither a method with weights nor `prior`."""
    known = {name for name, kind in METHODS.items() if hasattr(kind, "weights")} | {PRIOR}
    for name in weights:
        if name not in known:
            raise ValueError(f"weights: unknown method {name!r}: {suggest(name, sorted(known))}")


def check_simulated(images: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for an unknown key of a simulated scan."""
    known = {"image", "name", "volume", *inspect.signature(simulate_scan).parameters}
    known -= {"affine", "source", "noise_covariance"}
    for entry in images:
        for key in entry:
            if key not in known:
                raise ValueError(f"simulated has an unknown key {key!r}: {suggest(key, known)}")


def _seeds(values: Mapping[str, Any], where: str) -> tuple[int, ...]:
    seeds = values.get("seeds", [])
    if "seeds" in values and not seeds:
        raise ValueError(f"{where}: seeds is empty: give one or more, or leave it out")
    if not all(
        isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds
    ):
        raise ValueError(f"{where}: seeds is {seeds}: it takes whole numbers of at least 0")
    return tuple(seeds)


def _checked(
    values: object, known: Mapping[str, Any], where: str, required: Sequence[str]
) -> dict[str, Any]:
    """Those that are given: null stands for what is left out."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: {values!r} must hold {', '.join(known)}")
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where} has an unknown key {key!r}: {suggest(str(key), known)}")
        kinds, words = known[key]
        wrong_bool = isinstance(value, bool) and bool not in kinds and object not in kinds
        if value is not None and (wrong_bool or not isinstance(value, kinds)):
            raise ValueError(f"{where}: {key} is {value!r}: it takes {words}")
    if missing := [key for key in required if values.get(key) is None]:
        raise ValueError(f"{where}: {dict(values)} has no {missing[0]}")
    return {key: value for key, value in values.items() if value is not None}
