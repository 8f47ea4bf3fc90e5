"""What a method is: its parameters, what it needs to be given, and how it solves slices.

A method knows no files, no devices and no loop over a scan: `mrirecon.recon` hands it problems and finishes what it
gives back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from mrirecon.methods.problem import Figures as Figures
from mrirecon.methods.problem import Neighbours as Neighbours
from mrirecon.methods.problem import Place as Place
from mrirecon.methods.problem import Preview as Preview
from mrirecon.methods.problem import Problem as Problem
from mrirecon.methods.problem import Solution as Solution
from mrirecon.methods.problem import Tell as Tell
from mrirecon.options import check_ranges
from mrirecon.scan import Scan


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method is given with the k-space of a slice.

    Attributes:
        maps: whether it needs coil maps; with them the k-space is prewhitened where there is a noise measurement.
        one_set: whether it takes no more than one set of maps.
        scale: whether it needs the bright level of the images of the volume.
        noise: whether it needs the noise level; a scan that does not tell it gives 0 where it is wanted, and is refused
            where it is needed.
        noise_std: the noise level as the user knows it, per real component, in units of the k-space before any
            prewhitening; auto is that of the scan.
        whole_volume: whether all slices of a volume are solved together.
        first_image: file of the image to begin with.

    Example:
        class Bright(mr.SliceMethod):
            name = "bright"
            needs = mr.Needs(scale=True)  # coil maps too, which is the default

            def solve_slice(self, problem):
                x = problem.operator.H(problem.kspace)
                return mr.Solution(image=x, figures={"brightest": float(x.abs().max()) / problem.scale})
    """

    maps: bool = True
    one_set: bool = False
    scale: bool = False
    noise: Literal["no", "wanted", "needed"] = "no"
    noise_std: float | Literal["auto"] = "auto"
    whole_volume: bool = False
    first_image: str | None = None


@dataclass(frozen=True)
class Search:
    """Where to look for a parameter that is `auto`.

    Attributes:
        first: the value to begin with, in the middle of what is tried.
        correction: what the value that predicts left-out samples best is multiplied by.
    """

    first: float
    correction: float = 1.0


@dataclass(frozen=True)
class Pace:
    """How fast the weights of a method are adapted to a scan.

    Attributes:
        rate: of Adam in the first step; it falls linearly to 0.
        every: steps from one validation to the next.
        effort: slices that could be reconstructed in the time of one step, about.
    """

    rate: float
    every: int
    effort: float


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A reconstruction method with its parameters, which are its fields.

    A subclass writes `solve` for several slices, or is a `SliceMethod` and writes `solve_slice` for one.

    Attributes:
        name: what it is called.
        fits_data: whether it fits the data as well as its maps can, so that a large residual speaks against these.
        fills_kspace: whether partial Fourier is filled in by itself.
        slow: whether a slice takes so long that it is shown on its way and finished ones outlast a run that is stopped.

    Raises:
        ValueError: if a parameter is out of the range of its type (`options.Count`, `options.Positive`), negative, or
            not finite.

    Example:
        class ZeroFilling(mr.Method):
            name = "zero_filling"

            def solve(self, batch):
                return [mr.Solution(image=one.operator.H(one.kspace)) for one in batch]

        volume = mr.run(ZeroFilling(), scan)
    """

    name: ClassVar[str]
    fits_data: ClassVar[bool] = False
    fills_kspace: ClassVar[bool] = False
    slow: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse numbers out of the range of their option.

        Raises:
            ValueError: naming the first one.
        """
        check_ranges(type(self), self.parameters(), self.name)

    @property
    def needs(self) -> Needs:
        """What its problems hold besides k-space; coil maps, unless it says otherwise."""
        return Needs()

    @abstractmethod
    def solve(self, batch: Sequence[Problem]) -> list[Solution]:
        """Solve slices, one or, where `slices_at_once` says so, several.

        Raises:
            ValueError: if a slice does not suit the method.
        """

    @property
    def reach(self) -> int:
        """How many slices on either side it looks at."""
        return 0

    def slices_at_once(self, pixels: int, device: torch.device | str) -> int:
        """How many slices of so many pixels it wants to be given together."""
        return 1

    def check(self, scan: Scan, slices: range) -> None:  # noqa: B027
        """Refuse a scan before any slice is solved.

        Raises:
            ValueError, OSError: if it does not suit the method, or weights are missing.
        """

    def about(self, scan: Scan) -> tuple[dict[str, Any], list[str]]:
        """What the JSON says besides parameters and figures, and notes: where the scan is none it was trained for."""
        return {}, []

    def files(self) -> dict[str, tuple[Path, ...]]:
        """What it reads besides the scan and the coil maps: weights, a first image."""
        return {}

    def searches(self) -> dict[str, Search]:
        """Its parameters that are `auto`, which left-out samples of the scan choose before it solves anything."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Its options with their values."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, kw_only=True)
class SliceMethod(Method):
    """A method that solves one slice after another: `solve_slice` takes a `Problem` and gives a `Solution`.

    Example:
        @dataclass(frozen=True, kw_only=True)
        class Landweber(mr.SliceMethod):
            iterations: int = 30
            name: ClassVar[str] = "landweber"

            def solve_slice(self, problem):
                A, y = problem.operator, problem.kspace
                x = A.H(y)
                for _ in range(self.iterations):
                    x = x + A.H(y - A(x))
                return mr.Solution(image=x)

        volume = mr.reconstruct(scan, method=Landweber(iterations=10), mask=mask)
    """

    def solve(self, batch: Sequence[Problem]) -> list[Solution]:
        return [self.solve_slice(problem) for problem in batch]

    @abstractmethod
    def solve_slice(self, problem: Problem) -> Solution:
        """The image of one slice.

        Raises:
            ValueError: if it does not suit the method.
        """
