"""Undersampling for training: random masks for each slice and epoch, fixed ones in validation, as fastMRI has them.

Of the samples that are left, some may be left out once more, so that a network learns to predict them (`Splits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mrirecon.masks import MaskSpec, fastmri_seed, kind_of
from mrirecon.masks.area import central
from mrirecon.methods.left_out import SHARE, choose_left_out
from mrirecon.networks import calibration_of

Mask = Bool[Tensor, "y x"]


def draw(spec: MaskSpec, acquired: Mask, seed: tuple[int, ...]) -> tuple[Mask, Mask]:
    """A mask for a scan that covers these points, and its calibration region.

    Raises:
        ValueError: if the request cannot be met at this size.
    """
    mask = spec.draw((acquired.shape[0], acquired.shape[1]), seed, acquired)
    return mask, calibration(spec, mask, acquired)


def calibration(spec: MaskSpec, mask: Mask, acquired: Mask) -> Mask:
    """The centre that this kind samples fully by construction, or is found to have if that is nothing.

    fastMRI's kinds start it at (W - n + 1) // 2, the others at W // 2 - n // 2.
    """
    height, width = mask.shape
    kind = kind_of(spec.kind)
    lines = kind.lines((height, width), acquired)
    fraction = spec.fraction((height, width), acquired)
    columns = (int if kind.origin == "paper" else round)(fraction * lines[1])
    side = round(fraction * min(lines))
    if kind.origin == "fastmri":
        return calibration_of(mask[None], columns or None)[0]
    if kind.calibration == "none" or 0 in (columns, side):
        return calibration_of(mask[None])[0]
    region = torch.zeros_like(mask)
    if kind.calibration == "square":
        region[central(height, side), central(width, side)] = True
    else:
        region[:, central(width, columns)] = True
    return region & (mask | acquired)


def random_mask(
    specs: Sequence[MaskSpec], acquired: Bool[Tensor, "y x"], key: tuple[int, int, int], name: str
) -> tuple[Bool[Tensor, "y x"], Bool[Tensor, "y x"]]:
    """Mask and calibration of a training slice: one of `specs`, drawn anew for each (seed, epoch, slice) and volume."""
    seed = (*key, *fastmri_seed(name))
    chosen = int(np.random.default_rng((len(specs), *seed)).integers(len(specs)))
    return draw(specs[chosen], acquired, seed)


def fixed_mask(
    specs: Sequence[MaskSpec], acquired: Bool[Tensor, "y x"], name: str
) -> tuple[Bool[Tensor, "y x"], Bool[Tensor, "y x"]]:
    """Mask and calibration of all slices of a validation volume, a function of its name.

    Equal to fastMRI's `apply_mask(..., seed=tuple(map(ord, name)))`, which draws one of the pairs (acceleration,
    center fraction) and then the lines from one stream.
    """
    seed = fastmri_seed(name)
    chosen = specs[np.random.RandomState(seed).randint(len(specs))]
    kinds = {spec.kind for spec in specs}
    if len(specs) == 1 or len(kinds) > 1 or kind_of(chosen.kind).origin != "fastmri":
        return draw(chosen, acquired, seed)
    from fastmri.data.subsample import create_mask_for_mask_type

    accelerations = [int(a) if a == int(a) else a for a in (spec.acceleration for spec in specs)]
    shape = (acquired.shape[0], acquired.shape[1])
    theirs = create_mask_for_mask_type(
        chosen.kind.removeprefix("fastmri_"),
        [spec.fraction(shape) for spec in specs],
        accelerations,
    )
    lines, _ = theirs((1, 1, acquired.shape[1], 2), seed=seed)
    mask = (lines.flatten() > 0).expand(acquired.shape).clone()
    return mask, calibration(chosen, mask, acquired)


@dataclass(frozen=True)
class Splits:
    """How the samples of a slice are split into those that a network sees and those that it is to predict.

    Attributes:
        count: number of sets that are left out, each by itself.
        share: of the samples outside the calibration centre in each set.
        weighting: how much each sample counts: all alike, by `LeftOut.k_weight`, or by `importance`, which reports of
            reconstructions use.
    """

    count: int = 1
    share: float = SHARE
    weighting: Literal["none", "k", "importance"] = "importance"

    def of(
        self, mask: Mask, acquired: Mask, key: tuple[int, ...]
    ) -> tuple[Bool[Tensor, "split y x"], Float[Tensor, "y x"]]:
        """The sets, which are a function of mask and key, and the weight of each sample.

        Raises:
            ValueError: if hardly anything was sampled outside the calibration centre.
        """
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        sets = choose_left_out(mask, acquired, count=self.count, share=self.share, seed=seed)
        weights = {"none": torch.ones_like(sets[0].weight), "importance": sets[0].weight}
        weights["k"] = sets[0].k_weight
        return torch.stack([one.points for one in sets]), weights[self.weighting]
