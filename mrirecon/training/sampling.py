"""Which mask a slice is trained or validated with, as a function of seeds and names alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.masks import (
    MASKS,
    Number,
    covered_lines,
    default_center_fraction,
    fastmri_seed,
    make_mask,
    published,
)
from mrirecon.networks.base import calibration_of

OFFICIAL = "fastmri_"
WITH_SQUARE = ("gaussian2d", "poisson")
WITHOUT_CENTRE = ("paper_gaussian2d",)


@dataclass(frozen=True)
class MaskSpec:
    """A kind of undersampling.

    Attributes:
        kind: one of `mrirecon.masks.MASKS`.
        acceleration: points over sampled points.
        center_fraction: calibration share; None takes the customary one (8 % up to R = 5, else 4 %).

    Raises:
        ValueError: if the kind is unknown (the nearest is named) or a number is out of range.
    """

    kind: str
    acceleration: Number
    center_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in MASKS:
            # It says so, naming the nearest.
            make_mask(self.kind, (1, 1), 1, center_fraction=0.0, seed=0)
        if not 1 <= self.acceleration < math.inf:
            raise ValueError(
                f"masks: acceleration is {self.acceleration}: give a number of at least 1"
            )
        if not 0 <= self.fraction < 1:
            raise ValueError(
                f"masks: center_fraction is {self.fraction}: give at least 0 and below 1"
            )

    @property
    def fraction(self) -> float:
        """Calibration share in use."""
        if self.center_fraction is None:
            return default_center_fraction(self.acceleration)
        return self.center_fraction

    def draw(
        self, acquired: Bool[Tensor, "y x"], seed: tuple[int, ...]
    ) -> tuple[Bool[Tensor, "y x"], Bool[Tensor, "y x"]]:
        """A mask for a scan that covers these points, and its calibration region.

        Raises:
            ValueError: if the request cannot be met at this size.
        """
        mask = make_mask(
            self.kind,
            (acquired.shape[0], acquired.shape[1]),
            self.acceleration,
            center_fraction=self.fraction,
            seed=seed,
            acquired=acquired,
        )
        return mask, self.calibration(mask, acquired)

    def calibration(
        self, mask: Bool[Tensor, "y x"], acquired: Bool[Tensor, "y x"]
    ) -> Bool[Tensor, "y x"]:
        """The centre that this kind samples fully by construction, or is found to have if that is nothing.

        fastMRI's kinds start it at (W - n + 1) // 2, the others at W // 2 - n // 2.
        """
        height, width = mask.shape
        lines = (
            (height, width) if published(self.kind) else covered_lines((height, width), acquired)
        )
        share = round if not self.kind.startswith("paper_") else int
        columns, side = share(self.fraction * lines[1]), round(self.fraction * min(lines))
        if self.kind.startswith(OFFICIAL):
            return calibration_of(mask[None], columns or None)[0]
        if self.kind in WITHOUT_CENTRE or 0 in (columns, side):
            return calibration_of(mask[None])[0]
        region = torch.zeros_like(mask)
        if self.kind in WITH_SQUARE:
            region[_centred(height, side), _centred(width, side)] = True
        else:
            region[:, _centred(width, columns)] = True
        return region & (mask | acquired)


def random_mask(
    specs: Sequence[MaskSpec], acquired: Bool[Tensor, "y x"], key: tuple[int, int, int], name: str
) -> tuple[Bool[Tensor, "y x"], Bool[Tensor, "y x"]]:
    """Mask and calibration of a training slice: one of `specs`, drawn anew for each (seed, epoch, slice) and volume."""
    seed = (*key, *fastmri_seed(name))
    chosen = int(np.random.default_rng((len(specs), *seed)).integers(len(specs)))
    return specs[chosen].draw(acquired, seed)


def fixed_mask(
    specs: tuple[MaskSpec, ...], acquired: Bool[Tensor, "y x"], name: str
) -> tuple[Bool[Tensor, "y x"], Bool[Tensor, "y x"]]:
    """Mask and calibration of all slices of a validation volume, a function of its name.

    Equal to fastMRI's `apply_mask(..., seed=tuple(map(ord, name)))`, which draws one of the pairs (acceleration,
    center fraction) and then the lines from one stream.
    """
    seed = fastmri_seed(name)
    chosen = specs[np.random.RandomState(seed).randint(len(specs))]
    kinds = {spec.kind for spec in specs}
    if len(specs) == 1 or len(kinds) > 1 or not chosen.kind.startswith(OFFICIAL):
        return chosen.draw(acquired, seed)
    from fastmri.data.subsample import create_mask_for_mask_type

    accelerations = [int(a) if a == int(a) else a for a in (spec.acceleration for spec in specs)]
    draw = create_mask_for_mask_type(
        chosen.kind.removeprefix(OFFICIAL), [spec.fraction for spec in specs], accelerations
    )
    lines, _ = draw((1, 1, acquired.shape[1], 2), seed=seed)
    mask = (lines.flatten() > 0).expand(acquired.shape).clone()
    return mask, chosen.calibration(mask, acquired)


def _centred(size: int, count: int) -> slice:
    start = size // 2 - count // 2
    return slice(start, start + count)
