"""The statistics that plots of tables show: means with intervals, Pareto fronts, how well deviations predict errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

BINS = 20
FEWEST_DRAWS = 8  # whose deviation is known to a quarter
LEVELS = tuple(round(0.05 * n, 2) for n in range(1, 20))  # nominal coverages


def pareto_front(
    points: Sequence[tuple[float, float]], *, lower: bool = False
) -> list[tuple[float, float]]:
    """Those (cost, quality) that no other point beats in both, by rising cost; `lower` quality may be better."""
    sign = -1 if lower else 1
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * quality > sign * front[-1][1]:
            front.append((cost, quality))
    return front


def calibration_rows(
    std: Float[np.ndarray, "*image"],
    error: Float[np.ndarray, "*image"],
    draws: int,
    **labels: Any,
) -> list[dict[str, Any]]:
    """What `quality.calibration` draws, from a map of the standard deviation of draws and the true error of their mean.

    The truth, one draw more, is off by the deviation times sqrt(1 + 1 / draws); the deviation is itself an estimate of
    few draws, so that the error over it has Student's distribution with draws - 1 degrees of freedom. `nominal` and
    `coverage`: the share of pixels that this has within +- t deviations, and the share that is there.

    From FEWEST_DRAWS on, pixels are also sorted by deviation into bins of equal count; `predicted_std` is the root mean
    square of the predictions in each and `true_error` that of the errors. With fewer, sorting would rather sort chance.

    Args:
        std: standard deviation of the draws at each pixel; where it is 0 the pixel is left out.
        error: mean of the draws - reference.
        draws: how many there were, at least 2.
        labels: further entries of each row, such as the method.
    """
    from scipy.stats import t

    std = std * math.sqrt(1 + 1 / draws)
    inside = std > 0
    std, error = std[inside].astype(float), error[inside].astype(float)
    if std.size == 0:
        return []
    order = np.argsort(std, kind="stable")
    rows: list[dict[str, Any]] = []
    for part in np.array_split(order, min(BINS, std.size)) if draws >= FEWEST_DRAWS else ():
        predicted, true = (math.sqrt(float(np.mean(x[part] ** 2))) for x in (std, error))
        rows.append({**labels, "predicted_std": predicted, "true_error": true})
    for nominal in LEVELS:
        covered = float(np.mean(np.abs(error) <= t.ppf(0.5 + nominal / 2, draws - 1) * std))
        rows.append({**labels, "nominal": nominal, "coverage": covered})
    return rows
