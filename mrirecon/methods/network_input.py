"""What networks are given of slices: k-space between that of their neighbours, masks, and calibration data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from mrirecon.calibration import ENOUGH, Calibration
from mrirecon.methods.base import Problem
from mrirecon.networks import Network, UnrolledNetwork, calibration_of


def seen_by(
    network: UnrolledNetwork, problems: Sequence[Problem]
) -> tuple[
    Complex[Tensor, "slice adjacent coil y x"],
    Bool[Tensor, "slice y x"],
    Bool[Tensor, "slice y x"],
    Complex[Tensor, "slice adjacent coil y x"] | None,
]:
    """k-space, masks, and what the sensitivity network looks at, None for the k-space itself.

    Raises:
        ValueError: if nothing was measured at the origin of k-space.
    """
    each = [_seen(network, problem) for problem in problems]
    kspace, mask, calibration, others = (list(parts) for parts in zip(*each, strict=True))
    better = None
    if any(other is not None for other in others):
        pairs = zip(kspace, others, strict=True)
        better = torch.stack([own if other is None else other for own, other in pairs])
    return torch.stack(kspace), torch.stack(mask), torch.stack(calibration), better


def _seen(
    network: Network, problem: Problem
) -> tuple[
    Complex[Tensor, "adjacent coil y x"],
    Bool[Tensor, "y x"],
    Bool[Tensor, "y x"],
    Complex[Tensor, "adjacent coil y x"] | None,
]:
    kspace, mask = with_neighbours(network, problem), problem.mask
    better = problem.near.calibration(ENOUGH)
    other = None if better is None else with_neighbours(network, problem, better)
    try:
        calibration = calibration_of(mask[None] if better is None else better.mask[None])[0]
    except ValueError as error:
        raise ValueError(f"{problem.name}: {error}") from error
    seen = kspace if other is None else other
    if not bool((seen[len(seen) // 2] * calibration).any()):
        raise ValueError(
            f"{problem.name}: the centre of k-space is zero, so there is nothing to estimate coil maps from: "
            "use a method without maps (zero_filled)"
        )
    return kspace, mask, calibration, other


def with_neighbours(
    network: Network, problem: Problem, calibration: Calibration | None = None
) -> Complex[Tensor, "adjacent coil y x"]:
    """The k-space of a slice, or its calibration data in place of that, between those of its neighbours."""
    reach = network.adjacent_slices // 2
    slices = []
    for offset in range(-reach, reach + 1):
        found = calibration
        if calibration is not None and offset:
            found = problem.near.calibration(ENOUGH, offset)
        if found is not None:
            slices.append(found.kspace)
        else:
            slices.append(problem.near.kspace(offset) if offset else problem.kspace)
    return torch.stack(slices)
