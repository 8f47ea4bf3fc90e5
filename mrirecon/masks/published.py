"""Kinds of masks as others published them, line for line: of the whole grid, whatever is acquired.

Those of the Score-MRI and DDS papers draw with replacement, so that the true acceleration differs from R.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrirecon.masks.area import (
    Number,
    Seed,
    central,
    check_acceleration,
    check_legacy_seed,
    check_offset,
    check_whole,
    count_central,
    legacy_generator_of,
    mask_of_columns,
    over_budget,
)

# kind -> the class of the fastmri package that makes it, and what that does
FASTMRI = {
    "random": (
        "RandomMaskFunc",
        "Each column outside the calibration with the same probability; the knee leaderboard's.",
    ),
    "equispaced": (
        "EquiSpacedMaskFunc",
        "Every R-th column, and the calibration columns on top: more than W / R.",
    ),
    "equispaced_fraction": (
        "EquispacedMaskFractionFunc",
        "Equispaced at a wider, rounded spacing that makes up for the calibration; the brain leaderboard's.",
    ),
    "magic": (
        "MagicMaskFunc",
        "Every R-th column, shifted on the other side of k-space (Defazio 2019), and the calibration on top.",
    ),
    "magic_fraction": (
        "MagicMaskFractionFunc",
        "The same at a wider spacing that makes up for the calibration: about W / R columns.",
    ),
}


def fastmri_mask(
    kind: str,
    shape: tuple[int, int],
    acceleration: Number,
    *,
    center_fraction: float,
    seed: Seed,
    offset: int | None = None,
) -> Bool[Tensor, "readout phase"]:
    """A mask made by the fastmri package, line for line that of the leaderboard for the same seed.

    "equispaced_fraction" is what brain test masks and published checkpoints were made with; older fastMRI releases
    called it equispaced. The count is right on average (random, equispaced_fraction), nearly (magic_fraction), or above
    W / R by the calibration lines (equispaced, magic).

    Args:
        kind: one of `FASTMRI`.
        shape: (readout, phase) = (H, W), in samples.
        acceleration: R; a whole number for equispaced and magic.
        center_fraction: calibration columns / W, in [0, 1).
        seed: below 2^32 each; `fastmri_seed(file name)` gives the leaderboard's.
        offset: offset of the lines, instead of a random one; not for random.

    Raises:
        ValueError: where fastmri would crash or leave calibration lines only, or an argument is out of range.
    """
    from fastmri.data import subsample

    width = shape[1]
    low = count_central(shape, center_fraction, width)
    check_acceleration(acceleration, width)
    if kind in ("equispaced", "magic"):
        acceleration = check_whole(acceleration, width)
    elif low * acceleration >= width or (
        kind == "magic_fraction" and max(low, 1) >= round(width / acceleration)
    ):
        raise ValueError(
            f"center_fraction {center_fraction} takes {low} of {width} columns, fastmri_{kind} at acceleration "
            f"{acceleration} has {width / acceleration:.4g} in all: lower center_fraction or acceleration"
        )
    if offset is not None:
        if kind == "random":
            raise ValueError("fastmri_random has no offset: leave it out")
        check_offset(offset, round(acceleration))
    draw = getattr(subsample, FASTMRI[kind][0])([center_fraction], [acceleration])
    lines, _ = draw((1, 1, width, 2), offset=offset, seed=check_legacy_seed(seed))
    columns = lines.flatten().numpy() > 0
    if not columns.any():
        raise ValueError(
            f"fastmri_{kind} draws no column at all with seed {seed}: lower the acceleration {acceleration}"
        )
    return mask_of_columns(columns, shape)


def paper_uniform1d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """uniform1d of the Score-MRI and DDS code: duplicates merge, true R = 4.46 for 4 and 8.46 for 8 (W = 320).

    The first draw of that code after `numpy.random.seed(seed)`. Arguments and errors as for `uniform1d`.
    """
    columns, count = _paper_columns(shape, acceleration, center_fraction)
    if count < columns.sum():
        raise ValueError(over_budget(columns, len(columns), acceleration, count))
    draws = legacy_generator_of(seed).choice(len(columns), count - int(columns.sum()))
    columns[draws] = True
    return mask_of_columns(columns, shape)


def paper_gaussian1d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """gaussian1d of the Score-MRI and DDS code: true R = 4.13 for 4 and 6.76 for 8 (W = 320).

    1.2 W / R draws with duplicates merged, and the calibration on top. Otherwise as `paper_uniform1d`.
    """
    columns, count = _paper_columns(shape, acceleration, center_fraction)
    size = len(columns)
    draws = legacy_generator_of(seed).normal(size // 2, size * (15.0 / 128), int(count * 1.2))
    columns[np.clip(draws.astype(int), 0, size - 1)] = True
    return mask_of_columns(columns, shape)


def paper_gaussian2d(
    shape: tuple[int, int], acceleration: Number, *, center_fraction: float, seed: Seed
) -> Bool[Tensor, "readout phase"]:
    """gaussian2d of the Score-MRI and DDS code: true R = 7.52 for 4 and 11.5 for 8 (320 x 320).

    Duplicates merge, and `center_fraction` is checked and ignored: that code has no calibration here.

    Raises:
        ValueError: if the grid is not square (that code knows no other), or an argument is out of range.
    """
    mask = np.zeros(shape, dtype=bool)
    count_central(shape, center_fraction, min(shape))
    check_acceleration(acceleration, mask.size)
    size = shape[0]
    if shape[1] != size:
        raise ValueError(f"paper_gaussian2d needs a square grid, not {shape}: use gaussian2d")
    covariance = size * size * (1.5 / 128) * np.eye(2)
    count = int(mask.size // acceleration)
    draws = legacy_generator_of(seed).multivariate_normal([size // 2] * 2, covariance, count)
    mask[tuple(np.clip(draws.astype(int), 0, size - 1).T)] = True
    return torch.from_numpy(mask)


def _paper_columns(
    shape: tuple[int, int], acceleration: Number, center_fraction: float
) -> tuple[np.ndarray, int]:
    """Calibration and nominal count of the papers' code, which rounds both down."""
    width = shape[1]
    count_central(shape, center_fraction, width)
    check_acceleration(acceleration, width)
    columns = np.zeros(width, dtype=bool)
    columns[central(width, int(center_fraction * width))] = True
    return columns, int(width // acceleration)
