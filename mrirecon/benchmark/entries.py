"""Masks and methods of a table, from the plain values of a YAML file too; every mistake is one sentence."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.masks import MASKS, MaskSpec, Seed
from mrirecon.methods import METHODS, Method, PriorMethod, as_method
from mrirecon.nearest import suggest
from mrirecon.options import check, names_of
from mrirecon.weights import sha256_of, shipped_weights

Options = Mapping[str, Any]

OF_FILE = "file"  # the seed of a mask that follows from the name of the scan's file
PRIOR = "prior"  # key of `weights`: those of every diffusion method
EVERY_SAMPLER = "samplers"  # in place of a method's name


@dataclass(frozen=True)
class MaskEntry(MaskSpec):
    """A mask of the table.

    Attributes:
        seeds: one mask for each; `file` draws it from the name of each scan's file, as fastMRI does in validation.
        name: in the table.

    Raises:
        ValueError: if the kind is unknown, or a number is out of its range.
    """

    seeds: tuple[int | str, ...] = (0,)
    name: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked before the size is known, and name the mask where it has no name."""
        super().__post_init__()
        _check_seeds(f"mask {self.kind}", self.seeds)
        for seed in self.seeds:
            if seed != OF_FILE and not (isinstance(seed, int) and seed >= 0):
                raise ValueError(
                    f"mask {self.kind}: seed is {seed!r}: give 0, a positive whole number, or {OF_FILE}"
                )
        if not self.name:
            object.__setattr__(self, "name", f"{self.kind} x{self.acceleration:g}")

    @classmethod
    def of(cls, values: object) -> MaskEntry:
        """A mask from the plain values of a YAML file: its fields, `seed`, and the options of its kind.

        Raises:
            ValueError: if a key is unknown or missing, or a value of the wrong kind.
        """
        given = _given(values, "masks")
        kind = given.get("kind")
        own = MASKS[str(kind)].options if kind in list(MASKS) else []
        options = {name: given.pop(name) for name in own if name in given}
        if {"seed", "seeds"} <= given.keys():
            raise ValueError(f"mask {kind} has seed and seeds: give one of them")
        if "seed" in given:
            given["seeds"] = [given.pop("seed")]
        checked = _checked(cls, given, "masks", ["kind", "acceleration"], own)
        if options:
            checked["options"] = check(MASKS[checked["kind"]].make, options, f"mask {kind}")
        return cls(**{**checked, "seeds": tuple(checked.get("seeds", (0,)))})

    def request(self, seed: Seed) -> dict[str, Any]:
        """All that the mask depends on but the grid."""
        return {
            "kind": self.kind,
            "acceleration": float(self.acceleration),
            "center_fraction": None if self.center_size is not None else self.fraction(),
            "center_size": self.center_size,
            "seed": seed,
            "options": dict(self.options),
        }


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """A method of the table.

    Attributes:
        method: a name of `METHODS`, `module:Class` or `file.py:Class` of one of your own, or an object or class with
            `solve`, whose parameters are its fields if it is a dataclass; these tell its
            results from others.
        options: its parameters.
        weights: name or file of its weights, where `options` name none.
        seeds: of a method that draws: one result for each; None takes its own seed.
        tune: lists of values to try for options, on the tuning scans, for each mask and noise level.
        if_shipped: leave the method out where no weights are named and its usual ones are not shipped.
        name: in the table.

    Raises:
        ValueError: if the method or an option does not exist, or a value is impossible.
    """

    method: Any
    options: Options = field(default_factory=dict)
    weights: str | None = None
    seeds: tuple[int, ...] | None = None
    tune: Options = field(default_factory=dict)
    if_shipped: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Build the method with everything it will be given, so that what is wrong is found before any work."""
        if self.weights is not None:
            object.__setattr__(self, "options", {"weights": self.weights, **self.options})
        if isinstance(self.method, Mapping):
            raise ValueError(f"method is {self.method!r}: give its name, and `options` beside it")
        if not self.name:
            own = getattr(self.method, "__name__", type(self.method).__name__)
            named = self.method if isinstance(self.method, str) else own
            named = METHODS[named].name if ":" in named else named
            object.__setattr__(self, "name", str(getattr(self.method, "name", named)))
        for option, tried in self.tune.items():
            if not isinstance(tried, (list, tuple)) or not tried:
                raise ValueError(
                    f"method {self.name}: tune {option} is {tried!r}: list the values to try"
                )
        if self.seeds is not None:
            _check_seeds(f"method {self.name}", self.seeds)
            if not self._draws:
                raise ValueError(f"method {self.name} has seeds, but draws nothing: leave them out")
        for tuned, seed in itertools.product(self.grid or [{}], self.runs):
            self.build(tuned, seed)

    @classmethod
    def of(cls, values: object, weights: Mapping[str, str]) -> MethodEntry:
        """A method from the plain values of a YAML file, which are its fields.

        Args:
            values: by name; null stands for what is left out.
            weights: names or files for methods that name none themselves: by method, or `prior`.

        Raises:
            ValueError: if a key is unknown or missing, or a value of the wrong kind.
        """
        given = _checked(cls, _given(values, "methods"), "methods", ["method"])
        method = given["method"]
        if method in list(METHODS):
            default = weights.get(PRIOR) if issubclass(METHODS[method], PriorMethod) else None
            given.setdefault("weights", weights.get(method, default))
        if "seeds" in given:
            given["seeds"] = tuple(given["seeds"])
        return cls(**given)

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values to try; empty for a method that is not tuned."""
        if not self.tune:
            return []
        combinations = itertools.product(*self.tune.values())
        return [dict(zip(self.tune, values, strict=True)) for values in combinations]

    @property
    def runs(self) -> tuple[int | None, ...]:
        """The seed of each result; None of a method that draws nothing."""
        if self._draws:
            return self.seeds or (self._usual.parameters()["seed"],)
        return (None,)

    @property
    def kind(self) -> str:
        """What the method is called by itself."""
        return self._usual.name

    @property
    def is_left_out(self) -> bool:
        """Whether it was to be left out without weights, and has none."""
        usual = self._usual.parameters().get("weights")
        return (
            self.if_shipped
            and "weights" not in self.options
            and usual not in (None, *shipped_weights())
        )

    def build(self, tuned: Options, seed: int | None = None) -> Method:
        """The method, with what was tuned.

        Raises:
            ValueError: if the method or an option does not exist, or a value is impossible.
        """
        drawn = {} if seed is None else {"seed": seed}
        try:
            return as_method(self.method, {**self.options, **tuned, **drawn})
        except (TypeError, ValueError) as error:
            if str(error).startswith("unknown method"):
                raise
            text = str(error).removeprefix(f"{self.method}: ")
            raise ValueError(f"method {self.name}: {text}") from error

    def sha256(self, tuned: Options) -> dict[str, str]:
        """Of the files that it reads: weights, a first image.

        Raises:
            ValueError, OSError: if there is no such file.
        """
        try:
            files = self.build(tuned).files()
        except FileNotFoundError as error:
            raise FileNotFoundError(f"method {self.name}: {error}") from error
        return {name: sha256_of(*parts) for name, parts in files.items()}

    @cached_property
    def _usual(self) -> Method:
        return self.build((self.grid or [{}])[0])

    @property
    def _draws(self) -> bool:
        """Whether seeds can be given to it; an object that is no `Method` has its own."""
        changeable = isinstance(self.method, (str, type, Method))
        return changeable and "seed" in self._usual.parameters()


def method_entries(listed: Iterable[object], weights: Mapping[str, str]) -> list[MethodEntry]:
    """The methods of a table from the plain values of a YAML file; `method: samplers` stands for each of `SAMPLERS`.

    Args:
        listed: values of `MethodEntry.of`.
        weights: as of `MethodEntry.of`.

    Raises:
        ValueError: as `MethodEntry.of`.
    """
    entries = []
    for values in listed:
        every = isinstance(values, Mapping) and values.get("method") == EVERY_SAMPLER
        each = [{**values, "method": name} for name in SAMPLERS] if every else [values]  # type: ignore[dict-item]
        entries += [MethodEntry.of(one, weights) for one in each]
    return entries


def check_weights(weights: Mapping[str, str]) -> None:
    """Raise ValueError for a key of `weights` that is neither a method with weights nor `prior`."""
    known = sorted({PRIOR, *(name for name in METHODS if hasattr(METHODS[name], "weights"))})
    for name in weights:
        if name not in known:
            raise ValueError(f"weights: unknown method {name!r}: {suggest(name, known)}")


def check_name(what: str, name: object, known: Mapping[str, Any]) -> None:
    """Raise ValueError unless the name is known."""
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}: {suggest(str(name), known)}")


def _given(values: object, where: str) -> dict[str, Any]:
    """The values without null, which stands for what is left out."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: {values!r} is none of them: give names with values")
    return {str(key): value for key, value in values.items() if value is not None}


def _checked(
    cls: type,
    given: Mapping[str, Any],
    where: str,
    required: Sequence[str],
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """Fields of an entry; `more` names are known besides."""
    known = [name for name in names_of(cls) if name != "options" or cls is MethodEntry]
    method = given.get("method")
    inner = names_of(METHODS[method]) if method in list(METHODS) else []

    def elsewhere(name: str) -> str:
        return f"put it into `options: {{{name}: ...}}`" if name in inner else ""

    checked = check(cls, given, where, known=[*known, *more], elsewhere=elsewhere)
    if missing := [name for name in required if name not in checked]:
        raise ValueError(
            f"{where}: {dict(given)} has no {missing[0]}: add `{missing[0]}: ...` to it"
        )
    return checked


def _check_seeds(where: str, seeds: Sequence[int | str]) -> None:
    """Raise ValueError for no seed, or one that is there twice: its results would count twice."""
    if not seeds:
        raise ValueError(f"{where}: seeds is empty: give one or more, or leave it out")
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise ValueError(f"{where}: seed {twice[0]} is there twice: give each seed once")
