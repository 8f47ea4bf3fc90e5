"""The kinds of masks by name, what is known of each, and a mask as it is asked for."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from jaxtyping import Bool
from torch import Tensor

from mrirecon.brief import brief
from mrirecon.masks import own
from mrirecon.masks import published as others
from mrirecon.masks.area import Acquired, Number, Seed, covered_lines
from mrirecon.nearest import known_as, suggest


@dataclass(frozen=True)
class Kind:
    """How masks of a kind are made, and what is known of them beforehand.

    Attributes:
        make: (shape, acceleration, *, center_fraction, seed, ...) -> mask; own kinds take `acquired` too.
        samples: whole columns, or points.
        calibration: what is fully sampled about the origin: columns, a square, or nothing by construction.
        origin: where it comes from; those of fastMRI and of the papers know the whole grid only, as published.
        about: a sentence on it; by default the first of the docstring of `make`.
    """

    make: Callable[..., Tensor]
    samples: Literal["columns", "points"] = "columns"
    calibration: Literal["columns", "square", "none"] = "columns"
    origin: Literal["own", "fastmri", "paper"] = "own"
    about: str = ""

    def __post_init__(self) -> None:
        """Take the sentence of the function."""
        if not self.about:
            object.__setattr__(self, "about", (self.make.__doc__ or "").partition("\n")[0])

    __repr__ = brief

    @property
    def options(self) -> list[str]:
        """Its further keywords."""
        usual = ("shape", "acceleration", "center_fraction", "seed", "acquired")
        return [name for name in inspect.signature(self.make).parameters if name not in usual]

    def lines(self, shape: tuple[int, int], acquired: Acquired) -> tuple[int, int]:
        """Rows and columns that the calibration share refers to."""
        return covered_lines(shape, acquired if self.origin == "own" else None)


MASKS: dict[str, Kind] = {
    "uniform1d": Kind(own.uniform1d),
    "gaussian1d": Kind(own.gaussian1d),
    "gaussian2d": Kind(own.gaussian2d, "points", "square"),
    "poisson": Kind(own.poisson, "points", "square"),
    "equispaced": Kind(own.equispaced),
    **{
        f"fastmri_{kind}": Kind(partial(others.fastmri_mask, kind), origin="fastmri", about=about)
        for kind, (_, about) in others.FASTMRI.items()
    },
    "paper_uniform1d": Kind(others.paper_uniform1d, origin="paper"),
    "paper_gaussian1d": Kind(others.paper_gaussian1d, origin="paper"),
    "paper_gaussian2d": Kind(others.paper_gaussian2d, "points", "none", "paper"),
}
"""The kinds of masks by name, each with what is known of it: `make`, `samples`, `calibration`, `options`.

Example:
    print(mr.MASKS["poisson"].samples, mr.MASKS["poisson"].options)
"""


def make_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    acquired: Acquired = None,
    **options: Any,
) -> Bool[Tensor, "readout phase"]:
    """A mask of a kind given by name; `options` are the further keywords of that kind.

    Args:
        kind: name of the kind, one of `MASKS`.
        shape: (readout, phase), in samples.
        acceleration: points that the scan covers over points that are sampled, R.
        center_fraction: share of the columns, or of the side of the grid, that is the fully sampled calibration.
        seed: a number, or a tuple of numbers; the same seed gives the same mask everywhere.
        acquired: points that the scan covers; by default all. Kinds that others published take no notice of it.
        options: further keywords of the kind, `MASKS[kind].options`.

    Raises:
        ValueError: if the kind or an option does not exist (the nearest one is named) or the request cannot be met.

    Example:
        >>> mask = mr.make_mask("poisson", (320, 320), 8, center_fraction=0.04, seed=0)
        >>> mask.numel() / int(mask.sum())
        8.0
    """
    chosen = kind_of(kind)
    _check_options(kind, options)
    if chosen.origin == "own":
        options["acquired"] = acquired
    return chosen.make(shape, acceleration, center_fraction=center_fraction, seed=seed, **options)


def kind_of(name: object) -> Kind:
    """The kind of that name.

    Raises:
        ValueError: if there is none; the nearest one is named.
    """
    found = known_as(name, MASKS)
    if found is None:
        raise ValueError(f"unknown mask kind {name!r}: {suggest(str(name), MASKS)}")
    return MASKS[found]


def default_center_fraction(acceleration: Number) -> float:
    """The customary calibration: 8 % up to R = 5, else 4 % (fastMRI's pairs are 4x / 8 % and 8x / 4 %)."""
    return 0.08 if acceleration <= 5 else 0.04


@dataclass(frozen=True)
class MaskSpec:
    """A mask as it is asked for, before the grid is known.

    Attributes:
        kind: name of the kind, one of `MASKS`.
        acceleration: points that the scan covers over points that are sampled, R.
        center_fraction: calibration share; None takes the customary one, 0.08 up to R = 5 and 0.04 above.
        center_size: instead, the calibration as columns or as the side of a square, in samples.
        options: further keywords of the kind.

    Raises:
        ValueError: if the kind or an option does not exist, or a number is out of its range.

    Example:
        >>> mr.MaskSpec("poisson", 4)
        MaskSpec(kind='poisson', acceleration=4)
        >>> mask = mr.MaskSpec("poisson", 4).draw(scan.shape[2:], seed=0)
    """

    kind: str
    acceleration: Number
    center_fraction: Number | None = None
    center_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    __repr__ = brief

    def __post_init__(self) -> None:
        """Check what can be checked without the grid; the kind gets its usual spelling."""
        kind_of(self.kind)
        object.__setattr__(self, "kind", known_as(self.kind, MASKS))
        _check_options(self.kind, self.options)
        if not 1 <= self.acceleration < math.inf:
            raise ValueError(
                f"mask {self.kind}: acceleration is {self.acceleration:g}: give a number of at least 1"
            )
        share = self.center_fraction
        if share is not None and self.center_size is not None:
            raise ValueError(
                f"mask {self.kind} has center_fraction and center_size: leave one of them out"
            )
        if share is not None and not 0 <= share < 1:
            raise ValueError(
                f"mask {self.kind}: center_fraction is {share}: give at least 0 and below 1"
            )

    def fraction(self, shape: tuple[int, int] | None = None, acquired: Acquired = None) -> float:
        """The calibration share in use; of a `center_size` on this grid.

        Raises:
            ValueError: if a `center_size` is given and the region is empty or does not fit the grid.
        """
        if self.center_fraction is not None:
            return self.center_fraction
        if self.center_size is None:
            return default_center_fraction(self.acceleration)
        assert shape is not None
        chosen = kind_of(self.kind)
        lines = chosen.lines(shape, acquired)
        side = min(lines) if chosen.samples == "points" else lines[1]
        if not 1 <= self.center_size < side:
            raise ValueError(
                f"a calibration region of {self.center_size} does not fit a {shape[0]} x {shape[1]} mask of kind "
                f"{self.kind}: give 1 to {side - 1}"
            )
        return self.center_size / side * (1 + 1e-12)  # kinds that round down keep the last column

    def draw(
        self, shape: tuple[int, int], seed: Seed, acquired: Acquired = None
    ) -> Bool[Tensor, "readout phase"]:
        """The mask on a grid of which these points are acquired.

        Raises:
            ValueError: if the request cannot be met at this size.
        """
        return make_mask(
            self.kind,
            shape,
            self.acceleration,
            center_fraction=self.fraction(shape, acquired),
            seed=seed,
            acquired=acquired,
            **self.options,
        )

    def describe(
        self, shape: tuple[int, int], seed: Seed, acquired: Acquired = None
    ) -> dict[str, Any]:
        """How the mask on this grid came about, for the JSON."""
        return {
            "kind": self.kind,
            "acceleration": self.acceleration,
            "center_fraction": self.fraction(shape, acquired),
            "seed": seed,
            **self.options,
        }


def _check_options(kind: str, options: Mapping[str, Any]) -> None:
    known = kind_of(kind).options
    for option in options:
        if option not in known:
            raise ValueError(f"mask kind {kind} has no option {option!r}: {suggest(option, known)}")
