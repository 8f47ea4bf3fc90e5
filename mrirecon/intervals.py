"""Confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean, and half the width of its confidence interval by Student's t; the width of one value is 0."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, 0.0
    from scipy.stats import t

    deviation = float(np.std(values, ddof=1))
    return mean, float(t.ppf((1 + level) / 2, count - 1)) * deviation / math.sqrt(count)
