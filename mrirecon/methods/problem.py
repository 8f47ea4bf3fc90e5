"""What a method is given of a slice, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from mrirecon.brief import brief
from mrirecon.calibration import Calibration, better_calibration
from mrirecon.operators.sense import Sense, sense
from mrirecon.scan import Scan
from mrirecon.tensors import norm

Place: TypeAlias = tuple[int, int]  # (volume, slice) of a scan
# Numbers about the image of a slice, by their names in the JSON; None is what did not converge.
Figures: TypeAlias = dict[str, float | None]


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

    __repr__ = brief


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

    __repr__ = brief

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
        scale: bright level of the images of the volume (`scale.volume_scale`), which relative weights refer to.
        near: neighbouring slices, and calibration data better than the k-space itself.
        place: (volume, slice) in the scan.
        noise_std: standard deviation of the noise of y per real component (`noise.noise_level`); 0 where it is not
            known or not needed.
        first_image: the image of a file to begin with, (y, x).
        varying: a mask and the axes along which it varies, as `sense` takes them, found while it was on the CPU; they
            count for nothing once the mask is another.
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
    varying: tuple[Tensor, tuple[int, ...]] | None = None
    tell: Tell | None = None

    __repr__ = brief

    @cached_property
    def operator(self) -> Sense:
        """A; images are (y, x) with one set of maps and (set, y, x) with several.

        Raises:
            ValueError: if there are no maps.
        """
        if self.maps is None:
            raise ValueError("without coil maps there is no operator: state Needs(maps=True)")
        if len(self.maps) == 1:
            return sense(self.maps[0], self.mask, axes=self.axes)
        return sense(self.maps, self.mask, sets=True, axes=self.axes)

    @property
    def axes(self) -> tuple[int, ...] | None:
        """The axes along which the mask varies, where they are known."""
        mask, axes = self.varying or (None, None)
        return axes if mask is self.mask else None

    @property
    def name(self) -> str:
        """Scan and slice, for messages."""
        return f"{self.near.scan.source}: slice {self.number[1]}"

    @property
    def number(self) -> Place:
        """Volume and slice, as the file counts them."""
        volume, index = self.place
        return volume, self.near.scan.first_slice + index

    def kspace_of(self, image: Complex[Tensor, "*set y x"]) -> Complex[Tensor, "coil y x"]:
        """All of k-space, sampled or not, as an image has it; what lies outside the coil maps counts for nothing."""
        A = self.operator
        return sense(A.maps, torch.ones_like(self.mask), sets=A.sets)(image * A.support())

    def residual(self, predicted: Complex[Tensor, "coil y x"]) -> float:
        """||A x - y|| / ||y||: what of the measured data an image does not explain."""
        return float(norm(predicted - self.kspace) / norm(self.kspace))


def axes_of(problems: Sequence[Problem]) -> tuple[int, ...] | None:
    """Along which axes the mask of one of them varies, as far as it is known."""
    axes: set[int] = set()
    for problem in problems:
        if problem.axes is None:
            return None
        axes |= {*problem.axes}
    return tuple(sorted(axes))


def operator_of(problems: Sequence[Problem]) -> Sense:
    """The operator of several slices together, with one set of maps each."""
    maps = torch.stack([problem.operator.maps for problem in problems])
    mask = torch.stack([problem.mask for problem in problems])
    return sense(maps, mask, axes=axes_of(problems))


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution:
    """What a method gives back of one slice: an image, k-space, a magnitude or draws.

    Attributes:
        image: x on the k-space grid, (y, x) or (set, y, x), in the units of the problem.
        kspace: k-space of all coils without gaps, (coil, y, x); the image is their root sum of squares.
        magnitude: magnitude of the image window (`Scan.crop`), in the units of the coils.
        refine: makes the k-space that a magnitude belongs to, which only left-out samples ask for.
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
    refine: Callable[[], Complex[Tensor, "coil y x"]] | None = None
    draws: Complex[Tensor, "draw y x"] | None = None
    keep_draws: bool = False
    parts: dict[str, Complex[Tensor, "y x"]] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)

    __repr__ = brief

    @cached_property
    def predicted(self) -> Complex[Tensor, "coil y x"] | None:
        """k-space of all coils without gaps, where there is any."""
        return self.kspace if self.refine is None else self.refine()
