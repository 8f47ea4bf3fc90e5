"""The methods by name: ours, those that a program registers, and those of other packages; their options as values."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from mrirecon.diffusion.samplers import SAMPLERS
from mrirecon.methods.base import Method, Needs, Problem, Solution
from mrirecon.methods.classical import (
    Adjoint,
    CGSense,
    L1Wavelet,
    MinNorm,
    TotalVariation,
    ZeroFilled,
)
from mrirecon.methods.csgm import CSGM
from mrirecon.methods.dirac import DiracMethod
from mrirecon.methods.grappa import Grappa
from mrirecon.methods.image_networks import NeumannMethod, UnrolledPriorMethod
from mrirecon.methods.networks import (
    HUMUSMethod,
    UNetMethod,
    VarNetMethod,
    method_of,
)
from mrirecon.methods.outside import method_at, sampler_method
from mrirecon.methods.samplers import SAMPLER_METHODS
from mrirecon.methods.untrained import UNTRAINED
from mrirecon.methods.variational import Variational
from mrirecon.nearest import known_as, suggest
from mrirecon.networks import NETWORKS, Network, add_network
from mrirecon.options import check, names_of
from mrirecon.outside import is_place

CLASSICAL = (ZeroFilled, Adjoint, MinNorm, CGSense, L1Wavelet, TotalVariation, Grappa)
LEARNED = (UNetMethod, VarNetMethod, HUMUSMethod, UnrolledPriorMethod, NeumannMethod, DiracMethod)
GENERATIVE = (CSGM,)
DEFAULT = "l1_wavelet"
OTHER_NAMES = {  # what people call a method elsewhere
    "rss": "zero_filled",
    "sos": "zero_filled",
    "fft": "zero_filled",
    "sense": "cg_sense",
    "cs": "l1_wavelet",
    "wavelet": "l1_wavelet",
    "total_variation": "tv",
    "score": "score_mri",
    "modl": "unrolled_prior",
    "diracdiffusion": "dirac",
    "cold_diffusion": "dirac",
}
GROUP = "mrirecon.methods"  # of entry points in the metadata of other packages

Registered = TypeVar("Registered", bound=type[Method | Network])


@runtime_checkable
class Solves(Protocol):
    """Anything that solves slices; `name`, `needs` and the like of `Method` are taken where it has them."""

    def solve(self, batch: Sequence[Problem]) -> Sequence[Solution | Tensor]: ...


class Registry(Mapping[str, type[Method]]):
    """Name -> class: known ones, networks and samplers without a class of their own, entry points of other packages.

    A name may also say where a class lies, as `my_package.methods:Landweber` or `folder/methods.py:Landweber`.
    """

    def __init__(self, known: Sequence[type[Method]]) -> None:
        self._known = {method.name: method for method in known}

    def __getitem__(self, name: str) -> type[Method]:
        if name in self._known:
            return self._known[name]
        if name in list(NETWORKS):
            return self._known.setdefault(name, method_of(name))
        if name in SAMPLERS:
            return self._known.setdefault(name, sampler_method(SAMPLERS[name]))
        if is_place(name):
            return method_at(name)
        found = _entry_points()[name].load()
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise ValueError(f"the entry point {name} of {GROUP} is no class of mrirecon.Method")
        return found

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        others = dict.fromkeys([*NETWORKS, *SAMPLERS, *_entry_points()])
        yield from (name for name in others if name not in self._known)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"methods {', '.join(self)}"

    def add(self, method: type[Method]) -> None:
        """Add a class under its name.

        Raises:
            ValueError: if there is another one of that name.
        """
        if self._known.setdefault(method.name, method) is not method:
            raise ValueError(f"there is a method {method.name} already: give yours another name")


METHODS = Registry((*CLASSICAL, *UNTRAINED, *LEARNED, *GENERATIVE, *SAMPLER_METHODS, Variational))
"""The class of every method by its name; the fields of a class are the options of its method.

Example:
    print(mr.METHODS["tv"]().iterations)
"""


def register(method: Registered) -> Registered:
    """Make a class of `Method`, or an end-to-end network, known by its name in this program; also as a decorator.

    Packages do the same for every program by an entry point of the group `mrirecon.methods` in their metadata.

    Raises:
        ValueError: if there is another one of that name.

    Example:
        @mr.register
        class Mine(mr.SliceMethod):
            name = "mine"

            def solve_slice(self, problem):
                return mr.Solution(image=problem.operator.H(problem.kspace))

        volume = mr.reconstruct("scan.h5", method="mine")
    """
    if issubclass(method, Network):
        add_network(method)
    else:
        METHODS.add(method)
    return method


def as_method(given: object, options: Mapping[str, Any] | None = None) -> Method:
    """The method that is meant, with these options.

    Args:
        given: a name, `{"name": NAME, OPTION: VALUE}`, a method, a class, any object or class with `solve`, or a
            function that samples, with the arguments of `mrirecon.samplers`.
        options: of a name or class; of an object they replace what it has.

    Raises:
        ValueError: if there is no such method or option, or a value is impossible.
    """
    options = dict(options or {})
    if isinstance(given, Mapping):
        options = {**{key: value for key, value in given.items() if key != "name"}, **options}
        given = given.get("name")
    if isinstance(given, str):
        kind = METHODS[method_name(given)]
        return kind(**check(kind, options, given, elsewhere=who_does))
    if isinstance(given, type) and hasattr(given, "solve"):
        values = check(given, options, given.__name__) if is_dataclass(given) else options
        return as_method(given(**values))
    if inspect.isfunction(given):
        kind = sampler_method(given)
        return kind(**check(kind, options, kind.name))
    if isinstance(given, Method):
        return replace(given, **check(type(given), options, given.name)) if options else given
    if isinstance(given, Solves):
        if options:
            raise ValueError(
                f"{type(given).__name__} is built already: give it {next(iter(options))} itself"
            )
        return Adapted(inner=given)
    raise ValueError(
        f"method is {given!r}: give the name of one, an object with `solve`, or a function that samples"
    )


@dataclass(frozen=True, kw_only=True)
class Adapted(Method):
    """An object that is no `Method`, as one.

    Attributes:
        inner: the object.
    """

    inner: Solves

    @property
    def name(self) -> str:  # type: ignore[override]
        return str(getattr(self.inner, "name", type(self.inner).__name__))

    @property
    def needs(self) -> Needs:
        needs = getattr(self.inner, "needs", None)
        return needs if isinstance(needs, Needs) else Needs()

    def parameters(self) -> dict[str, Any]:
        if not is_dataclass(self.inner):
            return {}
        return {name: getattr(self.inner, name) for name in names_of(type(self.inner))}

    def solve(self, batch: Sequence[Problem]) -> list[Solution]:
        solved = self.inner.solve(batch)
        return [Solution(image=one) if isinstance(one, Tensor) else one for one in solved]


def options_of(name: str) -> list[str]:
    """The names of a method's options.

    Raises:
        ValueError: if there is no such method.
    """
    return names_of(METHODS[method_name(name)])


def who_has(option: str) -> list[str]:
    """The methods that have an option."""
    return [name for name, kind in METHODS.items() if option in names_of(kind)]


def who_does(option: str) -> str:
    """A few methods that have an option, in words; nothing where none has."""
    others = who_has(option)
    shown = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
    return f"{shown} {'do' if len(others) > 1 else 'does'}" if others else ""


def method_name(name: object) -> str:
    """The name of a method, whatever its capitals.

    Raises:
        ValueError: if there is none; the nearest one is named, or that of what people call otherwise.
    """
    if isinstance(name, str) and is_place(name):
        return name
    found = known_as(name, METHODS)
    if found is not None:
        return found
    other = OTHER_NAMES.get(str(name).lower())
    hint = f"did you mean {other}?" if other else suggest(str(name), METHODS)
    raise ValueError(f"unknown method {name!r}: {hint}")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
