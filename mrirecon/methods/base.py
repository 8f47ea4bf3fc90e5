"""What a method is: its parameters, what it needs to be given, and how it solves slices.

A method knows no files, no devices and no loop over a scan: `mrirecon.recon` hands it problems and finishes what it
gives back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.calibration import Calibration, better_calibration
from mrirecon.operators.sense import Sense, sense
from mrirecon.options import check_ranges
from mrirecon.scan import Scan

Place: TypeAlias = tuple[int, int]  # (volume, slice) of a scan
# Numbers about the image of a slice, by their names in the JSON; None is what did not converge.
Figures: TypeAlias = dict[str, float | None]


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
            prewhitening.
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
    noise_std: float | None = None
    whole_volume: bool = False
    first_image: str | None = None


@dataclass(frozen=True, eq=False)
class Preview:
    """What is known of some slices while they are solved.

    Attributes:
        places: (volume, slice) of each.
        image: mean of the draws that are finished and of the denoised ones under way, in the units of the (prewhitened)
            k-space.
        finished: number of draws that are finished.
        level: noise level that was reached, counted from 1.
        levels: how many there are.
    """

    places: Sequence[Place]
    image: Complex[Tensor, "slice y x"]
    finished: int
    level: int
    levels: int


# Takes how many of the slices that a method was given together are done, in parts too, and what makes a preview of
# them; None where nothing is new.
Tell: TypeAlias = Callable[[float, Callable[[], Preview] | None], object]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What a method may ask the scan for besides the slice it solves.

    The first and the last slice stand for what lies beyond them, as in HUMUS-Net.

    Attributes:
        scan: as it is solved: prewhitened or not, without dead coils.
        volume: of the slice.
        index: of the slice.
        device: where tensors are wanted.
    """

    scan: Scan
    volume: int
    index: int
    device: torch.device | str = "cpu"

    def kspace(self, offset: int) -> Complex[Tensor, "coil y x"]:
        """Measured k-space of the slice so many slices away."""
        return self.scan.kspace(self._at(offset), self.volume).to(self.device)

    def calibration(self, size: int, offset: int = 0) -> Calibration | None:
        """`better_calibration` than that k-space; None where there is none."""
        there, scan = self._at(offset), self.scan
        mask = scan.mask(there, self.volume)
        found = better_calibration(scan, there, size, self.volume, mask)
        return None if found is None else found.to(self.device)

    def _at(self, offset: int) -> int:
        return min(max(self.index + offset, 0), self.scan.shape[0] - 1)


@dataclass(frozen=True, eq=False)
class Problem:
    """One slice to solve: y = A x + noise.

    Attributes:
        kspace: y, (coil, y, x), zero where not sampled; in the units of the scan, or prewhitened.
        mask: sampled points, (y, x).
        maps: coil maps, (set, coil, y, x); None for methods that need none.
        scale: bright level of the images of the volume (`prepare.volume_scale`), which relative weights refer to.
        near: neighbouring slices, and calibration data better than the k-space itself.
        place: (volume, slice) in the scan.
        noise_std: standard deviation of the noise of y per real component (`noise.noise_level`); 0 where it is not
            known or not needed.
        first_image: the image of a file to begin with, (y, x).
        tell: called with (slices done, what makes a preview or None) by methods that take long.

    Example:
        class Adjoint(mr.SliceMethod):
            name = "my_adjoint"

            def solve_slice(self, problem):
                x = problem.operator.H(problem.kspace)
                residual = problem.residual(problem.operator(x))
                return mr.Solution(image=x, figures={"residual": residual})

        print(mr.run(Adjoint(), scan).info["residual"])
    """

    kspace: Complex[Tensor, "coil y x"]
    mask: Bool[Tensor, "y x"]
    maps: Complex[Tensor, "set coil y x"] | None
    scale: float
    near: Neighbours
    place: Place = (0, 0)
    noise_std: float = 0.0
    first_image: Complex[Tensor, "y x"] | None = None
    tell: Tell | None = None

    @cached_property
    def operator(self) -> Sense:
        """A; images are (y, x) with one set of maps and (set, y, x) with several.

        Raises:
            ValueError: if there are no maps.
        """
        if self.maps is None:
            raise ValueError("without coil maps there is no operator: state Needs(maps=True)")
        if len(self.maps) == 1:
            return sense(self.maps[0], self.mask)
        return sense(self.maps, self.mask, sets=True)

    @property
    def name(self) -> str:
        """Scan and slice, for messages."""
        return f"{self.near.scan.source}: slice {self.near.scan.first_slice + self.place[1]}"

    def kspace_of(self, image: Complex[Tensor, "*set y x"]) -> Complex[Tensor, "coil y x"]:
        """All of k-space, sampled or not, as an image has it; what lies outside the coil maps counts for nothing."""
        A = self.operator
        return sense(A.maps, torch.ones_like(self.mask), sets=A.sets)(image * A.support())

    def residual(self, predicted: Complex[Tensor, "coil y x"]) -> float:
        """||A x - y|| / ||y||: what of the measured data an image does not explain."""
        misfit = torch.linalg.vector_norm(predicted - self.kspace)
        return float(misfit / torch.linalg.vector_norm(self.kspace))


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution:
    """What a method gives back of one slice: an image, k-space, a magnitude or draws.

    Attributes:
        image: x on the k-space grid, (y, x) or (set, y, x), in the units of the problem.
        kspace: k-space of all coils without gaps, (coil, y, x); the image is their root sum of squares.
        magnitude: magnitude of the image window (`Scan.crop`), in the units of the coils.
        draws: draws of the posterior, (draw, y, x), whose mean is the image.
        keep_draws: whether each draw is written, too.
        parts: further images like x by name, whose magnitude is written.
        figures: numbers about the slice by name; the JSON has their mean over the slices.

    Example:
        solution = mr.Solution(image=A.H(y), figures={"iterations": 1.0})
    """

    image: Complex[Tensor, "*set y x"] | None = None
    kspace: Complex[Tensor, "coil y x"] | None = None
    magnitude: Float[Tensor, "h w"] | None = None
    draws: Complex[Tensor, "draw y x"] | None = None
    keep_draws: bool = False
    parts: dict[str, Complex[Tensor, "y x"]] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)


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
